"""What the SQLite store keeps of expunged mail and of accounts that are removed, and for how long."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from mailfw.mail.mailbox import DELETED, INBOX, CreateMailbox, FlagChange, NewMessage
from mailfw.mail.retained import Retained
from mailfw.stores.index.schema import ADD_EXPUNGED
from mailfw.stores.indexed import IndexedStore
from mailfw.stores.sqlite import shard
from mailfw.stores.sqlite.shards import Shards
from mailfw.stores.sqlite.source import SqliteSource
from mailfw.stores.threads import Threads
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store.fixture import read_all
from tests.stores.test_sqlite_crashes import files_of
from tests.stores.test_sqlite_files import ANN, BOB, LARGE, CountingDisk, new_directory

LATER = 10 * 86400.0


class SqliteRetentionTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        self.patch(shard, "CLEARED", 10)
        self.data: Path = new_directory(self)
        self.disk = CountingDisk()
        self.store, self.shards = self.open_store()
        self.addCleanup(self.close)
        await self.store.open_account(ANN)

    def open_store(self, retains: bool = True) -> tuple[Any, Shards]:  # what it offers besides is lent to it
        from twisted.internet import reactor

        threads = Threads(reactor)
        shards = Shards(self.data, 1, threads, self.disk, retains)
        return IndexedStore(SqliteSource(shards, threads, self.disk), shards, reactor, threads=threads), shards

    async def close(self) -> None:
        await self.store.close()

    async def mailbox(self, account: str = ANN, *path: str) -> str:
        return str(next(info.id for info in await self.store.mailboxes(account) if info.path == (path or INBOX)))

    async def add(self, *octets: bytes, account: str = ANN) -> list[int]:
        messages = [NewMessage(MemoryContent(each), frozenset({DELETED})) for each in octets]
        return [each.uid for each in await self.store.append(account, await self.mailbox(account), messages)]

    async def retained(self, account: str = ANN) -> list[Retained]:
        return [each async for batch in self.store.retained(account) for each in batch]

    async def forget(self, before: float) -> int:
        calls = 1
        while await self.store.forget_retained(before):
            calls += 1
        return calls

    def counts(self) -> dict[str, int]:
        """Count rows, behind the store's back."""
        tables = ("account", "message", "expunged", "email", "body", "retained", "removed", "litter")
        with sqlite3.connect(f"file:{next(self.data.glob('*.sqlite'))}?mode=ro", uri=True) as connection:
            found = {
                table: int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # ours
                for table in tables
            }
        connection.close()
        return {table: count for table, count in found.items() if count}

    async def test_large_body_stays_as_long_as_it_is_retained(self) -> None:
        [uid] = await self.add(LARGE)
        [file] = files_of(self.data)
        await self.store.expunge(ANN, await self.mailbox(), None)
        self.assertEqual(files_of(self.data), [file])
        self.assertEqual(await self.store.undelete(ANN, [each.id for each in await self.retained()]), 1)
        content = await self.store.content(ANN, await self.mailbox(), uid + 1)
        assert content is not None
        self.assertTrue(await read_all(content) == LARGE)
        await content.close()
        await self.store.alter(ANN, await self.mailbox(), [uid + 1], FlagChange.ADD, frozenset({DELETED}))
        await self.store.expunge(ANN, await self.mailbox(), None)
        await self.forget(time.time() + LATER)
        self.assertEqual(files_of(self.data), [])
        self.assertNotIn("email", self.counts())

    async def test_copies_come_back_one_by_one(self) -> None:
        """Both copies of a message share a summary and a body, which go with the last that is kept in any way."""
        await self.store.edit_mailbox(ANN, CreateMailbox(("Work",)))
        inbox, work = await self.mailbox(), await self.mailbox(ANN, "Work")
        [uid] = await self.add(b"Subject: both\r\n\r\n")
        await self.store.copy(ANN, inbox, [uid], work)
        await self.store.expunge(ANN, inbox, None)
        await self.store.expunge(ANN, work, None)
        found = await self.retained()
        self.assertEqual(sorted(each.path for each in found), [INBOX, ("Work",)])
        self.assertEqual(await self.store.undelete(ANN, [each.id for each in found if each.path == INBOX]), 1)
        await self.forget(time.time() + LATER)
        self.assertEqual(await self.retained(), [])
        content = await self.store.content(ANN, inbox, uid + 1)
        assert content is not None
        self.assertEqual(await read_all(content), b"Subject: both\r\n\r\n")
        await content.close()

    async def test_nothing_is_kept_where_that_is_not_wanted(self) -> None:
        """What was kept before can come back all the same."""
        await self.add(b"before")
        await self.store.expunge(ANN, await self.mailbox(), None)
        await self.store.close()
        self.store, self.shards = self.open_store(retains=False)
        await self.add(b"after it")
        await self.store.expunge(ANN, await self.mailbox(), None)
        [kept] = await self.retained()
        self.assertEqual(kept.size, 6)
        self.assertEqual(await self.store.undelete(ANN, [kept.id]), 1)

    async def test_kept_for_each_account(self) -> None:
        """Nobody gets another's mail by its number."""
        await self.store.open_account(BOB)
        await self.add(b"Bob's", account=BOB)
        await self.store.expunge(BOB, await self.mailbox(BOB), None)
        [kept] = await self.retained(BOB)
        self.assertEqual(await self.retained(), [])
        self.assertEqual(await self.store.undelete(ANN, [kept.id]), 0)
        self.assertIsNone(await self.store.retained_content(ANN, kept.id))

    async def test_forgetting_is_bounded(self) -> None:
        await self.add(*[b"x"] * 35)
        await self.store.expunge(ANN, await self.mailbox(), None)
        self.assertTrue(await self.store.forget_retained(time.time() + LATER))
        self.assertEqual(len(await self.retained()), 25)
        self.assertEqual(await self.forget(time.time() + LATER), 3)
        self.assertEqual(await self.retained(), [])

    async def test_expunging_stays_whole_when_it_fails(self) -> None:
        """A message is in its mailbox or retained, never both: it is one transaction."""
        await self.add(b"x")
        failing = {ADD_EXPUNGED: "no SQL at all"}
        write = self.shards._shards[0].write

        def fail(orders):  # type: ignore[no-untyped-def]  # as the original
            return write([[(failing.get(statement, statement), rows) for statement, rows in each] for each in orders])

        self.shards._shards[0].write = fail  # type: ignore[method-assign]
        with self.assertRaises(sqlite3.OperationalError):
            await self.store.expunge(ANN, await self.mailbox(), None)
        self.shards._shards[0].write = write  # type: ignore[method-assign]
        self.assertEqual(await self.retained(), [])
        self.assertEqual((await self.store.mailbox(ANN, await self.mailbox())).messages, 1)

    # ------------------------------------------------------------ accounts that are removed

    async def test_account_is_removed_in_steps(self) -> None:
        """However much an account has, no commit is large; nothing is left, of retained mail neither."""
        await self.store.open_account(BOB)
        await self.add(*[b"x"] * 30, account=BOB)
        await self.store.expunge(BOB, await self.mailbox(BOB), None)
        await self.add(*[b"y"] * 45, LARGE, account=BOB)
        await self.add(b"Ann's")
        before = self.disk.commits
        await self.store.remove_account(BOB)
        self.assertGreater(self.disk.commits - before, 10)
        await self.add(b"Ann's again")  # which notes that a file is gone
        self.assertEqual(self.counts(), {"account": 1, "message": 2, "email": 2, "body": 2})
        self.assertEqual(files_of(self.data), [])

    async def test_removal_that_was_not_finished(self) -> None:
        """Nobody finds the account any more; the sweep removes what is left, and the same name begins anew."""
        await self.store.open_account(BOB)
        await self.add(*[b"x"] * 45, account=BOB)
        self.patch(self.shards._shards[0], "clear", lambda: False)
        await self.store.remove_account(BOB)
        await self.store.close()
        self.store, self.shards = self.open_store(retains=False)
        self.assertEqual(self.counts()["message"], 45)
        await self.store.open_account(BOB)
        await self.add(b"new", account=BOB)
        self.assertGreater(await self.forget(0.0), 3)
        self.assertEqual(self.counts(), {"account": 2, "message": 1, "email": 1, "body": 1})
