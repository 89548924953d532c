"""Where a maildir keeps what was expunged, and what others see of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import TestCase

from mailfw.mail.mailbox import DELETED, INBOX, SEEN, CreateMailbox, DeleteMailbox, FlagChange, NewMessage
from mailfw.mail.retained import Retained
from mailfw.stores.indexed import IndexedStore
from mailfw.stores.maildir import maildir, source
from mailfw.stores.maildir.retention import NAME
from mailfw.testing.contents import PLAIN, MemoryContent
from tests.stores.test_maildir import site_at

ANN = "ann@example.org"
HOUR = 3600


class RetentionTests(TestCase):
    retention = 86400.0

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        self.data = Path(self.mktemp()).absolute()  # noqa: ASYNC240 -- a test may block
        self.root = self.data / "mail/example.org/ann"
        self.store = self.open_store(self.retention)
        self.addCleanup(lambda: self.store.close())
        await self.store.open_account(ANN)
        self.inbox = await self.id_at(INBOX)

    def open_store(self, retention: float) -> Any:  # what it offers besides is lent to it
        store = maildir(site_at(self.data), retention=retention)
        assert isinstance(store, IndexedStore)
        return store

    async def id_at(self, path: tuple[str, ...]) -> str:
        return str(next(info.id for info in await self.store.mailboxes(ANN) if info.path == path))

    async def expunge(self, *flags: str, count: int = 1) -> None:
        message = NewMessage(MemoryContent(PLAIN), frozenset({DELETED, *flags}))
        await self.store.append(ANN, self.inbox, [message] * count)
        await self.store.expunge(ANN, self.inbox, None)

    async def retained(self) -> list[Retained]:
        return [each async for batch in self.store.retained(ANN) for each in batch]

    def files(self) -> list[Path]:
        return [path for path in self.root.glob(f"{NAME}/*/*/*/*") if path.is_file()]

    async def test_the_place_is_no_folder(self) -> None:
        await self.expunge()
        self.assertEqual([path.parent.parent.name for path in self.files()], ["INBOX"])
        self.assertFalse(any(path.name.startswith(".") for path in (self.root / NAME).iterdir()))
        self.assertEqual(len(await self.store.mailboxes(ANN)), 6)
        await self.store.close()
        self.store = self.open_store(0)  # which looks after what dead processes left, and retains nothing
        await self.store.open_account(ANN)
        self.assertEqual(len(await self.store.mailboxes(ANN)), 6)
        self.assertEqual(len(await self.retained()), 1)

    async def test_keywords_outlive_their_file(self) -> None:
        await self.expunge("first")
        await self.expunge("first", "second")
        (self.root / "draft").write_text("0 other\n1 third\n")
        (self.root / "draft").rename(self.root / "dovecot-keywords")
        flags = [each.flags - {DELETED} for each in await self.retained()]
        self.assertEqual(sorted(map(sorted, flags)), [["first"], ["first", "second"]])

    async def test_the_date_and_the_email_id_stay(self) -> None:
        from mailfw.mail.mailbox import Want

        message = NewMessage(MemoryContent(PLAIN), frozenset({DELETED}), received=1_234_567_890)
        [appended] = await self.store.append(ANN, self.inbox, [message])
        await self.store.expunge(ANN, self.inbox, None)
        await self.store.undelete(ANN, [each.id for each in await self.retained()])
        [row] = [row async for rows in self.store.rows(ANN, self.inbox, [2], Want.NOTHING) for row in rows]
        self.assertEqual((row.received, row.email_id), (1_234_567_890, appended.email_id))

    async def test_mail_that_comes_between_is_numbered_first(self) -> None:
        """Another program has given a UID since the last look: what comes back gets another."""
        await self.expunge()
        (self.root / "new/1700000000.M1P2.host").write_bytes(b"Subject: x\r\n\r\n")
        with (self.root / "dovecot-uidlist").open("a") as file:
            file.write("2 :1700000000.M1P2.host\n")
        self.assertEqual(await self.store.undelete(ANN, [each.id for each in await self.retained()]), 1)
        self.assertEqual(list((await self.store.snapshot(ANN, self.inbox, 0)).uids), [2, 3])

    async def test_one_that_went_meanwhile(self) -> None:
        await self.expunge(SEEN)
        await self.expunge()
        ids = [each.id for each in await self.retained()]
        self.files()[0].unlink()
        self.assertEqual(await self.store.undelete(ANN, ids), 1)

    async def test_a_mailbox_with_a_strange_name(self) -> None:
        path = ("a.b", "받은 편지함")
        await self.store.edit_mailbox(ANN, CreateMailbox(path))
        box = await self.id_at(path)
        await self.store.append(ANN, box, [NewMessage(MemoryContent(PLAIN))])
        await self.store.edit_mailbox(ANN, DeleteMailbox(path))
        [kept] = await self.retained()
        self.assertEqual(kept.path, path)
        self.assertEqual(await self.store.undelete(ANN, [kept.id]), 1)
        self.assertEqual((await self.store.mailbox(ANN, await self.id_at(path))).messages, 1)

    async def test_the_sweep_is_bounded(self) -> None:
        await self.expunge(count=50)
        await self.store.open_account("bob@example.org")
        later = time.time() + 2 * HOUR
        self.assertFalse(await self.store.forget_retained(time.time()))
        self.assertEqual(len(self.files()), 50)
        with patch.object(source, "FORGOTTEN", 20):
            self.assertTrue(await self.store.forget_retained(later))
            self.assertTrue(25 < len(self.files()) < 50, len(self.files()))
            while await self.store.forget_retained(later):
                pass
        self.assertEqual(self.files(), [])
        self.assertFalse((self.root / NAME).exists())

    async def test_nothing_is_retained_by_default(self) -> None:
        await self.store.close()
        self.store = self.open_store(0)
        await self.store.open_account(ANN)
        await self.expunge()
        self.assertEqual((await self.retained(), self.files()), ([], []))

    async def test_a_delivery_that_is_taken_back_leaves_nothing(self) -> None:
        """Only what was in a mailbox is retained."""
        from mailfw.stores.index.database import Databases

        def broken(self: Databases, work: Sequence[Any]) -> list[Exception]:
            return [OSError("no disk") for _ in work]

        with patch.object(Databases, "write_all", broken), self.assertRaises(OSError):
            await self.store.append(ANN, self.inbox, [NewMessage(MemoryContent(PLAIN))])
        self.assertEqual((await self.store.mailbox(ANN, self.inbox)).messages, 0)
        self.assertEqual(await self.retained(), [])

    async def test_a_full_disk_expunges_nothing(self) -> None:
        from mailfw.disk import Disk
        from mailfw.mail.failure import NoSpace

        def full(self: Disk, path: Any) -> None:
            raise OSError(28, "No space left on device")

        await self.store.append(ANN, self.inbox, [NewMessage(MemoryContent(PLAIN))])
        await self.store.alter(ANN, self.inbox, [1], FlagChange.ADD, frozenset({DELETED}))
        with patch.object(Disk, "make_directory", full), self.assertRaises(NoSpace):
            await self.store.expunge(ANN, self.inbox, None)
        self.assertEqual((await self.store.mailbox(ANN, self.inbox)).messages, 1)
