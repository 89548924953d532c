"""How much mail a client or an account may send in a time."""

from __future__ import annotations

import math
from collections.abc import Callable

from zope.interface import implementer

from mailfw.interfaces import IContent, IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope
from mailfw.mail.verdict import Defer, Verdict
from mailfw.policies.patterns import network_of, read_ip
from mailfw.site import Site

#: Clients or accounts that one allowance keeps count of; the one not seen for longest is forgotten first.
_REMEMBERED = 100_000
#: Seconds that adding up fractions may be wrong by.
_ROUNDING = 1e-6


class Allowance:
    """
    Lets everybody have `limit` events at once, and that many again in each `period`, evenly.

    The generic cell rate algorithm (ITU-T I.371): one number for each name, the time at which it would have its full
    allowance again.  A limit of 0 is none.
    """

    def __init__(self, limit: int, period: float, clock: Callable[[], float], remembered: int = _REMEMBERED) -> None:
        self._interval = period / limit if limit else 0.0
        self._period = period
        self._clock = clock
        self._remembered = remembered
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, name: str) -> float:
        """Count one event and return 0, or return in how many seconds one could be; that is not counted."""
        if not self._interval:
            return 0.0
        now = self._clock()
        # A clock that was set back must lock nobody out: no count lies further ahead than a period.
        full_at = max(min(self._full_at.get(name, now), now + self._period), now) + self._interval
        excess = full_at - self._period - now
        if excess > _ROUNDING:
            self._full_at[name] = full_at - self._interval
            return excess
        self._full_at.pop(name, None)
        self._full_at[name] = full_at
        self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Drop who has waited longest: one too many, and up to two whose count means nothing any more."""
        for _ in range(2):
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= self._remembered:
                return
            del self._full_at[oldest]
            if not self._full_at:
                return


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


def _client_name(address: str) -> str:
    """An IPv4 address is one client, also where it came to an IPv6 socket."""
    ip = read_ip(address) if ":" in address else None
    return address if ip is None else str(ip) if ip.version == 4 else network_of(address)


def _count(client: Client, of_accounts: Allowance, of_clients: Allowance, what: str) -> Verdict | None:
    if client.account is not None:
        wait = of_accounts.take(client.account)
    elif client.address:
        wait = of_clients.take(_client_name(client.address))
    else:
        return None
    if not wait:
        return None
    return Defer(f"Too many {what}; try again in {math.ceil(wait)} s", "4.7.1", 450)
