"""The store contract where workers read by themselves what the keeper writes, and what only two of them can show."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.generations import Generations
from mailfw.interfaces import IMailStore
from mailfw.mail.failure import NoSuchAccount, NoSuchMailbox
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
from mailfw.plugins import resolve
from mailfw.stores import reading
from mailfw.stores.index import read_only
from mailfw.stores.index.read_only import ReadDatabases
from mailfw.stores.indexed import indexed
from mailfw.stores.maildir.folder import MaildirFolder
from mailfw.stores.reading import indexed_elsewhere
from mailfw.stores.threads import Threads
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store import (
    AnnotationCases,
    ColumnCases,
    ReplacingCases,
    SearchCases,
    SharedHistoryCases,
    SharingCases,
    StoreContract,
)
from mailfw.testing.store.fixture import pause, read_all
from tests.cluster.keeping import answer
from tests.cluster.test_store import Closing, ask
from tests.stores.test_indexed import eml_at
from tests.stores.test_maildir import site_at

ANN = "ann@example.org"


class Heard:
    """Counts what a worker asks the keeper."""

    def __init__(self, asking: Any) -> None:
        self.counts: Counter[str] = Counter()
        self._asking = asking

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        self.counts[name] += 1
        return self._asking.call(name, *arguments, **options)

    def tell(self, *said: Any) -> None:
        self._asking.tell(*said)


class Keeper(Closing):
    """A keeper's store, and workers that read its files; all in one process, over sockets."""

    def __init__(self, case: Any, spec: str, data: Path) -> None:
        self.case = case
        self.recipe = resolve("store", spec)
        self.site = site_at(data)
        self.generations = Generations.new()
        self.store = self.make()

    def make(self, **parts: Any) -> Any:
        return self.recipe.make(site=self.site, quotas=None, retention=0.0, generations=self.generations, **parts)

    def connect(self) -> tuple[Any, Heard]:
        """Return the keeper's store over a socket, and what it is asked."""
        from twisted.internet import reactor

        ours, theirs = socket.socketpair()
        keeper = answer(reactor, theirs.fileno(), store=self.store)
        asking, writer = ask(reactor, ours.fileno())
        ours.close()
        theirs.close()
        self.case.addCleanup(self.end, asking, keeper)
        heard = Heard(asking)
        writer._asking = heard
        return writer, heard

    def worker(self) -> Any:
        """Return the store of one more worker."""
        return self.make(writer=self.connect()[0])


#: What changes something.
CHANGES = (
    "append",
    "alter",
    "copy",
    "expunge",
    "edit_mailbox",
    "claim_recent",
    "open_account",
    "remove_account",
    "replace",
    "annotate",
)


class ReadingContract(
    StoreContract, AnnotationCases, ColumnCases, ReplacingCases, SearchCases, SharingCases, SharedHistoryCases
):
    """One worker reads, and another has everything changed."""

    backend = ""

    def make_store(self) -> IMailStore:
        self.keeper = Keeper(self, self.backend, Path(self.mktemp()).absolute())
        self.addCleanup(self.keeper.store.close)
        other: Any = self.keeper.connect()[0]
        store: Any = self.keeper.worker()
        for name in CHANGES:
            setattr(store, name, getattr(other, name))
        apart: IMailStore = store
        return apart


class MaildirReadingTests(ReadingContract, TestCase):
    backend = "maildir"


class SqliteReadingTests(ReadingContract, TestCase):
    backend = "sqlite"


class Case(TestCase):
    """A keeper and two workers, one account, and ways to use them."""

    backend = "maildir"

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        self.data = Path(self.mktemp()).absolute()  # noqa: ASYNC240 -- a test may block
        self.keeper = Keeper(self, self.backend, self.data)
        self.writer, self.heard = self.keeper.connect()
        self.store: Any = self.keeper.make(writer=self.writer)
        self.is_open = True
        self.addCleanup(self.close)
        self.other = self.keeper.connect()[0]
        await self.other.open_account(ANN)
        self.inbox = (await self.info()).id

    async def close(self) -> None:
        if self.is_open:
            self.is_open = False
            await self.store.close()
            await self.keeper.store.close()

    async def info(self, path: tuple[str, ...] = INBOX) -> Any:
        return next(info for info in await self.other.mailboxes(ANN) if info.path == path)

    async def add(self, *texts: bytes, flags: frozenset[str] = frozenset(), mailbox: str = "") -> list[int]:
        new = [NewMessage(MemoryContent(b"Subject: " + text + b"\r\n\r\n" + text + b"\r\n"), flags) for text in texts]
        return [appended.uid for appended in await self.other.append(ANN, mailbox or self.inbox, new)]

    async def uids(self, mailbox: str = "", since: int = 0) -> list[int]:
        return list((await self.store.snapshot(ANN, mailbox or self.inbox, since)).uids)

    async def flag(self, uids: list[int], *flags: str) -> None:
        await self.other.alter(ANN, self.inbox, uids, FlagChange.ADD, frozenset(flags))

    async def octets(self, uid: int, mailbox: str = "") -> bytes | None:
        content = await self.store.content(ANN, mailbox or self.inbox, uid)
        if content is None:
            return None
        try:
            return await read_all(content)
        finally:
            await content.close()

    async def subjects(self, uids: list[int], mailbox: str = "") -> list[bytes]:
        rows = self.store.rows(ANN, mailbox or self.inbox, uids, Want.ENVELOPE)
        return [row.envelope for batch in [each async for each in rows] for row in batch]

    async def all_octets(self, uids: list[int]) -> list[bytes]:
        found = []
        async with aclosing(self.store.contents(ANN, self.inbox, uids)) as batches:
            async for batch in batches:
                for _, content in batch:
                    found.append(await read_all(content))
                    await content.close()
        return found


class EveryBackend:
    """What holds whoever keeps the files."""

    async def test_reading_asks_nobody(self: Any) -> None:
        uids = await self.add(*[b"%d" % number for number in range(300)], flags=frozenset({SEEN}))
        self.assertEqual(await self.uids(), uids)
        self.heard.counts.clear()
        self.assertEqual(len(await self.subjects(uids)), 300)
        self.assertEqual(len(await self.all_octets(uids)), 300)
        self.assertEqual(await self.octets(uids[7]), b"Subject: 7\r\n\r\n7\r\n")
        asked = +self.heard.counts
        self.assertLessEqual(set(asked), {"mailbox"}, "what needs no keeper was asked of it")
        self.assertLessEqual(asked["mailbox"], 5)

    async def test_an_account_made_again_has_nothing_of_the_old_one(self: Any) -> None:
        uids = await self.add(b"old", b"older")
        self.assertEqual(await self.uids(), uids)
        self.assertIn(b"old", (await self.subjects(uids))[0])
        await self.other.remove_account(ANN)
        for asked in (self.uids, lambda: self.octets(uids[0]), lambda: self.subjects(uids)):
            try:
                await asked()
            except (NoSuchAccount, NoSuchMailbox):
                continue
            self.fail("a mailbox of an account that was removed")
        await self.other.open_account(ANN)
        self.inbox = (await self.info()).id
        [new] = await self.add(b"new")
        self.assertEqual(await self.uids(), [new])
        self.assertEqual(await self.octets(new), b"Subject: new\r\n\r\nnew\r\n")
        self.assertIn(b"new", (await self.subjects([new]))[0])

    async def test_summaries_are_those_of_the_message_with_that_uid(self: Any) -> None:
        """Rows of summaries are given again when an account was out of the keeper's memory; UIDs are not."""
        first, second = await self.add(b"first", b"second")
        self.assertIn(b"second", (await self.subjects([first, second]))[1])
        await self.flag([second], DELETED)
        await self.other.expunge(ANN, self.inbox, [second])
        self.keeper.store._accounts.clear()
        [third] = await self.add(b"third")
        self.assertIn(b"third", (await self.subjects([first, third]))[1])
        self.assertEqual(await self.octets(third), b"Subject: third\r\n\r\nthird\r\n")

    async def test_mailboxes_come_go_and_change_names(self: Any) -> None:
        await self.other.edit_mailbox(ANN, CreateMailbox(("Work",)))
        work = (await self.info(("Work",))).id
        [uid] = await self.add(b"work", mailbox=work)
        self.assertEqual(await self.octets(uid, work), b"Subject: work\r\n\r\nwork\r\n")
        await self.other.edit_mailbox(ANN, RenameMailbox(("Work",), ("Play",)))
        self.assertEqual((await self.store.mailbox(ANN, work)).path, ("Play",))
        self.assertEqual(await self.octets(uid, work), b"Subject: work\r\n\r\nwork\r\n")
        await self.other.edit_mailbox(ANN, DeleteMailbox(("Play",)))
        await self.refuses(self.uids(work), NoSuchMailbox)
        await self.refuses(self.octets(uid, work), NoSuchMailbox)

    async def refuses(self: Any, asked: Any, expected: type[Exception]) -> None:
        try:
            await asked
        except expected:
            return
        self.fail(f"{expected.__name__} not raised")

    async def test_another_uidvalidity(self: Any) -> None:
        uids = await self.add(b"one", b"two")
        before = await self.store.mailbox(ANN, self.inbox)
        self.assertEqual(await self.uids(), uids)
        await self.keeper.store.renumber(ANN, self.inbox, None, 1)
        snapshot = await self.store.snapshot(ANN, self.inbox, 0)
        now = await self.other.mailbox(ANN, self.inbox)
        self.assertGreater(now.uid_validity, before.uid_validity)
        self.assertEqual(snapshot.info, now)
        self.assertEqual(list(snapshot.uids), list((await self.other.snapshot(ANN, self.inbox, 0)).uids))
        self.assertEqual(await self.octets(snapshot.uids[0]), b"Subject: one\r\n\r\none\r\n")

    async def test_a_snapshot_since_any_change_is_that_of_the_keeper(self: Any) -> None:
        uids = await self.add(b"a", b"b", b"c")
        await self.uids()
        marks = [(await self.other.mailbox(ANN, self.inbox)).modseq]
        await self.flag(uids[:2], FLAGGED)
        marks.append((await self.other.mailbox(ANN, self.inbox)).modseq)
        await self.uids()
        await self.flag([uids[1]], DELETED)
        await self.other.expunge(ANN, self.inbox, None)
        marks.append((await self.other.mailbox(ANN, self.inbox)).modseq)
        await self.add(b"d")
        for since in marks:
            ours, theirs = [await each.snapshot(ANN, self.inbox, since) for each in (self.store, self.other)]
            self.assertEqual(ours.info, theirs.info)
            for column in ("uids", "modseqs", "flags", "vanished"):
                self.assertEqual(list(getattr(ours, column)), list(getattr(theirs, column)), (since, column))

    async def test_mailboxes_in_memory_are_bounded(self: Any) -> None:
        ids = []
        for number in range(6):
            await self.other.edit_mailbox(ANN, CreateMailbox((f"Box {number}",)))
            ids.append((await self.info((f"Box {number}",))).id)
            await self.add(b"%d" % number, mailbox=ids[-1])
        for name, bound in (("MAILBOXES", 3), ("MESSAGES", 2)):
            with mock.patch.object(reading, name, bound):
                for _ in range(2):
                    for number, id_ in enumerate(ids):
                        self.assertEqual(await self.octets(1, id_), b"Subject: %d\r\n\r\n%d\r\n" % (number, number))
                self.assertLessEqual(len(self.store._replicas), 3)

    async def test_no_descriptor_stays_open(self: Any) -> None:
        def open_files() -> int:
            return sum(str(self.data) in os.path.realpath(each) for each in Path("/proc/self/fd").iterdir())

        [large] = await self.add(b"x" * 200_000)
        small = await self.add(*[b"%d" % number for number in range(30)])
        await self.all_octets([large, *small])
        before = open_files()
        for _ in range(5):
            await self.all_octets([large, *small])
            contents = self.store.contents(ANN, self.inbox, [*small, large])
            async for batch in contents:  # and leaves with the next batch ahead
                for _, content in batch:
                    await content.close()
                break
            await contents.aclose()
            await self.octets(large)
        await pause(0.1)
        self.assertEqual(open_files(), before)
        await self.close()
        self.assertEqual(open_files(), 0)


class MaildirTests(EveryBackend, Case):
    @property
    def maildir(self) -> Path:
        return self.data / "mail/example.org/ann"

    async def test_an_index_that_is_another_file(self) -> None:
        uids = await self.add(b"one", b"two")
        self.assertEqual(await self.uids(), uids)
        await self.subjects(uids)
        await self.keeper.store.rebuild(ANN, lambda count: None)
        self.inbox = (await self.info()).id
        self.assertEqual(await self.uids(), uids)
        self.assertIn(b"two", (await self.subjects(uids))[1])
        [three] = await self.add(b"three")
        self.assertEqual(await self.uids(), [*uids, three])
        self.assertIn(b"three", (await self.subjects([three]))[0])

    async def test_what_other_programs_do_is_seen_within_a_second(self) -> None:
        [uid] = await self.add(b"one")
        self.assertEqual(await self.uids(), [uid])
        (self.maildir / "new" / "1700000000.M1P1.peer").write_bytes(b"Subject: dropped\n\ndropped\n")
        await pause(1.1)
        modseq = (await self.other.mailbox(ANN, self.inbox)).modseq
        [_, dropped] = await self.uids()
        self.assertGreaterEqual(modseq, 1)
        self.assertEqual(await self.octets(dropped), b"Subject: dropped\r\n\r\ndropped\r\n")
        [file] = (self.maildir / "new").glob("1700000000*")
        file.unlink()
        await pause(1.1)
        self.assertEqual(await self.octets(dropped), None)
        self.assertEqual(await self.uids(), [uid])

    async def test_files_that_change_names(self) -> None:
        """Flags say what a name is; only names that other programs gave have to be looked for."""
        [uid] = await self.add(b"one")
        looks: list[str] = []
        listing = MaildirFolder.listing

        def counted(folder: MaildirFolder) -> dict[str, str]:
            looks.append(folder.directory)
            return listing(folder)

        with mock.patch.object(MaildirFolder, "listing", counted):
            for flag in (SEEN, FLAGGED, "$Forwarded", "another"):
                await self.flag([uid], flag)
                looks.clear()  # the keeper's
                self.assertEqual(await self.octets(uid), b"Subject: one\r\n\r\none\r\n")
                self.assertEqual(looks, [])
            [file] = (self.maildir / "cur").iterdir()
            file.rename(f"{file},other-programs-own")
            self.assertEqual(await self.octets(uid), b"Subject: one\r\n\r\none\r\n")

    async def test_connections_are_bounded(self) -> None:
        names = [f"user{number}@example.org" for number in range(8)]
        ids = {}
        for name in names:
            await self.other.open_account(name)
            ids[name] = next(info.id for info in await self.other.mailboxes(name) if info.path == INBOX)
            await self.other.append(name, ids[name], [NewMessage(MemoryContent(b"Subject: x\r\n\r\n"))])
        from twisted.internet import reactor

        threads = Threads(reactor)
        self.addCleanup(threads.close)
        with mock.patch.object(read_only, "CONNECTIONS", 3):
            databases = ReadDatabases(self.data / "mail", threads)
        self.addCleanup(databases.close)

        def count(connection: sqlite3.Connection) -> int:
            found: int = connection.execute("SELECT count(*) FROM message").fetchone()[0]
            return found

        for _ in range(2):
            for name in names:
                self.assertEqual(await databases.read(name, count), 1)
        self.assertLessEqual(len(databases._pool._open), 3)
        await self.refuses(databases.read("nobody@example.org", count), NoSuchAccount)

    async def test_nothing_can_be_written(self) -> None:
        await self.add(b"one")
        from twisted.internet import reactor

        threads = Threads(reactor)
        self.addCleanup(threads.close)
        databases = ReadDatabases(self.data / "mail", threads)
        self.addCleanup(databases.close)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM message")

        await self.refuses(databases.read(ANN, write), sqlite3.OperationalError)
        self.assertEqual(await self.uids(), [1])


class SqliteTests(EveryBackend, Case):
    backend = "sqlite"


class FilesTests(EveryBackend, Case):
    backend = "sqlite:files=3"


class PlainSourceTests(TestCase, Closing):
    """A plug-in's source: its index is read by workers, its messages are the keeper's."""

    async def test_it_is_read(self) -> None:
        data = Path(self.mktemp()).absolute()  # noqa: ASYNC240 -- a test may block
        generations = Generations.new()
        keeper: Any = Keeper.__new__(Keeper)
        keeper.case, keeper.generations = self, generations
        keeper.store = indexed(eml_at(data), site_at(data), generations=generations)
        self.addCleanup(keeper.store.close)
        writer, heard = keeper.connect()
        store: Any = indexed_elsewhere(site_at(data), writer, generations)
        self.addCleanup(store.close)
        await store.open_account(ANN)
        inbox = next(info.id for info in await store.mailboxes(ANN) if info.path == INBOX)
        octets = b"Subject: x\r\n\r\ntext\r\n"
        [added] = await writer.append(ANN, inbox, [NewMessage(MemoryContent(octets))])
        self.assertEqual(list((await store.snapshot(ANN, inbox, 0)).uids), [added.uid])
        heard.counts.clear()
        [[row]] = [batch async for batch in store.rows(ANN, inbox, [added.uid], Want.ENVELOPE)]
        self.assertIn(b'"x"', row.envelope)
        self.assertEqual(+heard.counts, Counter())
        self.assertEqual(await read_all(await store.content(ANN, inbox, added.uid)), octets)
        [[(_, content)]] = [batch async for batch in store.contents(ANN, inbox, [added.uid])]
        self.assertEqual(await read_all(content), octets)


class GenerationsTests(SynchronousTestCase):
    def test_what_one_advances_others_see(self) -> None:
        ours = Generations.new()
        theirs = Generations(os.dup(ours.descriptor))
        before = theirs.of(ANN), theirs.of("bob@example.org")
        ours.advance(ANN)
        self.assertEqual((theirs.of(ANN), theirs.of("bob@example.org")), (before[0] + 1, before[1]))
        os.close(theirs.descriptor)

    def test_any_name_has_one(self) -> None:
        generations = Generations.new()
        for name in ("", "\udcff@example.org", "x" * 1000, "안녕@example.org"):
            before = generations.of(name)
            generations.advance(name)
            self.assertNotEqual(generations.of(name), before)
