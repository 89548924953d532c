"""Mail that comes in goes before mail that goes into our own mailboxes: for the one a client waits."""

from __future__ import annotations

#: Seconds without a new message after which nothing has to be held back.
_CALM = 0.05
#: How many times as long as it took a pause follows upon a round.
_PAUSES = 5
#: The longest that a round or a pause may last, in seconds: one delivery that hangs must not hold up the others.
_LONGEST = 1.0


class Pace:
    """
    Says when deliveries into mailboxes may begin.

    While mail comes in they begin in rounds with pauses between, so they have a sixth of the time, and a store
    is given many messages together.  As soon as none comes in there are no pauses.
    """

    def __init__(self) -> None:
        self._arrived = float("-inf")
        self._began: float | None = None
        self._resume = float("-inf")

    def arrived(self, now: float) -> None:
        """Note that a message came in."""
        self._arrived = now

    def began(self, now: float) -> None:
        """Note that a round has begun."""
        self._began = now

    def wait(self, now: float, in_flight: int) -> float:
        """Return in how many seconds to ask again, 0 where deliveries may begin; `in_flight` are under way."""
        calm = self._arrived + _CALM
        if now >= calm:
            self._began = None
            return 0.0
        if self._began is not None:
            over = self._began + _LONGEST
            if in_flight and now < over:
                return min(calm, over) - now
            self._resume = now + min(_LONGEST, _PAUSES * (now - self._began))
            self._began = None
        return max(0.0, min(calm, self._resume) - now)
