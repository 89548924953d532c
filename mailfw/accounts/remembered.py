"""Logins that have succeeded, remembered in memory as keyed hashes: clients that reconnect do not pay again."""

from __future__ import annotations

import hmac
import os
from collections import OrderedDict

#: Seconds for which a login is remembered: longer than the usual interval between two polls, shorter than a visit.
REMEMBERED_FOR = 600.0
#: How many logins are remembered; the oldest goes first.
MOST_REMEMBERED = 10_000


class RememberedLogins:
    """
    Knows passwords that were right, without knowing them.

    The key of the hashes is random and never leaves the process.  The stored hash goes into each, so that a
    password that was changed, even to itself, is forgotten.
    """

    def __init__(self, seconds: float = REMEMBERED_FOR, most: int = MOST_REMEMBERED) -> None:
        self._seconds = seconds
        self._most = most
        self._key = os.urandom(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def holds(self, now: float, name: str, password: bytes, stored: str) -> bool:
        """Whether this password was right for this account and stored hash some minutes ago."""
        until = self._until.get(self._digest(name, password, stored))
        return until is not None and now < until

    def add(self, now: float, name: str, password: bytes, stored: str) -> None:
        """Remember a login; being used again does not make it last longer."""
        while self._until and (len(self._until) >= self._most or next(iter(self._until.values())) <= now):
            self._until.popitem(last=False)
        self._until.setdefault(self._digest(name, password, stored), now + self._seconds)

    def _digest(self, name: str, password: bytes, stored: str) -> bytes:
        pieces = (name.encode("utf-8"), stored.encode("utf-8"), password)
        octets = b"".join([len(piece).to_bytes(4, "big") + piece for piece in pieces])
        return hmac.digest(self._key, octets, "sha256")

    def __len__(self) -> int:
        return len(self._until)
