"""What one process has open at another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailfw.cluster.codec import Malformed

log = Logger()


class Holding:
    """Something that is open here: closed once it was let go and nobody works with it any more."""

    __slots__ = ("_close", "_is_let_go", "_thing", "_users")

    def __init__(self, thing: Any, close: Callable[[], Awaitable[Any]]) -> None:
        self._thing = thing
        self._close = close
        self._users = 0
        self._is_let_go = False

    def __enter__(self) -> Any:
        self._users += 1
        return self._thing

    def __exit__(self, *error: object) -> None:
        self._users -= 1
        self._close_if_over()

    def let_go(self) -> None:
        """Close it, now or when whoever works with it has done so."""
        self._is_let_go = True
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self._is_let_go and not self._users:
            Deferred.fromCoroutine(close_quietly(self._close))


class Holdings:
    """What one worker has open here, by number."""

    def __init__(self) -> None:
        self._last = 0
        self._held: dict[int, Holding] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, thing: Any, close: Callable[[], Awaitable[Any]]) -> int:
        """Keep something, and return its number."""
        self._last += 1
        self._held[self._last] = Holding(thing, close)
        return self._last

    def use(self, number: int) -> Holding:
        """Return what has a number, to be worked with in its context.  Raises `Malformed`."""
        try:
            return self._held[number]
        except KeyError:
            raise Malformed(f"there is nothing with the number {number}")

    def let_go(self, number: int) -> None:
        """Close it; nothing happens where it is closed."""
        holding = self._held.pop(number, None)
        if holding is not None:
            holding.let_go()

    def clear(self) -> None:
        """Close everything."""
        for number in list(self._held):
            self.let_go(number)


async def close_quietly(close: Callable[[], Awaitable[Any]]) -> None:
    """Close something; that it cannot be is nobody's business but the log's."""
    try:
        await close()
    except Exception:
        log.failure("What a worker had open could not be closed")
