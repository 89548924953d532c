"""Taking turns: what must not be done by too many at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class Turns:
    """
    Lets `places` at a time in, in the order they came: ``async with turns: ...``.

    However many wait, the stack stays flat: whoever leaves while somebody is being let in leaves the letting in to
    that call.  One that is let in by the one before it, a thousand deep, would end in a `RecursionError` that nobody
    hears of.
    """

    def __init__(self, places: int = 1) -> None:
        self._free = places
        self._places = places
        self._waiting: dict[Deferred[None], None] = {}  # in order, and whoever gives up is found at once
        self._is_letting_in = False

    @property
    def is_idle(self) -> bool:
        """Whether nobody is in and nobody waits."""
        return self._free == self._places and not self._waiting

    async def __aenter__(self) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn: Deferred[None] = Deferred(self._forget)
        self._waiting[turn] = None
        await turn

    def _forget(self, turn: Deferred[None]) -> None:
        self._waiting.pop(turn, None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._free += 1
        if self._is_letting_in:
            return
        self._is_letting_in = True
        try:
            while self._free and self._waiting:
                turn = next(iter(self._waiting))
                del self._waiting[turn]
                self._free -= 1
                turn.callback(None)
        finally:
            self._is_letting_in = False

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something when it is its turn."""
        async with self:
            return await work()
