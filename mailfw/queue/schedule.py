"""When a message that could not be delivered is tried again, and when we give up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """
    Seconds: the pause after the first attempt, the longest pause, and how long a message is kept.

    RFC 5321 section 4.5.4.1 asks for at least 30 minutes between attempts in general, more often while the
    message is new, and for 4 to 5 days before giving up.
    """

    first: float = 60.0
    longest: float = 3600.0
    lifetime: float = 5 * 86400.0

    def pause(self, attempts: int, chance: float) -> float:
        """
        Return how long to wait after so many attempts, twice as long each time.

        `chance` in [0, 1) moves it by up to a fifth either way, so that what failed together does not come
        back together.
        """
        doubled: float = self.first * 2.0 ** min(max(attempts, 1) - 1, 30)
        return min(doubled, self.longest) * (0.8 + 0.4 * chance)

    def next_attempt(self, arrived: float, attempts: int, now: float, chance: float) -> float | None:
        """
        Return when to try again after an attempt made now, None where it was the last.

        The last attempt is made when the lifetime ends, however long the pause would be.
        """
        expiry = arrived + self.lifetime
        return None if now >= expiry else min(now + self.pause(attempts, chance), expiry)
