"""A disk that takes nothing for a while, and a clock that is set: on one as on the other nothing is lost or doubled."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.disk import Disk
from mailfw.interfaces import IMailStore
from mailfw.mail.failure import NoSpace
from mailfw.mail.mailbox import DELETED, FLAGGED, INBOX, CreateMailbox, FlagChange, NewMessage
from mailfw.optional import IRetainedMail
from mailfw.service.sweeper import Sweeper
from mailfw.stores.indexed import IndexedStore
from mailfw.testing.contents import MemoryContent
from mailfw.testing.disk import FaultyDisk
from mailfw.testing.store.fixture import read_all
from mailfw.testing.store.making import Maker, find
from tests.stores import test_maildir_crashes, test_sqlite_crashes
from tests.stores.test_maildir_crashes import ANN, message

OPENING: dict[str, Callable[[Path, Disk], IndexedStore]] = {
    "maildir": test_maildir_crashes.open_store,
    "sqlite": test_sqlite_crashes.open_store,
}
REFUSALS = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EMFILE)


class RefusingDiskTests(SynchronousTestCase):
    """What cannot be written is refused; what is there is read meanwhile; and then it goes on."""

    def test_maildir(self) -> None:
        self.go_through("maildir")

    def test_sqlite(self) -> None:
        self.go_through("sqlite")

    def go_through(self, plugin: str) -> None:
        for refusal in REFUSALS:
            directory = Path(self.mktemp()).absolute()
            disk = FaultyDisk(directory / "attic")
            disk.refusal = refusal
            self.successResultOf(Deferred.fromCoroutine(self.live(plugin, directory, disk)))

    async def live(self, plugin: str, directory: Path, disk: FaultyDisk) -> None:
        store = OPENING[plugin](directory / "mail", disk)
        await store.open_account(ANN)
        inbox = await inbox_of(store)
        [first] = await store.append(ANN, inbox, [message("first")])
        disk.is_full = True
        for _ in range(2):
            await self.refused(disk, store.append(ANN, inbox, [message("refused")]))
            await self.refused(disk, store.alter(ANN, inbox, [first.uid], FlagChange.ADD, frozenset({FLAGGED})))
            self.assertLessEqual(await store.claim_recent(ANN, inbox), first.uid + 1)
            content = await store.content(ANN, inbox, first.uid)
            assert content is not None
            self.assertIn(b"body of first", await read_all(content))
            await content.close()
            self.assertEqual(list((await store.snapshot(ANN, inbox, 0)).uids), [first.uid])
        disk.is_full = False
        [second] = await store.append(ANN, inbox, [message("refused")])  # whose token says that it is the same
        [again] = await store.append(ANN, inbox, [message("refused")])
        self.assertEqual(again, second)
        await store.alter(ANN, inbox, [first.uid], FlagChange.ADD, frozenset({FLAGGED}))
        await store.close()
        store = OPENING[plugin](directory / "mail", disk)
        await store.open_account(ANN)
        snapshot = await store.snapshot(ANN, await inbox_of(store), 0)
        self.assertEqual(list(snapshot.uids), [first.uid, second.uid])
        self.assertIn(FLAGGED, snapshot.flags[0])
        await store.close()

    async def refused(self, disk: FaultyDisk, work: object) -> None:
        """Full disks have a name of their own; no other refusal is taken for one."""
        try:
            await work  # type: ignore[misc]  # any awaitable
        except NoSpace:
            self.assertEqual(disk.refusal, errno.ENOSPC)
        except (OSError, sqlite3.Error):
            self.assertNotEqual(disk.refusal, errno.ENOSPC)
        else:
            self.fail("it was done")


async def inbox_of(store: IMailStore) -> str:
    return next(info.id for info in await store.mailboxes(ANN) if info.path == INBOX)


class SetClockTests(TestCase):
    """The clock is set to and fro, with a restart between."""

    offsets: ClassVar = (0, 3 * 3600, -3 * 3600, 40 * 86400, -40 * 86400, 0)

    def setUp(self) -> None:
        self.offset = 0.0
        self.data = Path(self.mktemp()).absolute()
        real = time.time
        self.patch(time, "time", lambda: real() + self.offset)

    async def test_maildir(self) -> None:
        await self.go_through("maildir")

    async def test_sqlite(self) -> None:
        await self.go_through("sqlite")

    async def go_through(self, plugin: str) -> None:
        from twisted.internet import reactor

        uid, modseq, validities = 0, 0, list[int]()
        for number, offset in enumerate(self.offsets):
            self.offset = offset
            store = Maker(find("store", plugin), self.data, reactor).make_store()
            await store.open_account(ANN)
            inbox = await inbox_of(store)
            for seconds in (0, 7200, -7200):
                self.offset += seconds
                [new] = await store.append(ANN, inbox, [NewMessage(MemoryContent(b"Subject: x\r\n\r\n"))])
                self.assertGreater((new.uid, new.modseq), (uid, modseq))
                self.assertGreater(new.modseq, modseq)
                uid, modseq = new.uid, new.modseq
                altered = await store.alter(ANN, inbox, [uid], FlagChange.ADD, frozenset({FLAGGED}))
                self.assertGreater(altered.modseq, modseq)
                modseq = altered.modseq
            await store.edit_mailbox(ANN, CreateMailbox((f"Box {number}",)))
            made = {info.path: info for info in await store.mailboxes(ANN)}
            validities.append(made[(f"Box {number}",)].uid_validity)
            self.assertEqual(made[INBOX].messages, 3 * (number + 1))
            await store.close()
        self.assertEqual(validities, sorted(set(validities)))

    async def test_retained_mail_is_not_old_because_of_a_clock(self) -> None:
        """A clock that is set ahead, or was behind when a message was expunged, takes nothing away early."""
        from twisted.internet import reactor

        week = 7 * 86400.0
        for plugin in ("maildir", "sqlite"):
            store = Maker(find("store", plugin), self.data / plugin, reactor).make_store(retention=week)
            sweeper = Sweeper(store, week, reactor)
            sweeper._reactor = SimpleNamespace(seconds=time.time)
            await store.open_account(ANN)
            inbox = await inbox_of(store)
            await store.append(ANN, inbox, [NewMessage(MemoryContent(b"x"), frozenset({DELETED}))])
            await store.expunge(ANN, inbox, None)
            for offset in (30 * 86400.0, -30 * 86400.0, 0.0):
                self.offset = offset
                await sweeper._sweep(IRetainedMail(store))
                kept = [each async for batch in IRetainedMail(store).retained(ANN) for each in batch]
                self.assertEqual(len(kept), 1, f"{plugin} at {self.offset}")
            await store.close()
