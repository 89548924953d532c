"""Who else uses a mailbox, and what they have seen, goes along."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import SEEN, FlagChange
from mailfw.mail.rights import parse_rights
from mailfw.optional import IAnnotatedMail, ISharedMail
from mailfw.stores.memory import MemoryStore
from mailfw.transfer.annotations import Notes
from mailfw.transfer.backup_ends import BackupOrigin
from mailfw.transfer.check import check
from mailfw.transfer.engine import Outcome, Terms
from mailfw.transfer.shares import NO_SHARES, Shares, read_shares, read_uids, write_uids
from mailfw.transfer.store_origin import StoreOrigin
from mailfw.transfer.store_target import StoreTarget
from tests.transfer.test_backup import ANN, Case, Silent

BOB, CAT, DAN = "bob@example.org", "cat@example.org", "dan@example.org"
WORK = ("Work", "2026")


class ShareTests(Case):
    async def shared(self, store: IMailStore) -> ISharedMail:
        shared = ISharedMail(store)
        work = await self.find(store, WORK)
        for who, rights in ((BOB, "lrswi"), (CAT, "l"), (DAN, "lrs"), ("anyone", "lr"), (f"-{DAN}", "s")):
            await shared.grant(ANN, work, who, parse_rights("lrs"))
            if who in (BOB, CAT, DAN):
                uids = {BOB: [1, 2, 3, 5], CAT: [2], DAN: [4]}[who]
                await shared.alter_for(ANN, work, who, uids, FlagChange.ADD, frozenset({SEEN}))
            await shared.grant(ANN, work, who, parse_rights(rights))
        return shared

    async def told(self, store: IMailStore) -> Any:
        work = await self.find(store, WORK)
        shared = ISharedMail(store)
        uids = (await store.snapshot(ANN, work, 0)).uids
        seen = {
            who: [uids.index(mark.uid) for mark in await shared.marks(ANN, work, who, uids) if mark.seen]
            for who in (BOB, CAT)
        }
        return dict(await shared.access(ANN, work)), seen

    async def test_by_a_backup_and_from_store_to_store(self) -> None:
        store = self.maildir()
        await self.fill(store)
        await self.shared(store)
        expected = await self.told(store)
        self.assertEqual(expected[1], {BOB: [0, 1, 2, 4], CAT: [1]})
        self.assertEqual((await self.save(store)).faults, [])
        self.assertEqual(check(self.backup, Silent()).faults, [])
        for other in (self.maildir("second"), MemoryStore()):
            self.assertEqual((await self.restore(other)).faults, [])
            self.assertEqual(await self.told(other), expected)
            for note in self.home.glob("journals/*"):
                note.unlink()
        third = MemoryStore()
        self.assertEqual((await self.migrate(store, third)).faults, [])
        self.assertEqual(await self.told(third), expected)
        await ISharedMail(store).grant(ANN, await self.find(store, WORK), BOB, parse_rights(""))
        self.assertEqual((await self.migrate(store, third)).faults, [])
        self.assertNotIn(BOB, (await self.told(third))[0])

    async def noted(self, store: IMailStore) -> Any:
        work, noted = await self.find(store, WORK), IAnnotatedMail(store)
        found = [await noted.annotations(ANN, work, user) for user in (None, BOB)]
        return [*map(dict, found), dict(await noted.annotations(ANN, None))]

    async def test_annotations_by_a_backup_and_from_store_to_store(self) -> None:
        store = self.maildir()
        await self.fill(store)
        noted, work = IAnnotatedMail(store), await self.find(store, WORK)
        await noted.annotate(ANN, work, {"/shared/comment": b"\x00\xff", "/private/comment": b"ann's"})
        await noted.annotate(ANN, work, {"/private/comment": b"bob's"}, BOB)
        await noted.annotate(ANN, None, {"/private/x": b""})
        expected = await self.noted(store)
        self.assertEqual(expected[1], {"/shared/comment": b"\x00\xff", "/private/comment": b"bob's"})
        self.assertEqual((await self.save(store)).faults, [])
        other = self.maildir("second")
        self.assertEqual((await self.restore(other)).faults, [])
        self.assertEqual(await self.noted(other), expected)
        third = MemoryStore()
        self.assertEqual((await self.migrate(store, third)).faults, [])
        self.assertEqual(await self.noted(third), expected)
        await noted.annotate(ANN, work, {"/shared/comment": None, "/private/comment": b"other"})
        await noted.annotate(ANN, work, {"/private/comment": None}, BOB)
        self.assertEqual((await self.migrate(store, third)).faults, [])
        self.assertEqual(await self.noted(third), await self.noted(store))
        changed = IAnnotatedMail(other)
        await changed.annotate(ANN, await self.find(other, WORK), {"/shared/comment": b"since", "/private/y": b"y"})
        before = await self.noted(other)
        self.assertEqual((await self.restore(other)).faults, [])
        self.assertEqual(await self.noted(other), before)

    async def migrate(self, store: IMailStore, other: IMailStore) -> Outcome:
        target = StoreTarget(other, ANN, "a>b", self.home / "notes", self.disk)
        return await self.move(StoreOrigin(store, ANN, "a"), target, Terms())

    async def test_rights_given_since_stay(self) -> None:
        """A restore changes nothing of a mailbox that others use now, unless it is asked to."""
        store = MemoryStore()
        await self.fill(store)
        shared = await self.shared(store)
        await self.save(store)
        work = await self.find(store, WORK)
        await shared.grant(ANN, work, BOB, parse_rights("lr"))
        await self.restore(store)
        self.assertEqual((await shared.access(ANN, work))[BOB], parse_rights("lr"))
        origin = BackupOrigin(self.backup, self.backup.manifest())
        target = StoreTarget(store, ANN, origin.name, self.home / "journals", self.disk, True)
        await self.move(origin, target, Terms(reflag=True))
        self.assertEqual((await shared.access(ANN, work))[BOB], parse_rights("lrswi"))


class LineTests(SynchronousTestCase):
    def test_lines(self) -> None:
        for uids in ([], [1], [1, 2, 3], [1, 3, 4, 9], [5, 6, 8]):
            self.assertEqual(list(read_uids(write_uids(uids))), uids)
        self.assertEqual(write_uids([1, 2, 3, 7, 9, 10]), "1:3,7,9:10")
        shares = Shares({BOB: parse_rights("lrs"), f"-{CAT}": parse_rights("s")}, {BOB: [1, 2, 9]})
        self.assertEqual(read_shares(shares.line()), shares)
        self.assertEqual(read_shares(NO_SHARES.line()), NO_SHARES)
        noted = Shares(
            notes=Notes({"": {"/shared/x": bytes(range(256))}, BOB: {"/private/x": b""}}, {"/private/y": b"y"})
        )
        self.assertEqual(read_shares(noted.line()), noted)
        for entries in ({"/shared/X": ""}, {"/shared/x": "*"}, {"comment": ""}):
            self.assertRaises(ValueError, read_shares, {**NO_SHARES.line(), "annotations": {"": entries}})
        for wrong in ({"access": {BOB: "lQ"}, "seen": {}}, {"access": {}, "seen": {BOB: "x"}}):
            self.assertRaises(ValueError, read_shares, wrong)
