"""Cases of the store's contract: a message in another's place."""

from __future__ import annotations

from mailfw.mail.failure import NoSuchMailbox, NoSuchMessage
from mailfw.mail.mailbox import DRAFT, SEEN, NewMessage
from mailfw.optional import IReplacingMail
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.store.fixture import ANN, StoreFixture
from mailfw.testing.store.messages import DELIVERY

NEW = b"Subject: the second draft\r\n\r\nDear Bob\r\n"
#: More than any store keeps together with other messages.
LARGE = NEW + b"x" * 70 + b"\r\n" + b"line of a long letter\r\n" * 50_000


class ReplacingCases(StoreFixture):
    """What `IReplacingMail` says."""

    @property
    def replacing(self) -> IReplacingMail:
        """The store as one that replaces messages.  Raises `not_offered`."""
        self.demand(IReplacingMail, "this store replaces no messages")
        return IReplacingMail(self.store)

    async def test_replaced_in_its_mailbox(self) -> None:
        """The new message is there with a new UID, as it was given; the old one is gone, others stay."""
        store = self.replacing
        first, second, third = await self.add(3)
        since = (await self.now()).modseq
        message = NewMessage(MemoryContent(NEW), frozenset({DRAFT, SEEN}), 1_234_567_890)
        replaced = await store.replace(ANN, self.inbox, second, self.inbox, message)
        self.assertEqual(await self.uids(), [first, third, replaced.appended.uid])
        row = await self.row(replaced.appended.uid)
        self.assertEqual(
            (row.flags, row.received, row.email_id), ({DRAFT, SEEN}, 1_234_567_890, replaced.appended.email_id)
        )
        self.assertEqual(await self.octets(replaced.appended.uid), NEW)
        info, news = await self.now(), await self.snap(since)
        self.assertEqual((info.messages, info.size, info.modseq), (3, 2 * len(PLAIN) + len(NEW), replaced.modseq))
        self.assertEqual((list(news.uids), list(news.vanished)), ([replaced.appended.uid], [second]))

    async def test_replaced_in_another_mailbox(self) -> None:
        """The old message goes from its mailbox, the new one comes into the other."""
        store = self.replacing
        work = await self.create("Work")
        [uid] = await self.add()
        replaced = await store.replace(ANN, self.inbox, uid, work, NewMessage(MemoryContent(NEW)))
        self.assertEqual((await self.uids(), await self.uids(work)), ([], [replaced.appended.uid]))
        self.assertEqual(await self.octets(replaced.appended.uid, work), NEW)
        self.assertEqual((await self.now()).modseq, replaced.modseq)
        quota = await self.store.quota(ANN)
        self.assertEqual((quota.messages, quota.octets), (1, len(NEW)))

    async def test_large_message_in_place_of_a_small_one(self) -> None:
        """Size makes no difference, in either direction, and each new one can be replaced again."""
        store = self.replacing
        [uid] = await self.add()
        for octets in (LARGE, NEW, LARGE):
            message = NewMessage(MemoryContent(octets))
            uid = (await store.replace(ANN, self.inbox, uid, self.inbox, message)).appended.uid
            self.assertEqual(await self.uids(), [uid])
            self.assertEqual(await self.octets(uid), octets)

    async def test_what_is_gone_is_not_replaced(self) -> None:
        """Where there is no such message, or mailbox, nothing is added."""
        store = self.replacing
        uids = await self.add(2)
        await self.remove(uids[:1])
        before = await self.infos()
        for uid in (uids[0], uids[1] + 1):
            await self.refuses(
                NoSuchMessage, store.replace(ANN, self.inbox, uid, self.inbox, NewMessage(MemoryContent(NEW)))
            )
        asked = store.replace(ANN, self.inbox, uids[1], "no such mailbox", NewMessage(MemoryContent(NEW)))
        await self.refuses(NoSuchMailbox, asked)
        self.assertEqual((await self.infos(), await self.uids()), (before, uids[1:]))

    async def test_a_token_does_not_matter(self) -> None:
        """A message that the mailbox has under this token is not taken for the new one."""
        store = self.replacing
        [appended] = await self.append([NewMessage(MemoryContent(PLAIN), token=DELIVERY)])
        new = NewMessage(MemoryContent(NEW), token=DELIVERY)
        replaced = await store.replace(ANN, self.inbox, appended.uid, self.inbox, new)
        self.assertEqual(await self.uids(), [replaced.appended.uid])
        self.assertEqual(await self.octets(replaced.appended.uid), NEW)

    async def test_what_was_replaced_stays_so(self) -> None:
        """It is so after a restart too."""
        store = self.replacing
        uids = await self.add(2)
        replaced = await store.replace(ANN, self.inbox, uids[0], self.inbox, NewMessage(MemoryContent(NEW)))
        if self.can_reopen:
            await self.reopen()
        self.assertEqual(await self.uids(), [uids[1], replaced.appended.uid])
        self.assertEqual(await self.octets(replaced.appended.uid), NEW)
