"""The one door through which stores leave the reactor: disks, SQLite and parsing wait behind it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from queue import SimpleQueue
from types import coroutine
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()
P = ParamSpec("P")
T = TypeVar("T")

#: Threads of one store.  Syncs wait for the disk at the same time and share one commit of its journal; with more
#: threads what is gained there is lost in waiting for Python's lock.
SIZE = 4


class Threads:
    """
    Runs blocking work in threads of its own, started as they are needed; `close` must follow.

    What is done in several threads at nearly the same time wakes the reactor once.
    """

    def __init__(self, reactor: Any, size: int = SIZE) -> None:
        self._reactor = reactor
        self._size = size
        self._threads: list[threading.Thread] = []
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._under_way = 0
        self._done: deque[tuple[Deferred[Any], Any]] = deque()
        self._is_told = False
        self._trigger: Any = None
        self._is_closed = False

    def run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> Deferred[T]:
        """Run `work` in a thread, and return what it returns or raises.  Raises `RuntimeError` after `close`."""
        if self._is_closed:
            raise RuntimeError("the store is closed")
        answer: Deferred[T] = Deferred()

        def do() -> None:
            try:
                result: T | Failure = work(*args, **options)
            except BaseException:
                result = Failure()
            self._tell(answer, result)

        self._under_way += 1
        if self._under_way > len(self._threads) < self._size:
            self._start()
        self._work.put(do)
        return answer

    def soon(self, act: Callable[[], None]) -> None:
        """Call `act` in the reactor's thread, when it has dealt with what is here already."""
        self._reactor.callLater(0, act)

    def apart(self) -> Threads:
        """Return one thread more, for work that nothing else may hold up; it is closed on its own."""
        return Threads(self._reactor, 1)

    def _start(self) -> None:
        if self._trigger is None:
            # Whoever forgets to close a store must not keep the process from ending.
            self._trigger = self._reactor.addSystemEventTrigger("after", "shutdown", self._stop)
        thread = threading.Thread(target=self._serve, name=f"mailfw-store-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while (do := self._work.get()) is not None:
            do()

    def _tell(self, answer: Deferred[Any], result: object) -> None:
        """Leave a result for the reactor's thread; who does so first wakes it."""
        self._done.append((answer, result))
        if not self._is_told:
            self._is_told = True
            self._reactor.callFromThread(self._hear)

    def _hear(self) -> None:
        self._is_told = False  # before looking: what comes later wakes us again
        while self._done:
            answer, result = self._done.popleft()
            self._under_way -= 1
            if not answer.called:
                answer.callback(result)

    def _stop(self) -> None:
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._hear()

    def close(self) -> None:
        """Wait for what runs, and let the threads go."""
        self._is_closed = True
        if self._trigger is not None:
            self._reactor.removeSystemEventTrigger(self._trigger)
            self._trigger = None
        self._stop()


async def shielded(work: Coroutine[Any, Any, T]) -> T:
    """
    Await work that must not be left half done, even if whoever awaits it is cancelled.

    A thread goes on when the `Deferred` that waits for it is cancelled; a lock must not be let go before it ends.
    Most work finds in memory what it needs, and ends before anybody could be cancelled.
    """
    try:
        awaited = work.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    waiting: Deferred[T] = Deferred()
    Deferred.fromCoroutine(_rest(work, awaited)).addBoth(_pass_on, waiting)
    return await waiting


@coroutine
def _rest(work: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """Go on with work that has begun and awaits something."""
    while True:
        try:
            try:
                answer = yield awaited
            except BaseException as error:
                awaited = work.throw(error)
            else:
                awaited = work.send(answer)
        except StopIteration as ended:
            result: T = ended.value
            return result


def _pass_on(result: T | Failure, waiting: Deferred[T]) -> None:
    if waiting.called:
        if isinstance(result, Failure):
            log.failure("work failed after nobody waited for it any more", failure=result)
    elif isinstance(result, Failure):
        waiting.errback(result)
    else:
        waiting.callback(result)
