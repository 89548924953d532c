"""What another server does to a maildir at the very moment that we do something."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.disk import Disk, Name
from mailfw.interfaces import IMailStore
from mailfw.mail.failure import MailboxExists, NoSuchMailbox
from mailfw.mail.mailbox import (
    FLAGGED,
    INBOX,
    SEEN,
    CreateMailbox,
    FlagChange,
    Flags,
    NewMessage,
    RenameMailbox,
)
from mailfw.optional import IUniqueIds
from mailfw.stores.indexed import IndexedStore
from mailfw.stores.maildir import listing, maildir
from mailfw.stores.maildir.keywords import Keywords
from mailfw.stores.maildir.source import MaildirSource
from mailfw.stores.maildir.uidvalidity import next_uid_validity
from mailfw.stores.maildir.unique_ids import read_unique_ids
from mailfw.stores.threads import Threads
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.store.fixture import pause
from tests.stores.test_maildir import site_at

ANN = "ann@example.org"
WORK, OFFICE = ("Work",), ("Office",)


class Meddling(Disk):
    """A disk where another program does something before a call that a test waits for, once."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, object] = {}

    def _meddle(self, call: str) -> None:
        if call in self.before:
            meddle = self.before.pop(call)
            meddle()  # type: ignore[operator] # it is a function

    def append(self, path: Name) -> int:
        self._meddle("append")
        return super().append(path)

    def rename(self, old: Name, new: Name) -> None:
        self._meddle("rename")
        super().rename(old, new)

    def sync_all(self, paths, trees) -> None:  # type: ignore[no-untyped-def] # as above
        self._meddle("sync_all")
        super().sync_all(paths, trees)


class TogetherTests(TestCase):
    """One account."""

    store: IMailStore

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        from twisted.internet import reactor

        self.data = Path(self.mktemp()).absolute()  # noqa: ASYNC240 -- a test may block
        self.root = self.data / "mail/example.org/ann"
        self.disk = Meddling()
        threads = Threads(reactor)
        source = MaildirSource(self.data / "mail", threads, self.disk)
        self.store = IndexedStore(source, self.data / "mail", reactor, threads=threads)
        self.addCleanup(lambda: self.store.close())
        await self.store.open_account(ANN)
        await self.store.edit_mailbox(ANN, CreateMailbox(WORK))
        self.inbox, self.work = await self.id_at(INBOX), await self.id_at(WORK)

    async def id_at(self, path: tuple[str, ...]) -> str:
        return next(info.id for info in await self.store.mailboxes(ANN) if info.path == path)

    async def add(self, mailbox: str, *flags: str) -> int:
        message = NewMessage(MemoryContent(PLAIN), frozenset(flags))
        return (await self.store.append(ANN, mailbox, [message]))[0].uid

    async def flags(self, mailbox: str) -> dict[int, Flags]:
        snapshot = await self.store.snapshot(ANN, mailbox, 0)
        return dict(zip(snapshot.uids, snapshot.flags, strict=True))

    def move_work(self) -> None:
        (self.root / ".Work").rename(self.root / ".Office")

    # ------------------------------------------------------------ flags

    async def test_flags_of_both_at_the_same_time(self) -> None:
        """Theirs of a moment ago are not overwritten, nor are those that come between our look and our change."""
        for call in (None, "rename"):
            uid = await self.add(self.inbox, SEEN)
            [path] = self.root.glob("cur/*")

            def flag(path: Path = path) -> None:
                path.rename(path.with_name(path.name.partition(":")[0] + ":2,FS"))

            if call is None:
                flag()
            else:
                self.disk.before[call] = flag
            await self.store.alter(ANN, self.inbox, [uid], FlagChange.ADD, frozenset({"$Mine"}))
            await pause(1.1)
            self.assertEqual(await self.flags(self.inbox), {uid: {SEEN, FLAGGED, "$Mine"}})
            next(self.root.glob("cur/*")).unlink()
            await pause(1.1)

    async def test_letters_of_the_same_second(self) -> None:
        """Dovecot compares the dates of a file of keywords in whole seconds."""
        keywords = Keywords(Disk(), str(self.root))
        for number in range(3):
            before = int((self.root / "dovecot-keywords").stat().st_mtime) if number else 0
            keywords.learn([f"word{number}"])
            self.assertGreater(int((self.root / "dovecot-keywords").stat().st_mtime), before)

    # ------------------------------------------------------------ folders that move

    async def test_folder_that_moves(self) -> None:
        """It is the same mailbox: whatever is under way goes on where it is now."""
        uids = [await self.add(self.work) for _ in range(3)]
        self.move_work()
        await self.store.alter(ANN, self.work, uids[:1], FlagChange.ADD, frozenset({SEEN}))
        self.assertEqual(len(await self.flags(self.work)), 3)
        self.assertIsNotNone(await self.store.content(ANN, self.work, uids[1]))
        self.assertEqual(await self.add(self.work), uids[-1] + 1)
        self.assertEqual(list((self.root / ".Office").glob("*.lock")), [])
        await pause(1.1)
        self.assertEqual(await self.id_at(OFFICE), self.work)

    async def test_folder_that_moves_while_a_message_comes(self) -> None:
        """The message is there once, and no lock is left."""
        for number, call in enumerate(("rename", "append", "sync_all"), 1):
            self.disk.before[call] = self.move_work
            await self.add(self.work)
            self.assertEqual(len(list((self.root / ".Office").glob("[cn]*/*"))), number, call)
            self.assertEqual(list((self.root / ".Office").glob("*.lock")), [])
            (self.root / ".Office").rename(self.root / ".Work")
            self.assertEqual(len(await self.flags(self.work)), number)

    async def test_folder_that_moves_while_messages_move(self) -> None:
        uids = [await self.add(self.inbox) for _ in range(3)]
        self.disk.before["append"] = self.move_work
        copied = await self.store.copy(ANN, self.inbox, uids, self.work, move=True)
        self.assertEqual([old for old, _ in copied.uids], uids)
        self.assertEqual((await self.flags(self.inbox), len(await self.flags(self.work))), ({}, 3))

    async def test_folder_that_goes(self) -> None:
        uid = await self.add(self.work)
        shutil.rmtree(self.root / ".Work")
        with self.assertRaises(NoSuchMailbox):
            await self.store.alter(ANN, self.work, [uid], FlagChange.ADD, frozenset({SEEN}))
        with self.assertRaises(NoSuchMailbox):
            await self.add(self.work)
        self.assertNotIn(WORK, [info.path for info in await self.store.mailboxes(ANN)])

    async def test_another_folder_in_its_place(self) -> None:
        """A mailbox that was deleted and made anew is another one, even if its directory is the same file."""
        await self.add(self.work)
        for name in ("cur", "new", "tmp"):
            shutil.rmtree(self.root / ".Work" / name)
            (self.root / ".Work" / name).mkdir()
        (self.root / ".Work/dovecot-uidlist").unlink()
        await pause(1.1)
        self.assertNotEqual(await self.id_at(WORK), self.work)

    async def test_names_that_are_taken_meanwhile(self) -> None:
        def make() -> None:
            for name in ("cur", "new", "tmp"):
                (self.root / ".Office" / name).mkdir(parents=True)

        for edit in (CreateMailbox(OFFICE), RenameMailbox(WORK, OFFICE)):
            self.disk.before["rename"] = make
            with self.assertRaises(MailboxExists):
                await self.store.edit_mailbox(ANN, edit)
            shutil.rmtree(self.root / ".Office")
        self.assertIn(WORK, [info.path for info in await self.store.mailboxes(ANN)])

    async def test_two_who_take_a_validity(self) -> None:
        def take() -> None:
            [marker] = self.root.glob("dovecot-uidvalidity.*")
            marker.rename(marker.with_name(f"dovecot-uidvalidity.{int(time.time()) + 1000:08x}"))

        self.disk.before["rename"] = take
        self.assertGreater(next_uid_validity(self.disk, str(self.root)), int(time.time()) + 1000)

    # ------------------------------------------------------------ coming

    async def test_mail_dropped_into_a_folder_at_rest(self) -> None:
        """What has come is all that is looked at; and that nothing else is missed."""
        uids = [await self.add(self.inbox, SEEN) for _ in range(3)]
        await pause(1.1)
        await self.flags(self.inbox)
        read: list[str] = []
        listed = listing.listed

        def count(directory: str, name: str) -> listing.Names:
            read.append(name)
            return listed(directory, name)

        self.patch(listing, "listed", count)
        (self.root / "new/1700000000.M1P2.host").write_bytes(PLAIN)
        await pause(1.1)
        self.assertEqual(list(await self.flags(self.inbox)), [*uids, uids[-1] + 1])
        self.assertEqual(set(read), {"new"}, "a folder that may be large was read though nothing had come there")
        (self.root / "new/1700000000.M2P2.host").write_bytes(PLAIN)
        min(self.root.glob("cur/*")).unlink()
        await pause(1.1)
        self.assertEqual(list(await self.flags(self.inbox)), [*uids[1:], uids[-1] + 1, uids[-1] + 2])
        (self.root / "new/1700000000.M2P2.host").unlink()
        await pause(1.1)
        self.assertEqual(list(await self.flags(self.inbox)), [*uids[1:], uids[-1] + 1])


class TakingOverTests(TestCase):
    """A maildir that another server has kept until now."""

    async def test_nothing_is_added(self) -> None:
        """Neither mailboxes nor subscriptions: its clients would see them."""
        data = Path(self.mktemp()).absolute()  # noqa: ASYNC240 -- a test may block
        root = data / "mail/example.org/ann"
        for name in ("cur", "new", "tmp", ".Sent Items/cur", ".Sent Items/new"):
            (root / name).mkdir(parents=True)
        (root / "cur/1700000000.M1P2.host:2,S").write_bytes(PLAIN)
        (root / "dovecot-uidlist").write_text("3 V5 N9 Gabc\n7 Pold-7 W9 :1700000000.M1P2.host\n")
        store = maildir(site_at(data))
        self.addCleanup(store.close)
        await store.open_account(ANN)
        self.assertEqual({info.path for info in await store.mailboxes(ANN)}, {INBOX, ("Sent Items",)})
        self.assertEqual(await store.subscriptions(ANN), frozenset())
        self.assertEqual(await IUniqueIds(store).unique_ids(ANN), {7: "old-7"})


class UniqueIdTests(SynchronousTestCase):
    """``P`` in a UID list."""

    def test_read(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.assertEqual(read_unique_ids(str(directory)), {})
        lines = ["3 V1 N9 Gx", "1 :a P1", "2 W3 Ptwo S1 :b", "3 Pthree :c", "4 Pthree :d", "5 P :e", "6 GP7 :f"]
        (directory / "dovecot-uidlist").write_text("\n".join(lines) + "\n7 Pcut")
        self.assertEqual(read_unique_ids(str(directory)), {2: "two", 3: "three"})
