"""Attempts that take too long: a courier that never answers must not keep a place for ever."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailfw.queue.active import Entry

log = Logger()


class Watch:
    """Cancels attempts that have been under way for `timeout` seconds; a timer runs only while there are any."""

    def __init__(self, *, reactor: Any, clock: Callable[[], float], timeout: float) -> None:
        self._reactor = reactor
        self._clock = clock
        self._timeout = timeout
        self._timer: Any = None
        #: The oldest first.
        self._under_way: dict[Entry, Deferred[None] | None] = {}

    def begin(self, entry: Entry, attempt: Coroutine[Any, Any, None]) -> None:
        """Let an attempt go on by itself, and watch over it until it says `answered`."""
        self._under_way[entry] = None
        attempting = Deferred.fromCoroutine(attempt).addErrback(_never)
        if entry in self._under_way:
            self._under_way[entry] = attempting
            if self._timer is None:
                self._timer = self._reactor.callLater(self._timeout, self._look)

    def answered(self, entry: Entry) -> None:
        """Watch no more: the courier has said what became of it, and what follows is for nobody to cancel."""
        self._under_way.pop(entry, None)

    def stop(self) -> None:
        """Let everything take its time."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self) -> None:
        self._timer = None
        latest = self._clock() - self._timeout
        for entry, attempting in list(self._under_way.items()):
            if entry.begun > latest:
                break
            del self._under_way[entry]  # to cancel it once is all that can be done
            log.error("Message {id} takes too long by {route}", id=entry.active.queued.id, route=entry.lane.name)
            if attempting is not None:
                attempting.cancel()
        if self._under_way:
            pause = next(iter(self._under_way)).begun - latest
            self._timer = self._reactor.callLater(max(1.0, pause), self._look)


def _never(fault: Failure) -> None:
    log.failure("A delivery has failed in a way that none should", failure=fault)
