"""What is due comes from the spool into memory, as there is room for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailfw.interfaces import ISpool
from mailfw.mail.queued import Queued
from mailfw.queue.lanes import Lanes

log = Logger()

#: Messages that are taken at one time, and for one destination of these.
BATCH, EACH = 500, 100
#: Seconds between two looks at what waits for destinations that cannot be reached: of 1,000 messages each time it is
#: seen whether their senders have to be told.
SWEEP, SWEPT = 60.0, 1000
#: Seconds after which the spool is asked again that had nothing, although it had said that something was due.
_AGAIN = 1.0
#: Seconds until the spool is asked again that has failed.
_AFTER_FAULT = 30.0


class Feed:
    """
    Asks the spool when something is due, and not before; at most one question is under way.

    `room` tells how many more messages there may be in memory, `begin` works on one.
    """

    def __init__(
        self,
        *,
        reactor: Any,
        clock: Callable[[], float],
        spool: ISpool,
        lanes: Lanes,
        room: Callable[[], int],
        begin: Callable[[Queued], Awaitable[None]],
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._spool = spool
        self._lanes = lanes
        self._room = room
        self._begin = begin
        self._timer: Any = None
        self._wish = float("inf")
        self._asking: Deferred[None] | None = None
        self._sweep_at = 0.0
        #: Whether the spool may have more that is due than there was room for.
        self.has_more = False
        self.running = False

    def start(self) -> None:
        """Begin to ask."""
        self.running = True
        self._sweep_at = self._clock() + SWEEP
        self.at(0.0)

    def stop(self) -> Deferred[None]:
        """Ask no more, and wait for the question under way."""
        self.running = False
        self._cancel()
        stopped: Deferred[None] = Deferred()
        if self._asking is None:
            stopped.callback(None)
        else:
            self._asking.addCallback(lambda _: stopped.callback(None))
        return stopped

    def at(self, when: float) -> None:
        """Ask at a time, if nothing makes us ask before; 0 is now."""
        if not self.running or when >= self._wish:
            return
        self._wish = when
        if self._asking is None:
            self._arm()

    def _arm(self) -> None:
        wish = self._wish
        self._cancel()
        self._wish = wish
        if self.running and wish < float("inf"):
            self._timer = self._reactor.callLater(max(0.0, wish - self._clock()), self._ask)

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        self._wish = float("inf")
        if timer is not None and timer.active():
            timer.cancel()

    def _ask(self) -> None:
        self._timer = None
        self._wish = float("inf")
        self._asking = Deferred()
        Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        try:
            again = await self._pass(self._clock())
        except Exception:
            log.failure("The spool cannot be read at the moment")
            again = self._clock() + _AFTER_FAULT
        self.at(again)
        asking, self._asking = self._asking, None
        self._arm()
        if asking is not None:
            asking.callback(None)

    async def _pass(self, now: float) -> float:
        """Take what there is room for, and return when to ask again."""
        room = min(self._room(), BATCH)
        if room <= 0:
            self.has_more = True
            return now + SWEEP
        taken, over = await self._take(now, room)
        for queued in taken:
            # Each by itself: a router that thinks about one must not keep the others waiting.
            Deferred.fromCoroutine(self._begin_with(queued))
        self.has_more = bool(taken) or bool(self._lanes.full())
        if taken:
            return now
        due = await self._spool.next_due(over)
        times = [] if due is None else [max(due, now + _AGAIN)]
        change = self._lanes.next_reopening()
        if change is not None:
            times += [change, self._sweep_at]
        return min(times, default=float("inf"))

    async def _begin_with(self, queued: Queued) -> None:
        try:
            await self._begin(queued)
        except Exception:
            log.failure("Message {id} cannot be begun with", id=queued.id)

    async def _take(self, now: float, room: int) -> tuple[list[Queued], Collection[str]]:
        over = self._lanes.full()
        blocked = self._lanes.blocked(now)
        if blocked and now >= self._sweep_at:
            self._sweep_at = now + SWEEP
            return await self._spool.take(now, SWEPT, SWEPT, over), over | blocked
        over |= blocked
        return await self._spool.take(now, room, EACH, over), over
