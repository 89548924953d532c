"""The maildir store dies at every operation of its disk; what it had acknowledged is there, once."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.disk import Disk
from mailfw.interfaces import IMailStore
from mailfw.mail.failure import NoSpace
from mailfw.mail.mailbox import (
    DELETED,
    FLAGGED,
    INBOX,
    SEEN,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    NewMessage,
    RenameMailbox,
    Want,
)
from mailfw.stores.indexed import IndexedStore
from mailfw.stores.maildir.source import MaildirSource
from mailfw.stores.threads import Threads
from mailfw.testing.contents import MemoryContent
from mailfw.testing.disk import Crashed, FaultyDisk

T = TypeVar("T")
ANN = "ann@example.org"

#: A message as a test sees it: mailbox, UID, subject, flags.
Seen = tuple[str, int, str, frozenset[str]]


class Inline(Threads):
    """Does what is to be done in a thread at once."""

    def __init__(self) -> None:
        super().__init__(Clock())

    def run(self, work: Callable[..., T], *args: Any, **options: Any) -> Deferred[T]:
        return maybeDeferred(work, *args, **options)

    def soon(self, act: Callable[[], None]) -> None:
        act()

    def apart(self) -> Inline:
        return self


def open_store(data: Path, disk: Disk) -> IndexedStore:
    threads = Inline()
    return IndexedStore(MaildirSource(data, threads, disk), data, Clock(), threads=threads)


def message(subject: str, *flags: str) -> NewMessage:
    octets = f"Subject: {subject}\r\n\r\nbody of {subject}\r\n".encode()
    return NewMessage(MemoryContent(octets), frozenset(flags), 1_700_000_000, f"token of {subject}")


class Life:
    """A few steps of a user's life; `done` counts those that were acknowledged."""

    def __init__(self, store: IMailStore) -> None:
        self.store = store
        self.done = 0

    async def id(self, *path: str) -> str:
        return next(info.id for info in await self.store.mailboxes(ANN) if info.path == path)

    async def steps(self) -> list[Callable[[], Awaitable[object]]]:
        store, inbox, work, office = self.store, await self.id(*INBOX), ("Work",), ("Office",)
        return [
            lambda: store.append(ANN, inbox, [message("one")]),
            lambda: store.append(ANN, inbox, [message("two", SEEN, "$Label"), message("three")]),
            lambda: store.alter(ANN, inbox, [1, 2], FlagChange.ADD, frozenset({FLAGGED, "$Other"})),
            lambda: store.edit_mailbox(ANN, CreateMailbox(work)),
            lambda: self.transfer(inbox, [1], work, False),
            lambda: self.transfer(inbox, [2, 3], work, True),
            lambda: store.append(ANN, inbox, [message("four")]),
            lambda: store.edit_mailbox(ANN, RenameMailbox(work, office)),
            lambda: store.alter(ANN, inbox, [1], FlagChange.ADD, frozenset({DELETED})),
            lambda: store.expunge(ANN, inbox, None),
            lambda: self.transfer(inbox, [4], office, False),
            lambda: store.edit_mailbox(ANN, DeleteMailbox(office)),
            lambda: store.append(ANN, inbox, [message("five")]),
        ]

    async def transfer(self, inbox: str, uids: list[int], path: tuple[str, ...], move: bool) -> None:
        await self.store.copy(ANN, inbox, uids, await self.id(*path), move)

    async def live(self) -> list[frozenset[Seen]]:
        states = [await look(self.store)]
        for step in await self.steps():
            await step()
            self.done += 1
            states.append(await look(self.store))
        return states


async def look(store: IMailStore) -> frozenset[Seen]:
    """Return every message, having read it whole."""
    found: set[Seen] = set()
    for info in await store.mailboxes(ANN):
        snapshot = await store.snapshot(ANN, info.id, 0)
        rows = [row async for batch in store.rows(ANN, info.id, snapshot.uids, Want.NOTHING) for row in batch]
        assert [row.uid for row in rows] == list(snapshot.uids)
        for row in rows:
            content = await store.content(ANN, info.id, row.uid)
            assert content is not None
            octets = await content.read(0, content.size)
            subject = octets.partition(b"\r\n")[0].decode().removeprefix("Subject: ")
            assert octets == f"Subject: {subject}\r\n\r\nbody of {subject}\r\n".encode(), octets
            assert (row.size, row.received) == (len(octets), 1_700_000_000)
            found.add(("/".join(info.path), row.uid, subject, row.flags))
    return frozenset(found)


class CrashTests(SynchronousTestCase):
    """One life, cut short at each operation in turn."""

    def run_now(self, coroutine: Coroutine[Any, Any, T]) -> T:
        result: T = self.successResultOf(Deferred.fromCoroutine(coroutine))
        return result

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        disk = FaultyDisk(self.directory / "attic")
        store = open_store(self.directory / "whole", disk)
        self.run_now(store.open_account(ANN))
        self.prelude = disk.operations
        self.states = self.run_now(Life(store).live())
        self.operations = disk.operations
        self.run_now(store.close())

    def cut_short(self, at: int) -> tuple[int, FaultyDisk]:
        """Live until an operation; returns how many steps were acknowledged."""
        shutil.rmtree(self.directory / "data", ignore_errors=True)
        disk = FaultyDisk(self.directory / "attic")
        store = open_store(self.directory / "data", disk)
        self.run_now(store.open_account(ANN))
        disk.crash_at = at
        life = Life(store)
        self.failureResultOf(Deferred.fromCoroutine(life.live()), Crashed)
        self.run_now(store.close())
        return life.done, disk

    def check(self, done: int, what: str, whole: bool = True) -> None:
        """Open what is left and compare; each step has been done `whole`, or not at all."""
        store = open_store(self.directory / "data", Disk())
        self.run_now(store.open_account(ANN))
        found = self.run_now(look(store))
        before, after = self.states[done], self.states[done + 1]
        if whole:
            self.assertIn(_places(found), (_places(before), _places(after)), f"{what}: a part of it is done")
        self.assertLessEqual(_without_paths(before & after), _without_paths(found), f"{what}: something is lost")
        self.assertLessEqual(_loosely(found), _loosely(before) | _loosely(after), f"{what}: something strange is there")
        counts = Counter(each[2] for each in found)
        allowed = Counter(each[2] for each in before) | Counter(each[2] for each in after)
        self.assertLessEqual(counts, allowed, f"{what}: something is there twice")
        self.run_now(self._go_on(store, done, what))
        self.run_now(store.close())

    async def _go_on(self, store: IMailStore, done: int, what: str) -> None:
        """Deliver again what was not acknowledged, and something new: it is there once, with a higher UID."""
        inbox = await Life(store).id(*INBOX)
        highest = max(
            (uid for state in self.states[: done + 1] for path, uid, _, _ in state if path == "INBOX"), default=0
        )
        before = {subject for _, _, subject, _ in self.states[done]}
        retried = sorted({each[2] for each in self.states[done + 1] - self.states[done]} - before)
        answers = await store.append(ANN, inbox, [message(subject) for subject in [*retried, "new"]])
        self.assertGreater(answers[-1].uid, highest, f"{what}: a UID was given again")
        counts = Counter(subject for _, _, subject, _ in await look(store))
        for subject in [*retried, "new"]:
            self.assertEqual(counts[subject], 1, f"{what}: {subject}")

    def test_process_dies_at_every_operation(self) -> None:
        for at in range(self.prelude + 1, self.operations + 1):
            done, _ = self.cut_short(at)
            self.check(done, f"operation {at}, step {done}")

    def test_power_fails_at_every_operation(self) -> None:
        """What was not synced is lost, and the index with it."""
        for at in range(self.prelude + 1, self.operations + 1):
            done, disk = self.cut_short(at)
            disk.lose_power()
            for index in (self.directory / "data").glob("*/*/mailfw-index*"):
                index.unlink()
            self.check(done, f"operation {at}, step {done}", whole=False)

    def test_power_fails_and_the_index_is_there(self) -> None:
        """What was not synced is lost, but for the index: what it notes is synced."""
        for at in range(self.prelude + 1, self.operations + 1):
            done, disk = self.cut_short(at)
            disk.lose_power()
            self.check(done, f"operation {at}, step {done}")

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
            store.alter(ANN, inbox, [1], FlagChange.ADD, frozenset({"$New"})),
        ):
            self.failureResultOf(Deferred.fromCoroutine(attempt), NoSpace)
        self.assertEqual(self.run_now(look(store)), before)
        self.assertEqual(list((self.directory / "data/example.org/ann/tmp").iterdir()), [])
        disk.is_full = False
        self.run_now(store.append(ANN, inbox, [message("two"), message("three")]))
        self.assertEqual(sorted(each[2] for each in self.run_now(look(store))), ["one", "three", "two"])
        self.run_now(store.close())


def _places(state: frozenset[Seen]) -> Counter[tuple[str, str]]:
    """Which message is where; a mailbox that was renamed is the same one."""
    return Counter((path.replace("Office", "Work"), subject) for path, _, subject, _ in state)


def _loosely(state: frozenset[Seen]) -> set[tuple[str, frozenset[str]]]:
    """The messages and their flags: the paths and UIDs of a step that was not finished are nobody's business."""
    return {(subject, flags) for _, _, subject, flags in state}


def _without_paths(state: frozenset[Seen]) -> set[tuple[int, str, frozenset[str]]]:
    return {(uid, subject, flags) for _, uid, subject, flags in state}


#: Delivers numbered messages from many sides, and says which were acknowledged.
CHILD = """
import os
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from mailfw.mail.mailbox import INBOX, NewMessage
from mailfw.site import Site
from mailfw.stores.maildir import maildir
from mailfw.testing.contents import MemoryContent

async def deliver(store, account, first):
    inbox = next(info.id for info in await store.mailboxes(account) if info.path == INBOX)
    for number in range(first, 10**6, 10):
        token = f"{sys.argv[2]}-{number}"
        octets = f"Subject: {token}\\r\\n\\r\\n".encode() + b"x" * 3000 + b"\\r\\n"
        await store.append(account, inbox, [NewMessage(MemoryContent(octets), token=token)])
        sys.stdout.write(f"{account} {token}\\n")
        sys.stdout.flush()

async def main():
    store = maildir(Site("mx", frozenset(), Path(sys.argv[1]), reactor))
    for account in ("ann@example.org", "bob@example.org"):
        await store.open_account(account)
    for first in range(10):
        account = ("ann@example.org", "bob@example.org")[first % 2]
        Deferred.fromCoroutine(deliver(store, account, first)).addErrback(fail)

def fail(failure):
    failure.printTraceback(sys.stderr)
    os._exit(1)

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()).addErrback(fail))
reactor.run()
"""


class KilledTests(SynchronousTestCase):
    """A process that delivers is killed, again and again, over the same mail."""

    def test_acknowledged_messages_are_there_once(self) -> None:
        data = Path(self.mktemp()).absolute()
        acknowledged: set[tuple[str, str]] = set()
        for life in range(5):
            acknowledged |= self._live(data, life)
        self.assertGreater(len(acknowledged), 20)
        store = open_store(data / "mail", Disk())
        for account in ("ann@example.org", "bob@example.org"):
            tokens = [token for name, token in acknowledged if name == account]
            found: Counter[str] = self.successResultOf(Deferred.fromCoroutine(self._subjects(store, account)))
            self.assertEqual([token for token in tokens if found[token] != 1], [])
            self.assertEqual([subject for subject, count in found.items() if count > 1], [])
        self.successResultOf(Deferred.fromCoroutine(store.close()))

    def _live(self, data: Path, life: int) -> set[tuple[str, str]]:
        command = [sys.executable, "-c", CHILD, str(data), str(life)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        lines = [child.stdout.readline()]
        time.sleep(0.05 + 0.07 * life)
        child.kill()
        lines += child.stdout.readlines()
        child.stdout.close()
        child.wait()
        told = [line.decode().split() for line in lines if line.endswith(b"\n")]
        return {(account, token) for account, token in told}

    async def _subjects(self, store: IMailStore, account: str) -> Counter[str]:
        await store.open_account(account)
        inbox = next(info.id for info in await store.mailboxes(account) if info.path == INBOX)
        found: Counter[str] = Counter()
        for uid in (await store.snapshot(account, inbox, 0)).uids:
            content = await store.content(account, inbox, uid)
            assert content is not None
            octets = await content.read(0, content.size)
            self.assertTrue(octets.endswith(b"x" * 3000 + b"\r\n"), "cut short")
            found[octets.partition(b"\r\n")[0].decode().removeprefix("Subject: ")] += 1
        return found
