"""Mail that comes in goes before mail that goes into our own mailboxes: for the one a client waits."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds without a new message after which nothing has to be held back.
_CALM = 0.1
#: How many times as long as it took a pause follows upon a round.
_PAUSES = 8
#: The longest that a round or a pause may last, in seconds: one delivery that hangs must not hold up the others.
_LONGEST = 1.0
#: Seconds between two looks whether the processor is so busy that a pause is of use to anybody, and what busy means.
_LOOK, _BUSY = 0.02, 0.4
#: Octets that one round has, and those that each copy counts as at least.
_ROUND, _COPY = 8 * 1024 * 1024, 32 * 1024


class Pace:
    """
    Says when deliveries into mailboxes may begin.

    While so much mail comes in that the reactor's thread is busy with it, they begin in rounds with pauses between: so
    they have a small part of the time, and a store is given many messages together.  `processor` tells the seconds
    that the thread has worked.
    """

    def __init__(self, processor: Callable[[], float] = time.thread_time) -> None:
        self._processor = processor
        self._arrived = float("-inf")
        self._began: float | None = None
        self._resume = float("-inf")
        self._looked = (float("-inf"), 0.0)
        self._room = _ROUND

    def arrived(self, now: float) -> None:
        """Note that a message came in."""
        self._arrived = now

    @property
    def has_room(self) -> bool:
        """Whether the round that begins may have one more delivery."""
        return self._room > 0

    def began(self, now: float, copies: int, size: int) -> None:
        """Note that a delivery of some copies of a message has begun."""
        self._began = now
        self._room -= copies * max(size, _COPY)

    def wait(self, now: float, in_flight: int) -> float:
        """Return in how many seconds to ask again, 0 where a round may begin; `in_flight` are under way."""
        self._room = _ROUND
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
            self._looked = now, self._processor()
        if now >= self._resume or self._is_idle(now):
            return 0.0
        return min(calm, self._resume, self._looked[0] + _LOOK) - now

    def _is_idle(self, now: float) -> bool:
        """Whether the thread has had little to do since the last look."""
        before, worked = self._looked
        if now < before + _LOOK:
            return False
        self._looked = now, self._processor()
        return self._looked[1] - worked < _BUSY * (now - before)
