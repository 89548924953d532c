"""The backlog as the reactor's thread sees it: what changes is collected and committed together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from mailfw.disk import Disk
from mailfw.mail.queued import Queued
from mailfw.spools.log.journal import Journal, Promise, refusal
from mailfw.spools.log.names import discard
from mailfw.spools.log.tables import Stored, Tables

T = TypeVar("T")

#: Changes that one transaction holds at most: what is to be taken waits for no more than these.
_BATCH = 256


@dataclass(slots=True, eq=False)
class Change:
    """Something to do to the tables, and what came of it; a failure of its own leaves the others alone."""

    work: Callable[[Tables], Any]
    result: Any = None
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class Batch:
    """Changes that are committed together."""

    changes: list[Change] = field(default_factory=list)
    done: Promise[None] = field(default_factory=lambda: Promise[None]())


class Backlog:
    """
    Messages that wait.  `count` is how many there are.

    Nothing is committed here before all that the log was given earlier is on stable storage.  That keeps one order for
    both: in particular, a message is not forgotten here before the log, where it came from, is sure to have
    forgotten it.
    """

    def __init__(self, disk: Disk, tables: Tables, journal: Journal, large: Path) -> None:
        self.count = 0
        self._disk = disk
        self._tables = tables
        self._journal = journal
        self._large = large
        self._worker = disk.worker("mailfw spool backlog")
        self._waiting: deque[Batch] = deque()
        self._latest = Batch()
        self._busy = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing, nor anything on its way."""
        return not (self.count or self._busy or self._waiting)

    # ------------------------------------------------------------ changes

    async def add(self, queued: Queued, stored: Callable[[], Stored], is_out: bool) -> None:
        """Keep a message; `stored` is called in our thread."""

        def work(tables: Tables) -> bool:
            return tables.add(queued, stored(), is_out)

        if await self._change(work):
            self.count += 1

    async def record(self, queued: Queued, is_back: bool) -> None:
        """Write a state."""
        await self._change(lambda tables: tables.record(queued, is_back))

    async def remove(self, name: str) -> None:
        """Forget a message and its file."""
        was_there, file = await self._change(lambda tables: tables.remove(name))
        if was_there:
            self.count -= 1
        if file is not None:
            await self._disk.run(discard, self._disk, self._large / file)

    async def _change(self, work: Callable[[Tables], Any]) -> Any:
        if not self._waiting or len(self._waiting[-1].changes) >= _BATCH:
            self._latest = Batch()
            self._waiting.append(self._latest)
        batch = self._latest
        change = Change(work)
        batch.changes.append(change)
        if not self._busy:
            self._busy = True
            await self._hand_over()
        await batch.done
        if change.error is not None:
            raise refusal(change.error)
        return change.result

    async def _hand_over(self) -> None:
        """Commit what has been collected, and what is collected meanwhile, once the log is synced."""
        try:
            await self._journal.sync()
        except Exception as error:
            self._refuse(error)
            return
        batch = self._waiting.popleft()
        self._worker.submit(lambda: self._commit(batch.changes), lambda _: self._committed(batch))

    def _refuse(self, error: Exception) -> None:
        waiting, self._waiting, self._busy = self._waiting, deque(), False
        for batch in waiting:
            for change in batch.changes:
                change.error = error
            batch.done.callback(None)

    def _committed(self, batch: Batch) -> None:
        if self._waiting:
            Deferred.fromCoroutine(self._hand_over())
        else:
            self._busy = False
        batch.done.callback(None)

    def _commit(self, changes: Sequence[Change]) -> None:
        """In our thread: do what can be done, in one transaction."""

        def work() -> None:
            for change in changes:
                try:
                    change.result = change.work(self._tables)
                except OSError as error:  # its octets cannot be read: no reason to keep the others waiting
                    change.error = error

        try:
            self._tables.change(work)
        except Exception as error:
            for change in changes:
                change.error = error

    # ------------------------------------------------------------ questions

    async def take(self, now: float, limit: int, each: int, passing_over: Collection[str]) -> list[Queued]:
        """Take out what is due.  What a power failure undoes of that is in again, as it has to be."""
        if not self.count:
            return []
        passing_over = frozenset(passing_over)
        work = self._tables.take
        return await self.ask(lambda tables: tables.change(lambda: work(now, limit, each, passing_over), durably=False))

    async def seize(self, name: str) -> Queued | None:
        """Take one message out."""
        return await self.ask(lambda tables: tables.change(lambda: tables.seize(name), durably=False))

    async def next_due(self, passing_over: Collection[str]) -> float | None:
        """Return when something is due."""
        if not self.count:
            return None
        passing_over = frozenset(passing_over)
        return await self.ask(lambda tables: tables.read(lambda: tables.next_due(passing_over)))

    async def get(self, name: str) -> Queued | None:
        """Return a message's state."""
        return await self.ask(lambda tables: tables.read(lambda: tables.get(name)))

    async def stored(self, name: str) -> Stored | None:
        """Return a message's octets."""
        return await self.ask(lambda tables: tables.read(lambda: tables.stored(name)))

    async def scan(self, after: str, limit: int) -> list[Queued]:
        """Return states by id."""
        return await self.ask(lambda tables: tables.read(lambda: tables.scan(after, limit)))

    async def ask(self, work: Callable[[Tables], T]) -> T:
        """Do something in our thread."""
        answer = Promise[T]()

        def attempt() -> tuple[T | None, Exception | None]:
            try:
                return work(self._tables), None
            except Exception as error:
                return None, error

        def tell(outcome: tuple[T | None, Exception | None]) -> None:
            result, error = outcome
            if error is not None:
                answer.errback(error)
            else:
                answer.callback(result)  # type: ignore[arg-type]  # T may be None itself

        self._worker.submit(attempt, tell)
        return await answer

    async def close(self) -> None:
        """Finish what is under way, and let go of the database."""
        while self._busy:
            await self._latest.done
        await self.ask(lambda tables: tables.close())
        self._worker.stop()
