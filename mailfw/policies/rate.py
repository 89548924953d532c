"""How much mail a client or an account may send in a time."""

from __future__ import annotations

import math

from zope.interface import implementer

from mailfw.interfaces import IContent, IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope
from mailfw.mail.verdict import Defer, Verdict
from mailfw.network import client_name
from mailfw.optional import ICount, ITally
from mailfw.policies.tally import OwnTally
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

    def __init__(
        self,
        *,
        site: Site,
        tally: ITally | None = None,
        client_messages: int = 300,
        client_recipients: int = 1000,
        account_messages: int = 60,
        account_recipients: int = 300,
        period: float = 60.0,
    ) -> None:
        if period <= 0 or min(client_messages, client_recipients, account_messages, account_recipients) < 0:
            raise ValueError("limits cannot be negative, and the period must be more than 0")
        tally = tally or OwnTally(site.reactor.seconds)
        self._client_messages = tally.allow(client_messages, period)
        self._client_recipients = tally.allow(client_recipients, period)
        self._account_messages = tally.allow(account_messages, period)
        self._account_recipients = tally.allow(account_recipients, period)

    async def on_connect(self, client: Client) -> Verdict | None:
        """Have no opinion."""

    async def on_helo(self, client: Client) -> Verdict | None:
        """Have no opinion."""

    async def on_sender(self, client: Client, sender: Address | None) -> Verdict | None:
        """Count a message."""
        return await _count(client, self._account_messages, self._client_messages, "messages")

    async def on_recipient(self, client: Client, sender: Address | None, recipient: Address) -> Verdict | None:
        """Count a recipient."""
        return await _count(client, self._account_recipients, self._client_recipients, "recipients")

    async def on_message(self, client: Client, envelope: Envelope, content: IContent) -> Verdict | None:
        """Have no opinion."""


async def _count(client: Client, of_accounts: ICount, of_clients: ICount, what: str) -> Verdict | None:
    if client.account is not None:
        wait = await of_accounts.take(client.account)
    elif client.address:
        wait = await of_clients.take(client_name(client.address))
    else:
        return None
    if not wait:
        return None
    return Defer(f"Too many {what}; try again in {math.ceil(wait)} s", "4.7.1", 450)
