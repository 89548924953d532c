"""How much an account keeps, and how much it may."""

from __future__ import annotations

from dataclasses import dataclass

from mailfw.mail.failure import OverQuota


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """What an account may keep; 0 sets no limit."""

    octets: int = 0
    messages: int = 0

    def room(self, octets: int, messages: int) -> Room:
        """Return what still fits beside what there is, to be taken."""
        return Room(self.octets - octets if self.octets else None, self.messages - messages if self.messages else None)


NO_LIMITS = QuotaLimits()


@dataclass(frozen=True, slots=True)
class Quota:
    """What an account keeps, and what it may; a limit of 0 is none.  Retained mail counts for nothing."""

    octets: int
    messages: int
    octet_limit: int = 0
    message_limit: int = 0


@dataclass(slots=True)
class Room:
    """What still fits into an account, None for any number; negative where a limit has been lowered."""

    octets: int | None = None
    messages: int | None = None

    def copy(self) -> Room:
        """Return the same once more."""
        return Room(self.octets, self.messages)

    def check(self, octets: int, messages: int) -> None:
        """Raise `OverQuota` where so much more does not fit; nothing always does."""
        if messages and (
            (self.octets is not None and octets > self.octets)
            or (self.messages is not None and messages > self.messages)
        ):
            raise OverQuota("There is no room left in this account.")

    def take(self, octets: int, messages: int) -> None:
        """Count what was let in."""
        if self.octets is not None:
            self.octets -= octets
        if self.messages is not None:
            self.messages -= messages
