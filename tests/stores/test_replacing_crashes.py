"""Stores die at every step of replacing messages: the old one is there or the new one, never both, never none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.disk import Disk
from mailfw.mail.mailbox import INBOX, CreateMailbox
from mailfw.optional import IReplacingMail
from mailfw.stores.indexed import IndexedStore
from mailfw.stores.sqlite import source
from mailfw.testing.disk import Crashed, FaultyDisk
from tests.stores import test_maildir_crashes, test_sqlite_crashes
from tests.stores.test_maildir_crashes import ANN, Inline, Life, look, message
from tests.stores.test_plain_crashes import Fuse, Fused, FusedDatabases
from tests.testing.test_source import DictSource

T = TypeVar("T")

#: Mailboxes, subjects and flags: the UIDs of what was undone may be given to others.
Found = frozenset[tuple[str, str, frozenset[str]]]


async def found_in(store: IndexedStore) -> Found:
    seen = await look(store)
    assert len({(path, subject) for path, _, subject, _ in seen}) == len(seen), f"something is there twice: {seen}"
    return frozenset((path, subject, flags) for path, _, subject, flags in seen)


async def prepare(store: IndexedStore) -> None:
    await store.open_account(ANN)
    await store.edit_mailbox(ANN, CreateMailbox(("Work",)))
    await store.append(ANN, await Life(store).id(*INBOX), [message("one"), message("two"), message("three")])


class ReplacingLife:
    """Each message replaced in turn, one by one in another mailbox; `done` counts what was acknowledged."""

    def __init__(self, store: IndexedStore) -> None:
        self._store = store
        self.done = 0

    async def live(self) -> list[Found]:
        store = IReplacingMail(self._store)
        inbox, work = await Life(self._store).id(*INBOX), await Life(self._store).id("Work")
        states = [await found_in(self._store)]
        for uid, to, new in ((1, inbox, "ONE"), (3, work, "a large THREE" + "!" * 50), (2, inbox, "TWO")):
            await store.replace(ANN, inbox, uid, to, message(new, "\\Flagged", "$Label"))
            self.done += 1
            states.append(await found_in(self._store))
        return states


class CrashFixture(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()

    def tearDown(self) -> None:
        self.flushLoggedErrors(Crashed)  # what was committed counts as done, and the rest is logged

    def run_now(self, coroutine: Coroutine[Any, Any, T]) -> T:
        result: T = self.successResultOf(Deferred.fromCoroutine(coroutine))
        return result

    def check(self, found: Found, states: list[Found], done: int, what: str) -> None:
        self.assertIn(found, states[done : done + 2], f"{what}, {done} done")


class OnDisk(CrashFixture):
    """Replacing cut short at each operation of the disk of a store that `open` opens."""

    open: Callable[[Path, Disk], IndexedStore]

    def begun(self, name: str) -> tuple[IndexedStore, FaultyDisk]:
        disk = FaultyDisk(self.directory / "attic")
        store = self.open(self.directory / name, disk)
        self.run_now(prepare(store))
        return store, disk

    def each_death(self, after: Callable[[FaultyDisk], None]) -> None:
        store, disk = self.begun("whole")
        prelude = disk.operations
        states = self.run_now(ReplacingLife(store).live())
        self.run_now(store.close())
        self.assertGreater(disk.operations, prelude + 3)
        for at in range(prelude + 1, disk.operations + 1):
            shutil.rmtree(self.directory / "data", ignore_errors=True)
            store, dying = self.begun("data")
            dying.crash_at = at
            life = ReplacingLife(store)
            self.failureResultOf(Deferred.fromCoroutine(life.live()), Crashed)
            dying.bury()
            self.run_now(store.close())
            after(dying)
            store = self.open(self.directory / "data", Disk())
            self.run_now(store.open_account(ANN))
            self.check(self.run_now(found_in(store)), states, life.done, f"operation {at}")
            self.run_now(store.close())

    def test_process_dies_at_every_operation(self) -> None:
        self.each_death(lambda disk: None)

    def test_power_fails_at_every_operation(self) -> None:
        self.each_death(FaultyDisk.lose_power)


class MaildirTests(OnDisk):
    open = staticmethod(test_maildir_crashes.open_store)


class SqliteTests(OnDisk):
    open = staticmethod(test_sqlite_crashes.open_store)

    def setUp(self) -> None:
        super().setUp()
        self.patch(source, "SMALL", 80)  # one of the new messages is in a file


del OnDisk  # no test by itself


class PlainTests(CrashFixture):
    """The same over a plain source: at each call that changes anything, and each commit of the index."""

    def open(self, dictionary: DictSource, name: str, fuse: Fuse) -> IndexedStore:
        threads = Inline()
        databases = FusedDatabases(self.directory / name, threads, synced=True)
        databases.fuse = fuse
        return IndexedStore(Fused(dictionary, fuse), databases, Clock(), threads=threads)

    def begun(self, name: str) -> tuple[IndexedStore, DictSource, Fuse]:
        dictionary, fuse = DictSource(), Fuse()
        store = self.open(dictionary, name, fuse)
        self.run_now(prepare(store))
        return store, dictionary, fuse

    def test_process_dies_at_every_step(self) -> None:
        store, _, fuse = self.begun("whole")
        prelude = fuse.steps
        states = self.run_now(ReplacingLife(store).live())
        self.run_now(store.close())
        self.assertGreater(fuse.steps, prelude + 12)
        for at in range(prelude + 1, fuse.steps + 1):
            store, dictionary, dying = self.begun(f"life {at}")
            dying.at = at
            life = ReplacingLife(store)
            # What is left to be done after the last commit does not keep it from being acknowledged.
            Deferred.fromCoroutine(life.live()).addErrback(lambda why: why.trap(Crashed))
            self.run_now(store.close())
            store = self.open(dictionary, f"life {at}", Fuse())
            self.run_now(store.open_account(ANN))
            self.check(self.run_now(found_in(store)), states, life.done, f"step {at}")
            self.run_now(store.close())
