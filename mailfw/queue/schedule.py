"""When a message that could not be delivered is tried again, when its sender is warned, and when we give up."""

from __future__ import annotations

from dataclasses import dataclass

from mailfw.mail.queued import Queued


@dataclass(frozen=True, slots=True)
class Schedule:
    """
    Seconds: the pause after the first attempt, the longest one, how long a message is kept, when its sender is warned.

    RFC 5321 section 4.5.4.1 asks for at least 30 minutes between attempts in general, more often while the message is
    new, and for 4 to 5 days before giving up.  A `warning` of 0 is none.
    """

    first: float = 60.0
    longest: float = 3600.0
    lifetime: float = 5 * 86400.0
    warning: float = 4 * 3600.0

    def pause(self, attempts: int, chance: float) -> float:
        """
        Return how long to wait after so many attempts, twice as long each time.

        `chance` in [0, 1) moves it by up to a fifth either way, so that what failed together does not come
        back together.
        """
        doubled: float = self.first * 2.0 ** min(max(attempts, 1) - 1, 30)
        return min(doubled, self.longest) * (0.8 + 0.4 * chance)

    def expiry(self, queued: Queued) -> float:
        """
        Return when the last attempt is made.

        A message that was to be released later (RFC 4865) lives from then on; one that is to be there by a time or
        given back (RFC 2852 section 4, mode R) until that time.
        """
        by = queued.envelope.by
        end = max(queued.arrived, queued.envelope.release) + self.lifetime
        return min(end, by.deadline) if by is not None and by.returns else end

    def next_attempt(self, queued: Queued, attempts: int, now: float, chance: float) -> float | None:
        """
        Return when to try again after so many attempts, the last made now; None where it was the last of all.

        The last attempt is made when the lifetime ends, however long the pause would be, and one when the time of
        RFC 2852 comes, so that what is said of it then is true.
        """
        expiry = self.expiry(queued)
        if now >= expiry:
            return None
        due = min(now + self.pause(attempts, chance), expiry)
        by = queued.envelope.by
        return min(due, by.deadline) if by is not None and now < by.deadline else due

    def is_warning_due(self, queued: Queued, now: float) -> bool:
        """Whether the sender is to be told that the message still waits; once for each message (RFC 2852: mode N)."""
        if queued.warned or queued.envelope.sender is None:
            return False
        by = queued.envelope.by
        if by is not None and not by.returns and now >= by.deadline:
            return True
        return 0 < self.warning <= now - max(queued.arrived, queued.envelope.release)
