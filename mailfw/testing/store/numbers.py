"""Cases of the store's contract: mail that brings its UIDs along."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface.verify import verifyObject

from mailfw.mail.failure import NoSuchAccount, NoSuchMailbox, NumberRefused
from mailfw.mail.mailbox import SEEN, CreateMailbox, DeleteMailbox, NewMessage
from mailfw.optional import INumberedMail
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.store.fixture import ANN, BOB, StoreFixture

#: A UIDVALIDITY from long ago, as mailboxes bring it along.
OLD = 1_234_567_890
#: And one from the year 2030.
LATE = 1_900_000_000


class NumberCases(StoreFixture):
    """What `INumberedMail` says."""

    @property
    def numbered(self) -> INumberedMail:
        """The store as one that takes numbers over.  Raises `not_offered`."""
        self.demand(INumberedMail, "this store gives UIDs of its own to all mail")
        return INumberedMail(self.store)

    async def renumber(self, uid_validity: int | None, uid_next: int, mailbox: str | None = None) -> None:
        """Renumber a mailbox, or the inbox."""
        await self.numbered.renumber(ANN, mailbox or self.inbox, uid_validity, uid_next)

    async def bring(
        self, uids: Sequence[int], tokens: Sequence[str | None] = (), mailbox: str | None = None
    ) -> list[int]:
        """Append messages with their UIDs; return those they have."""
        messages = [
            NewMessage(MemoryContent(PLAIN), frozenset({SEEN}), 1_000_000_000 + uid, token)
            for uid, token in zip(uids, tokens or [None] * len(uids), strict=True)
        ]
        added = await self.numbered.append_numbered(ANN, mailbox or self.inbox, messages, uids)
        return [each.uid for each in added]

    async def test_brought_uids_provide_the_interface(self) -> None:
        """Every method is there, with the parameters of the interface."""
        self.assertTrue(verifyObject(INumberedMail, self.numbered))

    async def test_brought_uids_are_kept(self) -> None:
        """Messages get the UIDs that they bring along, and what comes later higher ones, also after a restart."""
        await self.renumber(OLD, 1)
        self.assertEqual(await self.bring([3, 4, 70_000]), [3, 4, 70_000])
        self.assertEqual(await self.add(), [70_001])
        self.assertEqual(await self.bring([80_000]), [80_000])
        info = await self.now()
        self.assertEqual((info.uid_validity, info.uid_next, info.messages), (OLD, 80_001, 5))
        self.assertEqual([row.received - 1_000_000_000 for row in await self.rows([3, 4, 70_000])], [3, 4, 70_000])
        self.assertEqual(await self.octets(4), PLAIN)
        if self.can_reopen:
            await self.reopen()
            self.assertEqual(await self.uids(), [3, 4, 70_000, 70_001, 80_000])
            info = await self.now()
            self.assertEqual((info.uid_validity, info.uid_next), (OLD, 80_001))

    async def test_next_uid_of_brought_uids_is_raised_and_never_lowered(self) -> None:
        """What comes next is at least what was asked for."""
        await self.renumber(OLD, 500)
        await self.renumber(OLD, 20)
        self.assertEqual((await self.now()).uid_next, 500)
        self.assertEqual(await self.add(), [500])
        await self.renumber(OLD, 900)
        if self.can_reopen:
            await self.reopen()
        self.assertEqual(await self.add(), [900])
        self.assertEqual(await self.uids(), [500, 900])

    async def test_brought_uids_are_never_given_twice(self) -> None:
        """A UID below the next one is refused, whether it is in use, was in use or was passed; and nothing is added."""
        uids = await self.add(3)
        await self.remove(uids[1:2])
        for wrong in ([2], [1], [3, 4], [4, 6, 6], [5, 4], [7, 2]):
            before = await self.now()
            await self.refuses(NumberRefused, self.bring(wrong))
            self.assertEqual(await self.now(), before)
            self.assertEqual(await self.uids(), [1, 3])
        self.assertEqual(await self.bring([9]), [9])
        await self.refuses(NumberRefused, self.bring([5]))

    async def test_brought_uids_and_tokens(self) -> None:
        """A message that is here under its token stays where it is, and the others of the call are added."""
        self.assertEqual(await self.bring([5, 6], ["a", "b"]), [5, 6])
        self.assertEqual(await self.bring([5, 6, 7], ["a", "b", "c"]), [5, 6, 7])
        self.assertEqual(await self.bring([10, 11], ["c", "d"]), [7, 11])
        self.assertEqual(await self.uids(), [5, 6, 7, 11])

    async def test_another_uidvalidity_with_brought_uids_is_for_fresh_mailboxes(self) -> None:
        """A mailbox that has or had a message keeps its UIDVALIDITY, unless the store gives it a new one."""
        uids = await self.add(3)
        before = await self.now()
        await self.refuses(NumberRefused, self.renumber(OLD, 1))
        await self.remove(uids[1:])
        await self.refuses(NumberRefused, self.renumber(LATE, 50))
        await self.renumber(before.uid_validity, 50)
        self.assertEqual((await self.now()).uid_next, 50)
        for wrong in (0, -1, 2**31, 2**32):
            await self.refuses(NumberRefused, self.renumber(wrong, 1, (await self.info(("Sent",))).id))
            await self.refuses(NumberRefused, self.renumber(before.uid_validity, wrong))

    async def test_a_new_uidvalidity_keeps_brought_uids(self) -> None:
        """None gives a mailbox a greater UIDVALIDITY; its messages stay as they are."""
        await self.renumber(OLD, 1)
        await self.bring([7, 9])
        since = (await self.now()).modseq
        await self.renumber(None, 12)
        info = await self.now()
        self.assertGreater(info.uid_validity, OLD)
        self.assertGreater(info.modseq, since)
        self.assertEqual(await self.flags(), {7: {SEEN}, 9: {SEEN}})
        self.assertEqual(await self.add(), [12])
        if self.can_reopen:
            await self.reopen()
            self.assertEqual((await self.now()).uid_validity, info.uid_validity)
            self.assertEqual(await self.uids(), [7, 9, 12])

    async def test_uidvalidities_ascend_after_brought_uids(self) -> None:
        """A mailbox made again has a greater UIDVALIDITY than the one it brought along, however late that is."""
        work = await self.create("Work")
        await self.renumber(LATE, 1, work)
        await self.bring([1], mailbox=work)
        await self.store.edit_mailbox(ANN, DeleteMailbox(("Work",)))
        await self.store.edit_mailbox(ANN, CreateMailbox(("Work",)))
        self.assertGreater((await self.info(("Work",))).uid_validity, LATE)

    async def test_brought_uids_need_a_mailbox(self) -> None:
        """No account and no mailbox are as they are for every other method."""
        await self.refuses(NoSuchMailbox, self.renumber(OLD, 1, "gone"))
        await self.refuses(NoSuchMailbox, self.bring([1], mailbox="gone"))
        await self.refuses(NoSuchAccount, self.numbered.renumber(BOB, self.inbox, OLD, 1))
        await self.refuses(NoSuchAccount, self.numbered.append_numbered(BOB, self.inbox, [], []))
