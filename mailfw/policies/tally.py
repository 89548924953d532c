"""What policies count with in a server of one process."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from mailfw.allowance import Allowance
from mailfw.optional import ICount, ITally


@implementer(ICount)
class OwnCount:
    """An allowance of which nobody else takes."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance

    async def take(self, name: str) -> float:
        """Count one event."""
        return self._allowance.take(name)


@implementer(ITally)
class OwnTally:
    """Makes them; `clock` tells seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def allow(self, limit: int, period: float) -> ICount:
        """Return a new count."""
        count: ICount = OwnCount(Allowance(limit, period, self._clock))
        return count
