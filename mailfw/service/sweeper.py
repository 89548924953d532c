"""Forgetting, now and then, what was expunged long enough ago."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailfw.interfaces import IMailStore
from mailfw.optional import IRetainedMail
from mailfw.queue.steady import day_clock, steady_clock

log = Logger()

#: Seconds between two sweeps: what is retained is removed that much later at most.
PERIOD = 3600.0
#: Seconds from the start to the first one, when there is enough else to do.
FIRST = 60.0
#: Seconds between two bounded parts of one, which others have the disk for.
PAUSE = 0.05


class Sweeper:
    """Asks a store, if it retains mail, to forget what was expunged more than `retention` seconds ago."""

    def __init__(self, store: IMailStore, retention: float, reactor: Any) -> None:
        self._store = store
        self._retention = retention
        self._reactor = reactor
        self._steady, self._day = steady_clock(reactor), day_clock(reactor)
        self._sweeping: Deferred[None] | None = None

    def start(self) -> None:
        """Begin; where nothing is retained any more, what was before is swept away all the same."""
        if IRetainedMail.providedBy(self._store):
            self._sweeping = Deferred.fromCoroutine(self._sweep_for_ever(IRetainedMail(self._store)))
            self._sweeping.addErrback(lambda failure: failure.trap(CancelledError) and None)

    async def stop(self) -> None:
        """Stop, after the part that is under way."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await self._sweeping

    async def _sweep_for_ever(self, store: IRetainedMail) -> None:
        await deferLater(self._reactor, FIRST)
        while True:
            try:
                await self._sweep(store)
            except CancelledError:
                raise
            except Exception:
                log.failure("Expunged mail that is too old cannot be removed")
            await deferLater(self._reactor, PERIOD)

    async def _sweep(self, store: IRetainedMail) -> None:
        # What was expunged a moment ago is not old because somebody has set the machine's clock a week ahead, nor
        # is what was expunged while it was behind.
        before = min(self._steady(), self._day()) - self._retention
        while await store.forget_retained(before):
            await deferLater(self._reactor, PAUSE)
