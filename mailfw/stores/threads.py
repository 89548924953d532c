"""The one door through which stores leave the reactor: disks, SQLite and parsing wait behind it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

log = Logger()
P = ParamSpec("P")
T = TypeVar("T")

#: Threads of one store.  Syncs wait for the disk, not for Python: a dozen at once share one commit of its journal.
SIZE = 12


class Threads:
    """Runs blocking work in threads of its own, started at the first use; `close` must follow."""

    def __init__(self, reactor: Any, size: int = SIZE) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, size, "mailfw-store")
        self._trigger: Any = None

    def run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> Deferred[T]:
        """Run `work` in a thread, and return what it returns or raises."""
        if self._trigger is None:
            self._start()
        return deferToThreadPool(self._reactor, self._pool, work, *args, **options)

    def _start(self) -> None:
        self._pool.start()
        # Whoever forgets to close a store must not keep the process from ending.
        self._trigger = self._reactor.addSystemEventTrigger("after", "shutdown", self._pool.stop)

    def close(self) -> None:
        """Wait for what runs, and let the threads go."""
        if self._trigger is not None and self._pool.started:
            self._reactor.removeSystemEventTrigger(self._trigger)
            self._pool.stop()


async def shielded(work: Coroutine[Any, Any, T]) -> T:
    """
    Await work that must not be left half done, even if whoever awaits it is cancelled.

    A thread goes on when the `Deferred` that waits for it is cancelled; a lock must not be let go before it ends.
    """
    waiting: Deferred[T] = Deferred()
    Deferred.fromCoroutine(work).addBoth(_pass_on, waiting)
    return await waiting


def _pass_on(result: T | Failure, waiting: Deferred[T]) -> None:
    if waiting.called:
        if isinstance(result, Failure):
            log.failure("work failed after nobody waited for it any more", failure=result)
    elif isinstance(result, Failure):
        waiting.errback(result)
    else:
        waiting.callback(result)
