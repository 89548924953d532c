"""How a session runs: its coroutine, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class Waiter(Deferred[None]):
    """
    What a session awaits while it waits for its peer; anybody may await it as any other `Deferred`.

    A `Run` goes on from it directly, which costs a third of what a Deferred's callbacks do.
    """

    _run: Run | None = None

    def __await__(self) -> Generator[Any, Any, None]:
        yield self

    def go_on(self, error: Exception | None = None) -> None:
        """End the wait, with an error or without."""
        if self._run is not None:
            self._run.go_on(error)
        elif error is not None:
            self.errback(error)
        else:
            self.callback(None)


class Run:
    """
    Drives a session's coroutine from one wait to the next, in a context of its own.

    `Deferred.fromCoroutine` does the same for everything that a coroutine can await and for whoever cancels it;
    here there is nobody who would, and of the waits nearly all are for the peer.
    """

    __slots__ = ("_context", "_coroutine", "_ended")

    def __init__(self, coroutine: Coroutine[Any, Any, None], ended: Callable[[], object]) -> None:
        """Begin with `go_on`.  The coroutine may raise nothing; `ended` is called when it has returned."""
        self._coroutine = coroutine
        self._context = copy_context()
        self._ended = ended

    def go_on(self, error: Exception | None = None) -> None:
        """Go to the next wait."""
        self._step(self._coroutine.send, None) if error is None else self._step(self._coroutine.throw, error)

    def _step(self, step: Callable[[Any], Any], value: Any) -> None:
        try:
            awaited = self._context.run(step, value)
        except StopIteration:
            self._ended()
            return
        if type(awaited) is Waiter:
            awaited._run = self
        elif isinstance(awaited, Deferred):
            awaited.addBoth(self._answered)
        else:  # whoever awaits that hears of it: nobody would ever go on from there
            self._step(self._coroutine.throw, TypeError(f"{awaited!r} cannot be awaited here"))

    def _answered(self, result: Any) -> None:
        """Pass on what another Deferred came to."""
        if isinstance(result, Failure):
            self._step(result.throwExceptionIntoGenerator, self._coroutine)
        else:
            self._step(self._coroutine.send, result)
