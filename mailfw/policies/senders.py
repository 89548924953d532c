"""Lists of senders."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from mailfw.interfaces import IContent, IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope
from mailfw.mail.verdict import Verdict
from mailfw.policies.patterns import AddressLists


@implementer(IDeliveryPolicy)
class SenderList:
    """
    Accepts or refuses messages by their envelope's sender.

    `allow` and `refuse` are patterns: ``ann@example.org``, ``@example.org``, ``*@*.example.org``, ``<>`` for
    notifications, ``*`` for everybody.  A sender on both is allowed: the policies after this one are not asked
    about it.  `reason` is what a refused one hears.
    """

    def __init__(
        self,
        *,
        allow: Sequence[str] = (),
        refuse: Sequence[str] = (),
        reason: str = "We do not take mail from this sender",
    ) -> None:
        self._lists = AddressLists(allow, refuse, reason)

    async def on_connect(self, client: Client) -> Verdict | None:
        """Have no opinion."""

    async def on_helo(self, client: Client) -> Verdict | None:
        """Have no opinion."""

    async def on_sender(self, client: Client, sender: Address | None) -> Verdict | None:
        """Look the sender up."""
        return self._lists.judge(sender)

    async def on_recipient(self, client: Client, sender: Address | None, recipient: Address) -> Verdict | None:
        """Have no opinion."""

    async def on_message(self, client: Client, envelope: Envelope, content: IContent) -> Verdict | None:
        """Have no opinion."""
