"""A policy that costs a millisecond of Python for each message, as checks of signatures do."""

from __future__ import annotations

import time

from zope.interface import implementer

from mailfw.interfaces import IContent, IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope
from mailfw.mail.verdict import Verdict
from mailfw.site import Site

#: Seconds of the processor.
COST = 0.001


@implementer(IDeliveryPolicy)
class Thorough:
    """Has no opinion, and takes its time for it."""

    def __init__(self, *, site: Site) -> None:
        """Need nothing of the site."""

    async def on_connect(self, client: Client) -> Verdict | None:
        """Have no opinion."""

    async def on_helo(self, client: Client) -> Verdict | None:
        """Have no opinion."""

    async def on_sender(self, client: Client, sender: Address | None) -> Verdict | None:
        """Have no opinion."""

    async def on_recipient(self, client: Client, sender: Address | None, recipient: Address) -> Verdict | None:
        """Have no opinion."""

    async def on_message(self, client: Client, envelope: Envelope, content: IContent) -> Verdict | None:
        """Work."""
        until = time.thread_time() + COST
        while time.thread_time() < until:
            pass
        return None
