"""Logins that failed, counted over every connection of every protocol: whoever guesses gets slower, then no answer."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from mailfw.accounts.names import NotAName, full_name
from mailfw.network import client_name

#: Entries in each table; the oldest goes first.  Each takes some two hundred octets.
MOST_ENTRIES = 20_000


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """
    How many failures one address and one account may have, and what each costs in seconds.

    `delay` is that of the first failure; it doubles with each, up to `longest_delay`.  Beyond the limits nothing is
    judged until `refusal` seconds have passed since the last failure.
    """

    per_address: int = 20
    per_account: int = 100
    delay: float = 0.5
    longest_delay: float = 10.0
    refusal: float = 900.0


class LoginAttempts:
    """
    Counts by address, where an IPv6 address stands for its /64, and by account, whether or not there is such a one.

    Whoever guesses at an account must not lock its owner out: an address from which the account was opened is judged
    in any case, until that many guesses have come from there.
    """

    def __init__(self, clock: Any, limits: AttemptLimits, default_domain: str = "", most: int = MOST_ENTRIES) -> None:
        self._clock = clock
        self._limits = limits
        self._default_domain = default_domain
        self._most = most
        #: How many failures, and when the last one was; by what `_address_key` and `_account_key` return.
        self._failures: OrderedDict[bytes, tuple[int, float]] = OrderedDict()
        #: Pairs of both that have been right, and their failures since.
        self._right: OrderedDict[bytes, int] = OrderedDict()

    def admits(self, address: str, account: str) -> bool:
        """Whether another attempt is judged."""
        if not self._failures:
            return True
        where, who = _address_key(address), self._account_key(account)
        if where + who in self._right:
            return True
        return self._count(where) < self._limits.per_address and self._count(who) < self._limits.per_account

    def failed(self, address: str, account: str) -> float:
        """Count a failure, and return how many seconds to let pass before the client hears of it."""
        where, who = _address_key(address), self._account_key(account)
        pair = where + who
        if pair in self._right:
            self._right[pair] += 1
            if self._right[pair] >= self._limits.per_address:
                del self._right[pair]
        most = max(self._add(where), self._add(who))
        return min(self._limits.delay * 2.0 ** min(most - 1, 30), self._limits.longest_delay) if most else 0.0

    def succeeded(self, address: str, account: str) -> None:
        """Note a login that was right; what failed before stays counted, since others may share the address."""
        pair = _address_key(address) + self._account_key(account)
        self._right[pair] = 0
        self._right.move_to_end(pair)
        if len(self._right) > self._most:
            self._right.popitem(last=False)

    def _count(self, key: bytes) -> int:
        count, last = self._failures.get(key, (0, 0.0))
        return count if count and self._clock.seconds() - last < self._limits.refusal else 0

    def _add(self, key: bytes) -> int:
        """Count one more, and return how many there are now; nothing is counted for nobody."""
        if not key:
            return 0
        count = self._count(key) + 1
        self._failures[key] = count, self._clock.seconds()
        self._failures.move_to_end(key)
        if len(self._failures) > self._most:
            self._failures.popitem(last=False)
        return count

    def _account_key(self, account: str) -> bytes:
        """Return what stands for a name in any spelling; a name of any length takes sixteen octets."""
        if not account:
            return b""
        try:
            account = full_name(account, self._default_domain)
        except NotAName:
            account = account.lower()
        return hashlib.blake2b(account.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _address_key(address: str) -> bytes:
    """Return what stands for a client's network; a UNIX socket has none."""
    return client_name(address).encode("utf-8")
