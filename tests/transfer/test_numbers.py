"""UIDs come along, and never mean another message than they did; what went at the origin can go here too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zope.interface import implementer_only

from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import (
    DELETED,
    FLAGGED,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    NewMessage,
    RenameMailbox,
    Subscribe,
)
from mailfw.optional import INumberedMail
from mailfw.site import Site
from mailfw.stores.memory import MemoryStore
from mailfw.stores.sqlite import sqlite
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store.fixture import read_all
from mailfw.transfer.backup_ends import LEAP, BackupOrigin
from mailfw.transfer.engine import Outcome, Terms
from mailfw.transfer.store_origin import StoreOrigin
from mailfw.transfer.store_target import StoreTarget
from tests.transfer.test_backup import ANN, Case, Cut, Cutting, Silent

INBOX = ("INBOX",)
WORK = ("Work", "2026")


@implementer_only(IMailStore)
class Numberless(MemoryStore):
    """A store that knows nothing of UIDs from elsewhere."""


class NumberTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.here = self.maildir("here")

    def stores(self) -> list[IMailStore]:
        """Return stores of every kind, empty."""
        kept: Any = sqlite(Site("mx.example.org", frozenset(), self.home / "sqlite", self.reactor))
        self.addCleanup(kept.close)
        return [self.maildir("other"), kept, MemoryStore()]

    async def add(self, store: IMailStore, path: tuple[str, ...], *words: str) -> list[int]:
        new = [NewMessage(MemoryContent(f"Subject: {word}\r\n\r\n".encode()), frozenset(), 1) for word in words]
        return [each.uid for each in await store.append(ANN, await self.find(store, path), new)]

    async def remove(self, store: IMailStore, path: tuple[str, ...], uids: Sequence[int]) -> None:
        box = await self.find(store, path)
        await store.alter(ANN, box, uids, FlagChange.ADD, frozenset({DELETED}))
        await store.expunge(ANN, box, uids)

    async def numbers(self, store: IMailStore) -> dict[tuple[str, ...], tuple[int, int, dict[int, bytes]]]:
        """Return UIDVALIDITY, next UID, and messages by UID of each mailbox that has any."""
        found = {}
        for info in await store.mailboxes(ANN):
            messages = {}
            for uid in (await store.snapshot(ANN, info.id, 0)).uids:
                content = await store.content(ANN, info.id, uid)
                assert content is not None
                messages[uid] = await read_all(content)
                await content.close()
            if messages:
                found[info.path] = (info.uid_validity, info.uid_next, messages)
        return found

    async def prepare(self) -> None:
        """Fill the origin, with gaps among the UIDs and at their ends."""
        await self.fill(self.here)
        await self.remove(self.here, INBOX, [1, 4, 5])
        await self.remove(self.here, WORK, [1, 2, 3, 6])
        last = (await self.add(self.here, WORK, "x", "y"))[1]
        await self.remove(self.here, WORK, [last])

    async def migrate(self, store: IMailStore, delete: bool = False, progress: Silent | None = None) -> Outcome:
        origin = StoreOrigin(self.here, ANN, "here")
        target = StoreTarget(store, ANN, "here>there", self.home / "notes", self.disk)
        return await self.move(origin, target, Terms(delete=delete), progress)

    async def test_from_one_store_to_another(self) -> None:
        await self.prepare()
        before = await self.numbers(self.here)
        for place, store in enumerate(self.stores()):
            for note in self.home.glob("notes/*"):
                note.unlink()
            outcome = await self.migrate(store)
            self.assertEqual(outcome.faults, [])
            self.assertEqual(await self.numbers(store), before, place)
            self.assertEqual((await self.migrate(store)).copied, 0)
            self.assertEqual(await self.numbers(store), before, place)

    async def test_by_a_backup(self) -> None:
        """The next UID is well above: what came after the backup was written had those in between."""
        await self.prepare()
        await self.save(self.here)
        before = await self.numbers(self.here)
        for store in self.stores():
            for note in self.home.glob("journals/*"):
                note.unlink()
            self.assertEqual((await self.restore(store, leap=LEAP)).faults, [])
            expected = {
                path: (validity, following + LEAP, all_) for path, (validity, following, all_) in before.items()
            }
            self.assertEqual(await self.numbers(store), expected)

    async def test_a_store_that_gives_its_own(self) -> None:
        await self.prepare()
        store = Numberless()
        self.assertFalse(INumberedMail.providedBy(store))
        self.assertEqual((await self.migrate(store)).faults, [])
        self.assertEqual(list((await self.numbers(store))[WORK][2])[:2], [1, 2])

    async def test_interrupted_again_and_again(self) -> None:
        """However often it is cut off, before or after what was kept was noted."""
        await self.prepare()
        before = await self.numbers(self.here)
        for store in self.stores():
            for note in self.home.glob("notes/*"):
                note.unlink()
            for after in (1, 1, 3, 10, 30):
                await self.assertFailure(self.later(self.migrate(store, progress=Cutting(after))), Cut)
                for note in self.home.glob("notes/*"):
                    lines = note.read_bytes().splitlines(keepends=True)
                    note.write_bytes(b"".join(lines[: max(1, len(lines) - 1)]))
            self.assertEqual((await self.migrate(store)).faults, [])
            self.assertEqual(await self.numbers(store), before)

    async def test_new_mail_flags_and_what_has_gone(self) -> None:
        """A second run brings what is new, and with `delete` takes away what has gone, and nothing else."""
        await self.prepare()
        for place, store in enumerate(self.stores()):
            for note in self.home.glob("notes/*"):
                note.unlink()
            await self.here.edit_mailbox(ANN, CreateMailbox(("Old", str(place))))
            await self.add(self.here, ("Old", str(place)), "a", "b")
            await self.migrate(store)
            await store.edit_mailbox(ANN, CreateMailbox(("Mine",)))
            await self.add(store, ("Mine",), "my own")
            uids = list((await self.numbers(self.here))[INBOX][2])
            await self.remove(self.here, INBOX, uids[1:3])
            await self.here.alter(
                ANN, await self.find(self.here, INBOX), uids[4:6], FlagChange.REPLACE, frozenset({FLAGGED})
            )
            await self.here.edit_mailbox(ANN, DeleteMailbox(("Old", str(place))))
            await self.add(self.here, INBOX, "new")
            kept = await self.migrate(store)
            self.assertEqual((kept.faults, kept.copied, kept.left, kept.removed), ([], 1, 4, 0))
            gone = await self.migrate(store, delete=True)
            self.assertEqual((gone.faults, gone.copied, gone.left, gone.removed), ([], 0, 4, 4))
            found, expected = await self.numbers(store), await self.numbers(self.here)
            self.assertEqual(list(found.pop(("Mine",))[2].values()), [b"Subject: my own\r\n\r\n"])
            self.assertEqual(found, expected)
            self.assertNotIn(("Old", str(place)), {each.path for each in await store.mailboxes(ANN)})
            self.assertEqual((await self.migrate(store, delete=True)).left, 0)

    async def test_what_is_new_here_stays(self) -> None:
        """With `delete`, mail that came here otherwise stays, in a mailbox that has gone at the origin too."""
        await self.prepare()
        store = MemoryStore()
        await self.migrate(store)
        await self.add(store, WORK, "mine")
        await self.here.edit_mailbox(ANN, DeleteMailbox(WORK))
        outcome = await self.migrate(store, delete=True)
        self.assertEqual(outcome.faults, [])
        self.assertEqual(list((await self.numbers(store))[WORK][2].values()), [b"Subject: mine\r\n\r\n"])

    async def test_an_origin_that_is_empty(self) -> None:
        """An origin without any mail is taken for a mistake, and nothing is removed."""
        await self.prepare()
        store = MemoryStore()
        count = (await self.migrate(store)).messages
        for path, (_, _, messages) in (await self.numbers(self.here)).items():
            await self.remove(self.here, path, list(messages))
        outcome = await self.migrate(store, delete=True)
        self.assertIn(f"{count} messages stay here", outcome.faults[0])
        self.assertEqual(sum(len(each[2]) for each in (await self.numbers(store)).values()), count)

    async def test_a_renamed_mailbox(self) -> None:
        """It is a new one, and the old one goes."""
        await self.prepare()
        store = MemoryStore()
        await self.migrate(store)
        await self.here.edit_mailbox(ANN, RenameMailbox(WORK, ("Play",)))
        await self.here.edit_mailbox(ANN, Subscribe(WORK, False))
        self.assertEqual((await self.migrate(store, delete=True)).faults, [])
        self.assertEqual(await self.numbers(store), await self.numbers(self.here))

    async def test_mail_that_came_here_meanwhile(self) -> None:
        """Where one UID means two messages, clients are made to begin anew; all else keeps its UID."""
        await self.prepare()
        for place, store in enumerate(self.stores()):
            for note in self.home.glob("notes/*"):
                note.unlink()
            await self.migrate(store)
            before = (await self.numbers(store))[INBOX]
            [mine] = await self.add(store, INBOX, "here")
            [theirs] = await self.add(self.here, INBOX, f"there {place}")
            self.assertEqual(mine, theirs)
            self.assertEqual((await self.migrate(store)).faults, [])
            after = (await self.numbers(store))[INBOX]
            self.assertGreater(after[0], before[0])
            self.assertLessEqual(before[2].items(), after[2].items())
            self.assertEqual(len(after[2]), len(before[2]) + 2)
            again = await self.migrate(store)
            self.assertEqual((again.faults, again.copied), ([], 0))
            self.assertEqual((await self.numbers(store))[INBOX], after)

    async def test_mail_that_came_here_and_to_nobody_else(self) -> None:
        """As long as no UID means two messages, the UIDVALIDITY stays."""
        await self.prepare()
        store = MemoryStore()
        await self.migrate(store)
        before = (await self.numbers(store))[INBOX]
        await self.add(store, INBOX, "here")
        await self.migrate(store)
        self.assertEqual((await self.numbers(store))[INBOX][0], before[0])

    async def test_not_into_a_mailbox_with_mail(self) -> None:
        """What is there keeps its UIDs and UIDVALIDITY; what comes gets new ones."""
        await self.prepare()
        for store in self.stores():
            for note in self.home.glob("notes/*"):
                note.unlink()
            await store.open_account(ANN)
            await self.add(store, INBOX, "first")
            before = (await self.numbers(store))[INBOX]
            self.assertEqual((await self.migrate(store)).faults, [])
            after = (await self.numbers(store))[INBOX]
            self.assertEqual((after[0], after[2][1]), (before[0], before[2][1]))
            self.assertEqual((await self.migrate(store)).copied, 0)

    async def test_what_is_brought_back_is_not_renumbered(self) -> None:
        """A message deleted and restored gets a new UID; the mailbox keeps its UIDVALIDITY."""
        await self.prepare()
        await self.save(self.here)
        before = (await self.numbers(self.here))[INBOX]
        gone = list(before[2])[2]
        await self.remove(self.here, INBOX, [gone])
        for store in (self.here, MemoryStore()):
            origin = BackupOrigin(self.backup, self.backup.manifest())
            for _ in range(2):
                target = StoreTarget(store, ANN, origin.name, self.home / "journals", self.disk, True, LEAP)
                self.assertEqual((await self.move(origin, target, Terms(reflag=False))).faults, [])
            self.assertEqual((await self.numbers(store))[INBOX][0], before[0])
            if store is not self.here:
                await self.remove(store, INBOX, [gone])
                target = StoreTarget(store, ANN, origin.name, self.home / "journals", self.disk, True, LEAP)
                self.assertEqual((await self.move(origin, target, Terms(reflag=False))).copied, 1)
                self.assertEqual((await self.numbers(store))[INBOX][0], before[0])
