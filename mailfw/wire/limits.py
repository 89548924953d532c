"""How many connections there may be, in all and from one address."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Upper bounds; `per_address` counts one IP address (Postfix's smtpd_client_connection_count_limit: 50)."""

    total: int = 20_000
    per_address: int = 50


class ConnectionCount:
    """Counts connections against their limits."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._total = 0
        self._by_address: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Count a connection, or refuse it and return False.  UNIX sockets (``""``) have no address to count."""
        if self._total >= self._limits.total:
            return False
        if address and self._by_address[address] >= self._limits.per_address:
            return False
        self._total += 1
        if address:
            self._by_address[address] += 1
        return True

    def release(self, address: str) -> None:
        """Count an admitted connection no more."""
        self._total -= 1
        if address:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
