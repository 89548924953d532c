"""One thing that is to be done later, and once however often it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Alarm:
    """Calls `act` after a while; asked again before that, it stays as it is."""

    def __init__(self, reactor: Any, act: Callable[[], object]) -> None:
        self._reactor = reactor
        self._act = act
        self._timer: Any = None

    def ring_in(self, seconds: float) -> None:
        """Ring in so many seconds, unless it will ring in any case."""
        if self._timer is None:
            self._timer = self._reactor.callLater(seconds, self._ring)

    def stop(self) -> None:
        """Do not ring."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _ring(self) -> None:
        self._timer = None
        self._act()
