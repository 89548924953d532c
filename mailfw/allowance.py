"""How often somebody may do something."""

from __future__ import annotations

from collections.abc import Callable

#: Names that one allowance keeps count of; the one not seen for longest is forgotten first.
REMEMBERED = 100_000
#: Seconds that adding up fractions may be wrong by.
_ROUNDING = 1e-6


class Allowance:
    """
    Lets everybody have `limit` events at once, and that many again in each `period`, evenly.

    The generic cell rate algorithm (ITU-T I.371): one number for each name, the time at which it would have its full
    allowance again.  A limit of 0 is none.
    """

    def __init__(self, limit: int, period: float, clock: Callable[[], float], remembered: int = REMEMBERED) -> None:
        self._interval = period / limit if limit else 0.0
        self._period = period
        self._clock = clock
        self._remembered = remembered
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def __bool__(self) -> bool:
        return self._interval > 0

    def take(self, name: str) -> float:
        """Count one event and return 0, or return in how many seconds one could be; that is not counted."""
        if not self._interval:
            return 0.0
        now = self._clock()
        full_at = self._when_full(name, now) + self._interval
        excess = full_at - self._period - now
        if excess > _ROUNDING:
            self._full_at[name] = full_at - self._interval
            return excess
        self._full_at.pop(name, None)
        self._full_at[name] = full_at
        self._forget(now)
        return 0.0

    def charge(self, name: str, events: int) -> None:
        """Count events that have happened, whether they could or not."""
        now = self._clock()
        full_at = min(self._when_full(name, now) + events * self._interval, now + self._period)
        self._full_at.pop(name, None)
        self._full_at[name] = full_at
        self._forget(now)

    def is_low(self, name: str) -> bool:
        """Whether less than half is left."""
        now = self._clock()
        return self._when_full(name, now) - now > self._period / 2

    def lows(self) -> list[str]:
        """Return of whom less than half is left."""
        return [name for name in self._full_at if self.is_low(name)]

    @property
    def is_whole(self) -> bool:
        """Whether everybody has all of it, so that there is nothing to remember."""
        now = self._clock()
        return all(full_at <= now for full_at in self._full_at.values())

    def is_spent(self, name: str) -> bool:
        """Whether `take` would refuse."""
        if not self._interval or name not in self._full_at:
            return False
        now = self._clock()
        return self._when_full(name, now) + self._interval - self._period - now > _ROUNDING

    def _when_full(self, name: str, now: float) -> float:
        """A clock that was set back must lock nobody out: no count lies further ahead than a period."""
        return max(min(self._full_at.get(name, now), now + self._period), now)

    def _forget(self, now: float) -> None:
        """Drop who has waited longest: one too many, and up to two whose count means nothing any more."""
        for _ in range(2):
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= self._remembered:
                return
            del self._full_at[oldest]
            if not self._full_at:
                return
