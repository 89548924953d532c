"""What is the SQLite store's own: one commit for many, bodies in files, rows that are not given twice, the lock."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.disk import Disk, Name
from mailfw.mail.failure import NoSpace, NoSuchAccount
from mailfw.mail.mailbox import DELETED, INBOX, SEEN, CreateMailbox, FlagChange, NewMessage
from mailfw.stores import indexed
from mailfw.stores.indexed import IndexedStore
from mailfw.stores.sqlite import shard, sqlite
from mailfw.stores.sqlite.bodies import LargeContent
from mailfw.stores.sqlite.shard import Shard, check_version
from mailfw.stores.sqlite.shards import Shards
from mailfw.stores.sqlite.source import SMALL, SqliteSource
from mailfw.stores.threads import Threads
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store.fixture import read_all
from tests.stores.test_maildir import site_at
from tests.stores.test_sqlite_crashes import files_of

ANN, BOB = "ann@example.org", "bob@example.org"
LARGE = b"Subject: large\r\n\r\n" + b"x" * SMALL


class CountingDisk(Disk):
    """Counts commits; databases it opens have so many pages, and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0
        self.pages = 2**30
        self.connections: list[sqlite3.Connection] = []

    def connect(self, path: Name) -> sqlite3.Connection:
        connection = super().connect(path)
        self.connections.append(connection)
        return connection

    def commit(self, connection: sqlite3.Connection) -> None:
        self.commits += 1
        super().commit(connection)


def new_directory(case: TestCase) -> Path:
    return Path(case.mktemp()).absolute()


class SqliteFilesTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        self.data = new_directory(self)
        self.disk = CountingDisk()
        self.store = self.open_store()
        self.closed: object = None
        self.addCleanup(self.close)
        await self.store.open_account(ANN)
        self.inbox = await self.mailbox(ANN)

    def open_store(self) -> IndexedStore:
        from twisted.internet import reactor

        threads = Threads(reactor)
        shards = Shards(self.data, 1, threads, self.disk)
        return IndexedStore(SqliteSource(shards, threads, self.disk), shards, reactor, threads=threads)

    async def close(self) -> None:
        if self.store is not self.closed:
            self.closed = self.store
            await self.store.close()

    async def mailbox(self, account: str, *path: str) -> str:
        return next(info.id for info in await self.store.mailboxes(account) if info.path == (path or INBOX))

    async def add(self, *octets: bytes, account: str = ANN) -> list[int]:
        messages = [NewMessage(MemoryContent(each), frozenset({DELETED})) for each in octets]
        return [each.uid for each in await self.store.append(account, await self.mailbox(account), messages)]

    async def octets(self, uid: int) -> bytes:
        content = await self.store.content(ANN, self.inbox, uid)
        assert content is not None
        try:
            return await read_all(content)
        finally:
            await content.close()

    async def expect(self, octets: bytes, uid: int) -> None:
        self.assertTrue(await self.octets(uid) == octets, f"message {uid} has other octets")

    # ------------------------------------------------------------ one commit for many

    async def test_deliveries_of_many_accounts_are_one_commit(self) -> None:
        names = [f"user{number}@example.org" for number in range(40)]
        inboxes = {}
        for name in names:
            await self.store.open_account(name)
            inboxes[name] = await self.mailbox(name)
        before = self.disk.commits

        def deliver(name: str) -> Deferred[Any]:
            new = NewMessage(MemoryContent(name.encode()), token="t")
            return Deferred.fromCoroutine(self.store.append(name, inboxes[name], [new]))

        await gatherResults([deliver(name) for name in names])
        self.assertLessEqual(self.disk.commits - before, 3)
        for name in names:
            self.assertEqual((await self.store.mailbox(name, inboxes[name])).messages, 1)

    async def test_flags_of_many_accounts_share_commits(self) -> None:
        names = [f"user{number}@example.org" for number in range(20)]
        inboxes = {}
        for name in names:
            await self.store.open_account(name)
            await self.add(b"x", account=name)
            inboxes[name] = await self.mailbox(name)
        before = self.disk.commits

        def flag(name: str) -> Deferred[Any]:
            return Deferred.fromCoroutine(self.store.alter(name, inboxes[name], [1], FlagChange.ADD, frozenset({SEEN})))

        await gatherResults([flag(name) for name in names])
        self.assertLessEqual(self.disk.commits - before, 5)

    # ------------------------------------------------------------ bodies in files

    async def test_large_bodies_are_files_as_long_as_a_message_has_them(self) -> None:
        small, large = await self.add(b"Subject: small\r\n\r\n", LARGE)
        [file] = files_of(self.data)
        self.assertNotIn("tmp/", file)
        await self.expect(LARGE, large)
        await self.expect(b"Subject: small\r\n\r\n", small)
        await self.store.edit_mailbox(ANN, CreateMailbox(("Work",)))
        work = await self.mailbox(ANN, "Work")
        await self.store.copy(ANN, self.inbox, [large], work)
        await self.store.expunge(ANN, self.inbox, None)
        self.assertEqual(files_of(self.data), [file])
        await self.store.expunge(ANN, work, None)
        self.assertEqual(files_of(self.data), [])

    async def test_open_content_outlives_its_file(self) -> None:
        [uid] = await self.add(LARGE)
        content = await self.store.content(ANN, self.inbox, uid)
        assert isinstance(content, LargeContent)
        await self.store.expunge(ANN, self.inbox, None)
        self.assertEqual(files_of(self.data), [])
        self.assertTrue(await read_all(content) == LARGE)
        self.assertEqual(await content.read(7, 3), LARGE[7:10])
        await content.close()

    async def test_what_a_dead_process_left_is_removed(self) -> None:
        """A file that no commit mentions goes; one of which only the second name was left stays."""
        [uid] = await self.add(LARGE)
        [file] = files_of(self.data)
        await self.close()
        directory = next(self.data.glob("*.bodies"))
        (directory / "tmp").mkdir(exist_ok=True)
        (directory / "tmp" / Path(file).name).hardlink_to(directory / file)
        lost = "M" + "0" * 32
        (directory / "00").mkdir(exist_ok=True)
        for name in (f"tmp/{lost}", f"00/{lost}"):
            (directory / name).write_bytes(b"x")
        self.store = self.open_store()
        await self.store.open_account(ANN)
        self.assertEqual(files_of(self.data), [file])
        await self.expect(LARGE, uid)

    async def test_failed_append_leaves_no_file(self) -> None:
        class Short(MemoryContent):
            size = 10 * SMALL

        messages = [NewMessage(MemoryContent(LARGE)), NewMessage(Short(LARGE))]
        with self.assertRaises(ValueError):
            await self.store.append(ANN, self.inbox, messages)
        self.assertEqual(files_of(self.data), [])

    async def test_removed_account_leaves_nothing(self) -> None:
        await self.store.open_account(BOB)
        await self.add(LARGE, b"small", account=BOB)
        [uid] = await self.add(b"Ann's")
        await self.store.remove_account(BOB)
        self.assertEqual(files_of(self.data), [])
        await self.expect(b"Ann's", uid)
        await self.close()
        with sqlite3.connect(next(self.data.glob("*.sqlite"))) as connection:
            counts = {
                table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("account", "message", "email", "body")
            }
        connection.close()
        self.assertEqual(counts, {"account": 1, "message": 1, "email": 1, "body": 1})

    # ------------------------------------------------------------ rows

    async def test_rows_are_not_given_twice(self) -> None:
        """What was expunged, with the account read anew since, does not lend its number to another message."""
        self.patch(indexed, "ACCOUNTS", 1)

        async def last_row() -> int:
            def query(connection: sqlite3.Connection) -> int:
                return int(connection.execute("SELECT max(row) FROM body").fetchone()[0] or 0)

            return await self.store._databases.read(ANN, query)

        await self.add(b"one")
        before = await last_row()
        await self.store.expunge(ANN, self.inbox, None)
        for name in (BOB, "carol@example.org"):  # Ann is forgotten
            await self.store.open_account(name)
        await self.add(b"two")
        self.assertGreater(await last_row(), before)

    async def test_account_made_anew_has_greater_uid_validity(self) -> None:
        before = await self.store.mailbox(ANN, self.inbox)
        await self.store.remove_account(ANN)
        await self.store.open_account(ANN)
        after = await self.store.mailbox(ANN, await self.mailbox(ANN))
        self.assertGreater(after.uid_validity, before.uid_validity)

    async def test_names_that_are_none(self) -> None:
        for name in ("", "ann", "@example.org", "ann@", "a\0b@example.org", "\udc80@example.org", "x" * 600 + "@y"):
            with self.assertRaises(NoSuchAccount):
                await self.store.open_account(name)

    # ------------------------------------------------------------ limits and faults

    async def test_database_that_cannot_grow(self) -> None:
        """SQLite's own words for a full disk are `NoSpace`; what is there can still be read."""
        [uid] = await self.add(b"one")
        writer = self.disk.connections[0]
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count = {pages + 4}").fetchone()
        with self.assertRaises(NoSpace):
            await self.add(b"x" * SMALL)
        await self.expect(b"one", uid)
        writer.execute("PRAGMA max_page_count = 1000000").fetchone()
        [uid] = await self.add(b"y" * SMALL)
        await self.expect(b"y" * SMALL, uid)

    def test_another_process_is_refused(self) -> None:
        program = (
            "import sys; from pathlib import Path; from mailfw.disk import Disk\n"
            "from mailfw.stores.sqlite.shard import Shard\n"
            "Shard(Path(sys.argv[1]), Disk()).read(print)"
        )
        path = str(next(self.data.glob("*.sqlite")))
        tried = subprocess.run([sys.executable, "-c", program, path], capture_output=True, check=False)
        self.assertIn(b"another process has this store open", tried.stderr)

    async def test_number_of_files_is_not_changed(self) -> None:
        await self.close()
        store = sqlite(site_at(self.data.parent), path=self.data.name, files=2)
        self.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        with self.assertRaises(ValueError):
            await store.open_account(ANN)
        self.assertRaises(ValueError, sqlite, site_at(self.data), files=0)


class ShardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.shard = Shard(Path(self.mktemp()).absolute() / "mail.sqlite", Disk())
        self.addCleanup(self.shard.close)

    def subscribed(self) -> list[str]:
        return self.shard.read(lambda it: [path for (path,) in it.execute("SELECT path FROM subscription")])

    def test_what_cannot_be_done_fails_alone(self) -> None:
        statement = "INSERT INTO subscription (account, path) VALUES (?, ?)"
        orders = [[(statement, [(1, "a")])], [(statement, [(1, "b"), (1, "b")])], [(statement, [(1, "c")])]]
        first, second, third = self.shard.write(orders)
        self.assertIsNone(first)
        self.assertIsInstance(second, sqlite3.IntegrityError)
        self.assertIsNone(third)
        self.assertEqual(self.subscribed(), ["a", "c"])

    def test_readers_cannot_write(self) -> None:
        self.assertRaises(
            sqlite3.OperationalError, self.shard.read, lambda it: it.execute("DELETE FROM subscription").fetchall()
        )

    def test_as_durable_as_promised(self) -> None:
        """A commit is synced, and nothing is mapped."""
        self.shard.write([])
        writer = self.shard._writer
        assert writer is not None
        asked = ("journal_mode", "synchronous", "mmap_size")
        self.assertEqual([writer.execute(f"PRAGMA {each}").fetchone()[0] for each in asked], ["wal", 2, 0])

    def test_warns_of_a_version_with_a_fault(self) -> None:
        """Once, when the file is opened."""
        for sound, count in (((99, 0, 0), 1), ((3, 0, 0), 0)):
            self.patch(shard, "SOUND", sound)
            with capturedLogs() as logged:
                self.shard.write([])
                self.shard.write([])
            warnings = [each for each in logged if each["log_level"] is LogLevel.warn]
            self.assertEqual(len(warnings), count)
            self.shard.close()

    def test_file_of_another_version(self) -> None:
        self.shard.write([])
        assert self.shard._writer is not None
        self.shard._writer.execute("PRAGMA user_version = 99").fetchall()
        check_version(self.shard._path)
        self.shard.close()
        self.assertRaises(ValueError, self.shard.read, id)
        self.assertRaises(ValueError, check_version, self.shard._path)
        folder = self.shard._path.rename(self.shard._path.with_name("mail-01-of-01.sqlite")).parent
        refused = self.assertRaises(ValueError, sqlite, site_at(folder.parent), path=folder.name)
        self.assertIn("another version of mailfw (99, not", str(refused))
