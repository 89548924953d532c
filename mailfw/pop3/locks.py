"""One session a maildrop (RFC 1939 section 4)."""

from __future__ import annotations

from typing import Protocol


class Locks(Protocol):
    """Which maildrops are locked, for all listeners that serve the same accounts."""

    async def take(self, account: str) -> bool:
        """Lock a maildrop; False where another session has it."""

    def release(self, account: str) -> None:
        """Let the next session have it."""


class OwnLocks:
    """Those of one process."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    async def take(self, account: str) -> bool:
        """Lock a maildrop."""
        if account in self._taken:
            return False
        self._taken.add(account)
        return True

    def release(self, account: str) -> None:
        """Let the next session have it."""
        self._taken.discard(account)
