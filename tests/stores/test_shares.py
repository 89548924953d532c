"""Access lists and marks beside a maildir: what outlives a new index, other programs, and a broken file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.mail.mailbox import INBOX, NO_FLAGS, SEEN, FlagChange, NewMessage
from mailfw.mail.rights import ANYONE, parse_rights
from mailfw.optional import ISharedMail
from mailfw.stores.index import database
from mailfw.stores.index.readers import Reader
from mailfw.stores.index.shares import NAME, ShareFile
from mailfw.stores.indexed import indexed
from mailfw.stores.maildir import maildir
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.store.fixture import pause
from tests.stores.test_indexed import eml_at
from tests.stores.test_maildir import site_at

ANN, BOB = "ann@example.org", "bob@example.org"


class SharedMail(TestCase):
    """What holds for maildirs and for any other source."""

    keeps_uids = True

    def new_directory(self) -> Path:
        return Path(self.mktemp()).absolute()

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        self.data = self.new_directory()
        await self.open()
        self.addCleanup(lambda: self.store.close())
        await self.shared.grant(ANN, self.inbox, BOB, parse_rights("lrs"))
        messages = [NewMessage(MemoryContent(PLAIN)) for _ in range(4)]
        self.uids = [kept.uid for kept in await self.store.append(ANN, self.inbox, messages)]
        await self.see(1, 2, 3)
        await self.shared.alter_for(ANN, self.inbox, BOB, [3], FlagChange.REMOVE, frozenset({SEEN}))

    async def open(self) -> None:
        self.store = self.make()
        self.shared = ISharedMail(self.store)
        await self.store.open_account(ANN)
        [self.inbox] = [info.id for info in await self.store.mailboxes(ANN) if info.path == INBOX]

    def make(self) -> Any:
        return maildir(site_at(self.data))

    async def see(self, *uids: int) -> None:
        await self.shared.alter_for(ANN, self.inbox, BOB, uids, FlagChange.ADD, frozenset({SEEN}))

    async def seen(self) -> list[bool]:
        snapshot = await self.shared.snapshot_for(ANN, self.inbox, BOB, 0)
        info = await self.shared.mailbox_for(ANN, self.inbox, BOB)
        self.assertEqual(info.unseen, sum(SEEN not in flags for flags in snapshot.flags))
        return [SEEN in flags for flags in snapshot.flags]

    async def test_an_index_made_anew(self) -> None:
        before = (await self.store.mailbox(ANN, self.inbox)).modseq
        await self.store.rebuild(ANN, lambda _: None)
        self.assertEqual(await self.shared.access(ANN, self.inbox), {BOB: frozenset("lrs")})
        expected = [True, True, False, False]
        self.assertEqual(await self.seen() if self.keeps_uids else sorted(await self.seen(), reverse=True), expected)
        self.assertIn(ANN, await self.shared.shared_with(BOB))
        self.assertGreater((await self.store.mailbox(ANN, self.inbox)).modseq, before)

    async def test_who_shares_with_whom_is_found_again(self) -> None:
        await self.store.close()
        for file in self.data.rglob(f"{NAME}*"):
            file.unlink()
        await self.open()
        self.assertEqual(await self.shared.shared_with(BOB), frozenset())
        await self.store.rebuild(ANN, lambda _: None)
        self.assertEqual(await self.shared.shared_with(BOB), {ANN})

    async def test_an_account_that_is_not_in_memory(self) -> None:
        await self.store.close()
        await self.open()
        [info] = await self.shared.mailboxes_for(ANN, BOB)
        self.assertEqual((info.messages, info.unseen), (4, 2))
        self.assertEqual(await self.seen(), [True, True, False, False])
        await self.see(3)
        [info] = await self.shared.mailboxes_for(ANN, BOB)
        self.assertEqual(info.unseen, 1)

    async def test_whatever_only_the_index_has_is_synced(self) -> None:
        written: list[bool] = []
        write = database.Databases.write

        async def note(databases: Any, account: str, changes: database.Changes) -> None:
            written.append(changes.synced)
            await write(databases, account, changes)

        with patch.object(database.Databases, "write", note):
            await self.see(4)
            await self.shared.grant(ANN, self.inbox, ANYONE, parse_rights("l"))
            await self.shared.grant(ANN, self.inbox, ANYONE, frozenset())
        self.assertEqual(written, [True] * 3)


class Maildirs(SharedMail):
    """What only files can show."""

    async def test_another_program_removes_mail(self) -> None:
        names = sorted((self.data / "mail/example.org/ann").glob("[cn]*/*"))
        names[0].unlink()
        await pause(1.1)
        self.assertEqual(len(await self.seen()), 3)
        gone = {*self.uids} - {*(await self.store.snapshot(ANN, self.inbox, 0)).uids}
        self.assertEqual(await self.shared.marks(ANN, self.inbox, BOB, sorted(gone)), [])

    async def test_another_program_begins_anew(self) -> None:
        uidlist = self.data / "mail/example.org/ann/dovecot-uidlist"
        head, _, rest = uidlist.read_text().partition("\n")
        validity = int(next(word for word in head.split() if word.startswith("V"))[1:])
        uidlist.write_text(head.replace(f"V{validity}", f"V{validity + 7}") + "\n" + rest)
        os.utime(uidlist, (1, 1))
        await pause(1.1)
        self.assertEqual((await self.store.mailbox(ANN, self.inbox)).uid_validity, validity + 7)
        self.assertEqual(await self.seen(), [False] * 4)
        self.assertEqual(await self.shared.access(ANN, self.inbox), {BOB: frozenset("lrs")})
        await self.store.close()
        await self.open()
        self.assertEqual(await self.seen(), [False] * 4)

    async def test_ones_own_seen_is_in_the_file_and_others_is_not(self) -> None:
        names = [path.name for path in (self.data / "mail/example.org/ann").glob("[cn]*/*")]
        self.assertEqual([name for name in names if "S" in name.partition(":2,")[2]], [])
        self.assertEqual(set((await self.store.snapshot(ANN, self.inbox, 0)).flags), {NO_FLAGS})


class PlainSources(SharedMail):
    """Where the index gives the UIDs, a new one gives others, and perhaps in another order."""

    keeps_uids = False

    def make(self) -> Any:
        return indexed(eml_at(self.data / "eml"), site_at(self.data))


class ShareFiles(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / NAME
        self.file = ShareFile(self.path)

    def test_without_shares_there_is_no_file(self) -> None:
        self.assertEqual(self.file.owners([BOB, ANYONE]), frozenset())
        self.file.note(BOB, ANN, False)
        self.assertFalse(self.path.exists())

    def test_it_lasts(self) -> None:
        for identifier, owner in ((BOB, ANN), (ANYONE, "cat@example.org"), (BOB, "dan@example.org")):
            self.file.note(identifier, owner, True)
            self.file.note(identifier, owner, True)
        self.file.note(BOB, "dan@example.org", False)
        for file in (self.file, ShareFile(self.path)):
            self.assertEqual(file.owners([BOB, ANYONE]), {ANN, "cat@example.org"})

    def test_a_broken_file_is_put_aside(self) -> None:
        self.path.parent.mkdir()
        self.path.write_bytes(b"no database " * 1000)
        self.assertEqual(self.file.owners([BOB]), frozenset())
        self.file.note(BOB, ANN, True)
        self.assertEqual(ShareFile(self.path).owners([BOB]), {ANN})
        self.assertEqual(len(list(self.path.parent.glob(f"{NAME}.broken-*"))), 1)


class Readers(SynchronousTestCase):
    def test_marks_in_any_order(self) -> None:
        reader = Reader(10)
        reader.set(11, {5: True, 2: True})
        reader.set(12, {3: True, 5: False})
        self.assertEqual([mark.seen for uid in (2, 3, 5) if (mark := reader.mark(uid))], [True, True, False])
        self.assertEqual((reader.seen, len(reader), reader.mark(4)), (2, 3, None))
        self.assertEqual(
            [sorted(reader.since(modseq)) for modseq in (9, 10, 11, 12)], [[2, 3, 5], [2, 3, 5], [3, 5], []]
        )
        reader.drop([2, 4, 9])
        self.assertEqual((reader.seen, sorted(reader.all())), (1, [3, 5]))

    def test_marks_that_were_read(self) -> None:
        reader = Reader(20, [(1, 12, 1), (4, 15, 0)])
        self.assertEqual([sorted(reader.since(modseq)) for modseq in (11, 12, 15, 20)], [[1, 4], [4], [], []])
        self.assertEqual(reader.seen, 1)
