"""The SQLite store dies at every operation of its disk: what is there then is what was before the step, or after."""

from __future__ import annotations

import errno
import itertools
import secrets
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.disk import Disk
from mailfw.mail.failure import NoSpace
from mailfw.mail.mailbox import FLAGGED, INBOX, CreateMailbox, FlagChange, NewMessage
from mailfw.stores.index import appends
from mailfw.stores.indexed import IndexedStore
from mailfw.stores.sqlite import source
from mailfw.stores.sqlite.shards import Shards
from mailfw.stores.sqlite.source import SqliteSource
from mailfw.testing.contents import MemoryContent
from mailfw.testing.disk import Crashed, FaultyDisk
from tests.stores.test_maildir_crashes import ANN, Inline, Life, look, message

T = TypeVar("T")


def open_store(data: Path, disk: Disk) -> IndexedStore:
    threads = Inline()
    shards = Shards(data, 1, threads, disk)
    return IndexedStore(SqliteSource(shards, threads, disk), shards, Clock(), threads=threads)


def files_of(data: Path) -> list[str]:
    """Return the names of the files that bodies are in, staged ones among them."""
    return sorted(f"{path.parent.name}/{path.name}" for path in data.glob("*.bodies/*/*"))


class CrashTests(SynchronousTestCase):
    """One life, cut short at each operation in turn; three of its five messages are in files."""

    def setUp(self) -> None:
        # Each large body in a directory of its own, as chance has it mostly: every life has as many operations.
        numbers = itertools.count()
        self.patch(source, "_new_email_id", lambda: f"M{next(numbers) % 256:02x}{secrets.token_hex(15)}")
        self.patch(source, "SMALL", 30)
        self.patch(appends, "IN_LINE", 30)
        self.directory = Path(self.mktemp()).absolute()
        disk = FaultyDisk(self.directory / "attic")
        store = open_store(self.directory / "whole", disk)
        self.run_now(store.open_account(ANN))
        self.prelude = disk.operations
        self.states = self.run_now(Life(store).live())
        self.operations = disk.operations
        self.run_now(store.close())

    def run_now(self, coroutine: Coroutine[Any, Any, T]) -> T:
        result: T = self.successResultOf(Deferred.fromCoroutine(coroutine))
        return result

    def cut_short(self, at: int) -> tuple[int, FaultyDisk]:
        """Live until an operation; returns how many steps were acknowledged."""
        shutil.rmtree(self.directory / "data", ignore_errors=True)
        disk = FaultyDisk(self.directory / "attic")
        store = open_store(self.directory / "data", disk)
        self.run_now(store.open_account(ANN))
        disk.crash_at = at
        life = Life(store)
        self.failureResultOf(Deferred.fromCoroutine(life.live()), Crashed)
        disk.bury()
        self.run_now(store.close())
        return life.done, disk

    def check(self, done: int, what: str) -> None:
        """Open what is left, and compare: mailboxes, UIDs, flags and octets."""
        store = open_store(self.directory / "data", Disk())
        self.run_now(store.open_account(ANN))
        found = self.run_now(look(store))
        self.assertIn(found, self.states[done : done + 2], what)
        in_files = {subject for _, _, subject, _ in found if len(subject) > 3}
        self.assertEqual(len(files_of(self.directory / "data")), len(in_files), f"{what}: litter")
        self.run_now(self._go_on(store, done, what))
        self.run_now(store.close())

    async def _go_on(self, store: IndexedStore, done: int, what: str) -> None:
        """Deliver again what was not acknowledged, and something new: it is there once, with a higher UID."""
        inbox = await Life(store).id(*INBOX)
        seen = {uid for state in self.states[: done + 1] for path, uid, _, _ in state if path == "INBOX"}
        before = {subject for _, _, subject, _ in self.states[done]}
        retried = sorted({each[2] for each in self.states[done : done + 2][-1]} - before)
        answers = await store.append(ANN, inbox, [message(subject) for subject in [*retried, "new"]])
        self.assertGreater(answers[-1].uid, max(seen, default=0), f"{what}: a UID was given again")
        subjects = [each[2] for each in await look(store)]
        self.assertEqual([subjects.count(each) for each in [*retried, "new"]], [1] * (len(retried) + 1), what)

    def test_process_dies_at_every_operation(self) -> None:
        for at in range(self.prelude + 1, self.operations + 1):
            done, _ = self.cut_short(at)
            self.check(done, f"operation {at}, step {done}")

    def test_power_fails_at_every_operation(self) -> None:
        """What of files was not synced is lost; what was committed to a database is not."""
        for at in range(self.prelude + 1, self.operations + 1):
            done, disk = self.cut_short(at)
            disk.lose_power()
            self.check(done, f"operation {at}, step {done}")

    def test_every_operation_fails_once(self) -> None:
        """A disk that has one bad moment: the step fails or not, and all goes on."""
        for at in range(self.prelude + 1, self.operations + 1):
            shutil.rmtree(self.directory / "data", ignore_errors=True)
            disk = FaultyDisk(self.directory / "attic")
            store = open_store(self.directory / "data", disk)
            self.run_now(store.open_account(ANN))
            disk.fail_at, disk.error = at, errno.EIO
            life = Life(store)
            lived: list[object] = []
            Deferred.fromCoroutine(life.live()).addBoth(lived.append)
            self.flushLoggedErrors(OSError)
            self.assertEqual(len(lived), 1)
            if life.done < len(self.states) - 1:
                self.assertIn(self.run_now(look(store)), self.states[life.done : life.done + 2], f"operation {at}")
            self.run_now(store.close())

    def test_full_disk(self) -> None:
        """`NoSpace`, nothing left behind, and all is well when there is room again."""
        disk = FaultyDisk(self.directory / "attic")
        store = open_store(self.directory / "data", disk)
        self.run_now(store.open_account(ANN))
        inbox = self.run_now(Life(store).id(*INBOX))
        self.run_now(store.append(ANN, inbox, [message("one")]))
        before = self.run_now(look(store))
        disk.is_full = True
        for attempt in (
            store.append(ANN, inbox, [message("two"), message("three")]),
            store.append(ANN, inbox, [NewMessage(MemoryContent(b"x" * 500_000))]),
            store.edit_mailbox(ANN, CreateMailbox(("Work",))),
            store.copy(ANN, inbox, [1], inbox),
            store.alter(ANN, inbox, [1], FlagChange.ADD, frozenset({FLAGGED})),
        ):
            self.failureResultOf(Deferred.fromCoroutine(attempt), NoSpace)
        self.assertEqual(self.run_now(look(store)), before)
        self.assertEqual(files_of(self.directory / "data"), [])
        disk.is_full = False
        self.run_now(store.append(ANN, inbox, [message("two"), message("three")]))
        self.assertEqual(sorted(each[2] for each in self.run_now(look(store))), ["one", "three", "two"])
        self.run_now(store.close())
