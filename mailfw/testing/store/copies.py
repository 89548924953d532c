"""Cases of the store's contract: copying and moving within the account."""

from __future__ import annotations

import time

from mailfw.mail.failure import NoSuchMailbox
from mailfw.mail.mailbox import DELETED, NO_FLAGS, SEEN, FlagChange, NewMessage, Row, Want
from mailfw.testing.contents import NESTED, PLAIN, SAMPLES, MemoryContent
from mailfw.testing.store.fixture import ANN, StoreFixture, pause
from mailfw.testing.store.messages import ALL


def _lasting(row: Row) -> tuple[object, ...]:
    """What of a row is the same in every copy."""
    summary = (row.envelope, row.body, row.bodystructure, row.parts, row.fields, row.sent)
    more = (row.preview, row.sort, row.ids)
    return (row.flags, row.size, row.received, row.email_id, row.thread_id, summary, more)


class CopyCases(StoreFixture):
    """What `IMailStore` says of copies and moves."""

    work: str

    async def prepare(self) -> list[int]:
        """Append four different messages to the inbox, make `work` with one in it, and return their UIDs."""
        self.work = await self.create("Work")
        await self.add(1, mailbox=self.work)
        octets = (PLAIN, NESTED, SAMPLES["nul"], b"")
        messages = [
            NewMessage(MemoryContent(each), frozenset({SEEN, f"$Copy{number}"}), 1000 + number)
            for number, each in enumerate(octets)
        ]
        return [appended.uid for appended in await self.append(messages)]

    async def test_copy_keeps_what_lasts(self) -> None:
        """Flags, keywords, date, email id, summary and octets are those of the original."""
        uids = await self.prepare()
        copied = await self.store.copy(ANN, self.inbox, uids, self.work)
        self.assertEqual([old for old, _ in copied.uids], uids)
        target = await self.now(self.work)
        self.assertEqual((copied.uid_validity, copied.modseq), (target.uid_validity, target.modseq))
        for old, new in copied.uids:
            before, after = await self.row(old, ALL), await self.row(new, ALL, self.work)
            self.assertEqual(_lasting(after), _lasting(before))
            self.assertEqual(await self.octets(new, self.work), await self.octets(old))

    async def test_when_messages_came(self) -> None:
        """When a message came into its mailbox is told to the second, anew for copies and moved ones, and stays so."""
        began = int(time.time())
        first, second = (await self.prepare())[:2]
        saved = (await self.row(first, Want.SAVED)).saved
        if saved is None:
            raise self.not_offered("this store does not know when messages came into their mailboxes")
        self.assertTrue(began <= saved <= time.time(), f"saved at {saved}, not after {began}")
        self.assertIsNone((await self.row(first, ALL & ~Want.SAVED)).saved)
        await pause(1.1 - time.time() % 1)
        later = int(time.time())
        [(_, copied)] = (await self.store.copy(ANN, self.inbox, [first], self.work)).uids
        [(_, moved)] = (await self.store.copy(ANN, self.inbox, [second], self.work, move=True)).uids
        await self.flag([first], DELETED)
        at = {row.uid: row.saved for row in await self.rows([copied, moved], Want.SAVED | Want.ENVELOPE, self.work)}
        self.assertTrue(all(later <= (each or 0) <= time.time() for each in at.values()), f"{at}, not after {later}")
        if self.can_reopen:
            await self.reopen()
            rows = await self.rows([copied, moved], Want.SAVED, self.work)
            self.assertEqual({row.uid: row.saved for row in rows}, at)
        self.assertEqual((await self.row(first, Want.SAVED)).saved, saved)

    async def test_copies_get_new_uids(self) -> None:
        """Copies have UIDs from the next UID of the target on, in the order of the originals; these stay."""
        uids = await self.prepare()
        before, source = await self.now(self.work), await self.now()
        new = [new for _, new in (await self.store.copy(ANN, self.inbox, uids, self.work)).uids]
        self.assertGreaterEqual(new[0], before.uid_next)
        self.assertEqual(new, sorted(set(new)))
        self.assertEqual((await self.uids(self.work))[1:], new)
        self.assertEqual(await self.now(), source)

    async def test_copies_go_their_own_ways(self) -> None:
        """Flags of the copy are not those of the original, and each outlives the other."""
        first, second, *_ = await self.prepare()
        pairs = dict((await self.store.copy(ANN, self.inbox, [first, second], self.work)).uids)
        await self.store.alter(ANN, self.work, list(pairs.values()), FlagChange.REPLACE, frozenset({"$Mine"}))
        self.assertEqual((await self.flags())[first], {SEEN, "$Copy0"})
        await self.remove([first])
        await self.remove([pairs[second]], self.work)
        self.assertEqual(await self.octets(pairs[first], self.work), PLAIN)
        self.assertEqual(await self.octets(second), NESTED)

    async def test_copy_into_the_same_mailbox(self) -> None:
        """A message can be copied beside itself, and moved to the end."""
        uids = await self.prepare()
        [(_, copy)] = (await self.store.copy(ANN, self.inbox, uids[:1], self.inbox)).uids
        self.assertEqual(await self.uids(), [*uids, copy])
        [(_, moved)] = (await self.store.copy(ANN, self.inbox, uids[:1], self.inbox, move=True)).uids
        self.assertEqual(await self.uids(), [*uids[1:], copy, moved])
        self.assertEqual(await self.octets(moved), PLAIN)

    async def test_move_takes_the_original_away(self) -> None:
        """What is moved vanishes here and is there, unchanged, and its UID is not given again."""
        uids = await self.prepare()
        then, before = await self.now(), {row.uid: _lasting(row) for row in await self.rows(uids, ALL)}
        copied = await self.store.copy(ANN, self.inbox, uids[1:], self.work, move=True)
        self.assertEqual([old for old, _ in copied.uids], uids[1:])
        self.assertEqual(await self.uids(), uids[:1])
        self.assertLessEqual(set(uids[1:]), set((await self.snap(then.modseq)).vanished))
        for old, new in copied.uids:
            self.assertEqual(_lasting(await self.row(new, ALL, self.work)), before[old])
        self.assertEqual(await self.octets(copied.uids[0][1], self.work), NESTED)
        self.assertGreaterEqual(copied.modseq, max((await self.now()).modseq, (await self.now(self.work)).modseq))
        self.assertGreater((await self.add())[0], uids[-1])

    async def test_move_needs_no_deleted_flag(self) -> None:
        """A move takes what it is told to, and adds no flag on the way."""
        self.work = await self.create("Work")
        [uid] = await self.add()
        [other] = await self.add(1, {DELETED})
        [(_, new)] = (await self.store.copy(ANN, self.inbox, [uid], self.work, move=True)).uids
        self.assertEqual((await self.flags(self.work))[new], NO_FLAGS)
        self.assertEqual(await self.uids(), [other])

    async def test_gone_messages_are_passed_over(self) -> None:
        """Of messages named, those that are gone are in no pair; where none is left nothing changes."""
        uids = await self.prepare()
        await self.remove(uids[1:2])
        copied = await self.store.copy(ANN, self.inbox, [*uids[:2], uids[-1] + 7], self.work)
        self.assertEqual([old for old, _ in copied.uids], uids[:1])
        before = await self.infos()
        for asked in ([], [uids[1]], [uids[-1] + 7]):
            self.assertEqual((await self.store.copy(ANN, self.inbox, asked, self.work)).uids, ())
            self.assertEqual((await self.store.copy(ANN, self.inbox, asked, self.work, move=True)).uids, ())
        self.assertEqual(await self.infos(), before)

    async def test_no_such_target(self) -> None:
        """Copying or moving nowhere raises `NoSuchMailbox` and takes nothing away."""
        uids = await self.prepare()
        before = await self.infos()
        for move in (False, True):
            asked = self.store.copy(ANN, self.inbox, uids, "no such id", move=move)
            await self.refuses(NoSuchMailbox, asked)
        self.assertEqual(await self.infos(), before)

    async def test_there_and_back(self) -> None:
        """Moved to and fro, a message keeps its email id, date, keywords and octets."""
        [uid, *_] = await self.prepare()
        before, here, there = await self.row(uid, ALL), self.inbox, self.work
        for _ in range(4):
            [(_, uid)] = (await self.store.copy(ANN, here, [uid], there, move=True)).uids
            here, there = there, here
        self.assertEqual(_lasting(await self.row(uid, ALL, here)), _lasting(before))
        self.assertEqual(await self.octets(uid, here), PLAIN)

    async def test_many_at_once(self) -> None:
        """Hundreds of messages are copied and moved in one call, in order."""
        self.work = await self.create("Work")
        uids = await self.add(400)
        copied = await self.store.copy(ANN, self.inbox, uids, self.work)
        moved = await self.store.copy(ANN, self.inbox, uids, self.work, move=True)
        self.assertEqual([old for old, _ in copied.uids], uids)
        self.assertEqual(await self.uids(self.work), [new for _, new in copied.uids] + [new for _, new in moved.uids])
        self.assertEqual(await self.uids(), [])
