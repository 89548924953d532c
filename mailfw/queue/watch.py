"""Attempts that take too long: a courier that never answers must not keep a place for ever."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailfw.queue.active import Entry
from mailfw.queue.alarm import Alarm

log = Logger()


class Watch:
    """Cancels attempts that have been under way for `timeout` seconds; a timer runs only while there are any."""

    def __init__(self, *, reactor: Any, clock: Callable[[], float], timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._alarm = Alarm(reactor, self._look)
        #: The oldest first.
        self._under_way: dict[Entry, Deferred[None] | None] = {}

    def begin(self, entry: Entry, attempt: Coroutine[Any, Any, None]) -> None:
        """Let an attempt go on by itself, and watch over it until it says `answered`."""
        self._under_way[entry] = None
        attempting = Deferred.fromCoroutine(attempt).addErrback(_never)
        if entry in self._under_way:
            self._under_way[entry] = attempting
            self._alarm.ring_in(self._timeout)

    def answered(self, entry: Entry) -> None:
        """Watch no more: the courier has said what became of it, and what follows is for nobody to cancel."""
        self._under_way.pop(entry, None)

    def stop(self) -> None:
        """Let everything take its time."""
        self._alarm.stop()

    def _look(self) -> None:
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
            self._alarm.ring_in(max(1.0, pause))


def _never(fault: Failure) -> None:
    log.failure("A delivery has failed in a way that none should", failure=fault)
