"""How much mail a client or an account may send in a time."""

from __future__ import annotations

import math

from zope.interface import implementer

from mailfw.allowance import Allowance
from mailfw.interfaces import IContent, IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope
from mailfw.mail.verdict import Defer, Verdict
from mailfw.network import client_name
from mailfw.site import Site


@implementer(IDeliveryPolicy)
class RateLimit:
    """
    Defers mail from clients and accounts that send too much.

    `client_messages` and `client_recipients` are how many of each a client that has not logged in may begin or name
    in `period` seconds, `account_messages` and `account_recipients` the same for an account; 0 sets no limit.  That
    many may come at once, and are given back evenly over the period.  A client is its IPv4 address, or its /64 of
    IPv6; UNIX sockets are not limited.  What was refused later counts too.
    """

    #: The questions whose answers depend on those before: all workers of a server ask the same one.
    counting = ("on_sender", "on_recipient")

    def __init__(
        self,
        *,
        site: Site,
        client_messages: int = 300,
        client_recipients: int = 1000,
        account_messages: int = 60,
        account_recipients: int = 300,
        period: float = 60.0,
    ) -> None:
        if period <= 0 or min(client_messages, client_recipients, account_messages, account_recipients) < 0:
            raise ValueError("limits cannot be negative, and the period must be more than 0")
        clock = site.reactor.seconds
        self._client_messages = Allowance(client_messages, period, clock)
        self._client_recipients = Allowance(client_recipients, period, clock)
        self._account_messages = Allowance(account_messages, period, clock)
        self._account_recipients = Allowance(account_recipients, period, clock)

    async def on_connect(self, client: Client) -> Verdict | None:
        """Have no opinion."""

    async def on_helo(self, client: Client) -> Verdict | None:
        """Have no opinion."""

    async def on_sender(self, client: Client, sender: Address | None) -> Verdict | None:
        """Count a message."""
        return _count(client, self._account_messages, self._client_messages, "messages")

    async def on_recipient(self, client: Client, sender: Address | None, recipient: Address) -> Verdict | None:
        """Count a recipient."""
        return _count(client, self._account_recipients, self._client_recipients, "recipients")

    async def on_message(self, client: Client, envelope: Envelope, content: IContent) -> Verdict | None:
        """Have no opinion."""


def _count(client: Client, of_accounts: Allowance, of_clients: Allowance, what: str) -> Verdict | None:
    if client.account is not None:
        wait = of_accounts.take(client.account)
    elif client.address:
        wait = of_clients.take(client_name(client.address))
    else:
        return None
    if not wait:
        return None
    return Defer(f"Too many {what}; try again in {math.ceil(wait)} s", "4.7.1", 450)
