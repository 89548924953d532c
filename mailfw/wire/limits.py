"""How many connections there may be, in all and from one client, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mailfw.allowance import Allowance
from mailfw.network import Networks, client_name

_NONE = Networks()


class Elsewhere(Protocol):
    """The connections that other processes have to the same port, as far as is known; news of ours go there."""

    #: Set by who counts here; is told of each client that another process has admitted.
    arrived: Callable[[str], object]

    @property
    def total(self) -> int:
        """How many there are."""

    def of(self, client: str) -> int:
        """Return how many a client has."""

    def changed(self, client: str, by: int) -> None:
        """Hear that it has one more, or one less, here; ``""`` is a client that has no address."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """
    Upper bounds; a client is an IPv4 address or a /64 of IPv6, and 0 sets no `per_minute`.

    `per_address` is Postfix's smtpd_client_connection_count_limit, `per_minute` its smtpd_client_connection_rate_limit;
    both pass over the networks in `exempt`.  While more than the share `stress` of `total` is in use, a silent client
    is borne for `stress_timeout` seconds (None: as ever), as with Postfix's stress-adaptive smtpd_timeout.  What
    is counted in other processes counts too.
    """

    total: int = 20_000
    per_address: int = 50
    per_minute: int = 0
    exempt: Networks = _NONE
    stress: float = 0.8
    stress_timeout: float | None = None
    elsewhere: Elsewhere | None = None


class ConnectionCount:
    """Counts connections against their limits."""

    def __init__(self, limits: ConnectionLimits, seconds: Callable[[], float]) -> None:
        self._limits = limits
        self._total = 0
        self._by_client: Counter[str] = Counter()
        self._rate = Allowance(limits.per_minute, 60.0, seconds)
        self._elsewhere = limits.elsewhere
        if self._elsewhere is not None:
            self._elsewhere.arrived = self._rate.take

    def admit(self, address: str) -> bool:
        """Count a connection, or refuse it and return False.  UNIX sockets (``""``) have no address to count."""
        if self._all >= self._limits.total:
            return False
        client = client_name(address) if address else ""
        if address:
            exempt = self._limits.exempt.have(address)
            if not exempt and (self._of(client) >= self._limits.per_address or self._rate.take(client)):
                return False
            self._by_client[client] += 1
        self._total += 1
        if self._elsewhere is not None:
            self._elsewhere.changed(client, 1)
        return True

    @property
    def _all(self) -> int:
        return self._total + (self._elsewhere.total if self._elsewhere is not None else 0)

    def _of(self, client: str) -> int:
        return self._by_client[client] + (self._elsewhere.of(client) if self._elsewhere is not None else 0)

    def release(self, address: str) -> None:
        """Count an admitted connection no more."""
        self._total -= 1
        client = client_name(address) if address else ""
        if self._elsewhere is not None:
            self._elsewhere.changed(client, -1)
        if address:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

    @property
    def is_stressed(self) -> bool:
        """Whether connections are running short."""
        return self._all > self._limits.stress * self._limits.total
