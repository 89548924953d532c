"""Cases of the store's contract: what is there when a store is opened again."""

from __future__ import annotations

from mailfw.mail.mailbox import (
    ANSWERED,
    NO_FLAGS,
    SEEN,
    DeleteMailbox,
    FlagChange,
    NewMessage,
    RenameMailbox,
    Subscribe,
    Want,
)
from mailfw.testing.contents import NESTED, PLAIN, SAMPLES, MemoryContent
from mailfw.testing.store.accounts import AccountCases
from mailfw.testing.store.changes import KEYWORDS, ChangeCases
from mailfw.testing.store.conversations import ConversationCases, letter
from mailfw.testing.store.copies import CopyCases
from mailfw.testing.store.fixture import ANN
from mailfw.testing.store.mailboxes import NAMES, MailboxCases
from mailfw.testing.store.messages import ALL, DELIVERY, MessageCases


class RestartCases(AccountCases, MailboxCases, MessageCases, ChangeCases, CopyCases, ConversationCases):
    """What `IMailStore` promises holds over a restart, for a store that can be opened again over the same data."""

    async def test_reopened_account_is_as_it_was(self) -> None:
        """Mailboxes, numbers, subscriptions, flags, dates and octets outlive a restart."""
        uids = await self.add(3, {SEEN, "$Label"})
        await self.create("Work", "2026")
        await self.store.edit_mailbox(ANN, Subscribe(("Nowhere",)))
        await self.remove(uids[1:2])
        before = await self.infos(), await self.store.subscriptions(ANN), await self.flags(), await self.rows(uids)
        await self.reopen()
        after = await self.infos(), await self.store.subscriptions(ANN), await self.flags(), await self.rows(uids)
        self.assertEqual(after, before)
        self.assertEqual(await self.octets(uids[2]), PLAIN)

    async def test_names_outlive_a_restart(self) -> None:
        """No name changes when the store is opened again."""
        for name in NAMES:
            await self.create(name, name)
        before = await self.infos()
        await self.reopen()
        self.assertEqual(await self.infos(), before)

    async def test_validity_grows_over_a_restart(self) -> None:
        """A mailbox deleted before a restart and made after it has a greater UIDVALIDITY."""
        await self.create("Work")
        before = (await self.info(("Work",))).uid_validity
        await self.edit(DeleteMailbox(("Work",)))
        await self.reopen()
        await self.create("Work")
        self.assertGreater((await self.info(("Work",))).uid_validity, before)

    async def test_tree_outlives_a_restart(self) -> None:
        """Renamed and deleted mailboxes are as they were when the store is opened again."""
        mailbox = await self.create("A", "B")
        uid = await self.add_octets(PLAIN, mailbox)
        await self.edit(RenameMailbox(("A",), ("한글", "a.b")))
        await self.edit(DeleteMailbox(("Drafts",)))
        before = await self.infos()
        await self.reopen()
        self.assertEqual(await self.infos(), before)
        self.assertEqual(await self.octets(uid, mailbox), PLAIN)

    async def test_octets_outlive_a_restart(self) -> None:
        """What is read after the store was opened again is what was written."""
        uids = {name: await self.add_octets(octets) for name, octets in SAMPLES.items()}
        before = await self.rows(sorted(uids.values()), ALL)
        await self.reopen()
        for name, uid in uids.items():
            self.assertEqual(await self.octets(uid), SAMPLES[name], name)
        self.assertEqual(await self.rows(sorted(uids.values()), ALL), before)

    async def test_token_survives_flags_and_a_restart(self) -> None:
        """A delivery can be retried after the message was read and the store opened again."""
        message = NewMessage(MemoryContent(PLAIN), token=DELIVERY)
        [first] = await self.append([message])
        await self.flag([first.uid], SEEN, "$Label")
        await self.reopen()
        [second] = await self.append([message])
        self.assertEqual(second.uid, first.uid)
        self.assertEqual(await self.uids(), [first.uid])

    async def test_flags_removed_after_a_restart(self) -> None:
        """The first change after a restart may be that a message loses all its flags, and they stay lost."""
        [uid] = await self.add(1, {SEEN, "$Label"})
        await self.reopen()
        await self.alter([uid], FlagChange.REMOVE, SEEN, "$Label")
        await self.add(1, {"$Label"})
        await self.reopen()
        self.assertEqual((await self.flags())[uid], NO_FLAGS)

    async def test_keywords_outlive_a_restart(self) -> None:
        """System flags and 40 keywords are there when the store is opened again."""
        words = [*KEYWORDS, *(f"$Keyword-{number}" for number in range(40))]
        uids = await self.add(len(words), {SEEN, ANSWERED})
        for uid, word in zip(uids, words, strict=True):
            await self.alter([uid], FlagChange.ADD, word)
        before = await self.flags()
        await self.reopen()
        self.assertEqual(await self.flags(), before)

    async def test_uid_is_never_given_again_after_a_restart(self) -> None:
        """The highest UID outlives its message and the store's process."""
        uids = await self.add(3)
        await self.remove(uids)
        before = await self.now()
        await self.reopen()
        self.assertEqual((await self.now()).uid_next, before.uid_next)
        self.assertEqual((await self.now()).uid_validity, before.uid_validity)
        self.assertGreater((await self.add())[0], uids[-1])

    async def test_modseq_goes_on_after_a_restart(self) -> None:
        """No modification sequence is given twice, though the change with the highest was an expunge."""
        uids = await self.add(2)
        await self.remove(uids)
        before = (await self.now()).modseq
        await self.reopen()
        self.assertEqual((await self.now()).modseq, before)
        [appended] = await self.append([NewMessage(MemoryContent(PLAIN))])
        self.assertGreater(appended.modseq, before)

    async def test_vanished_outlives_a_restart(self) -> None:
        """What was expunged before a restart is told after it."""
        uids = await self.add(5)
        then = await self.snap()
        await self.remove(uids[1:4])
        await self.flag(uids[:1], SEEN)
        await self.reopen()
        await self.check_way(then)

    async def test_recent_outlives_a_restart(self) -> None:
        """What one session has shown as \\Recent no other does, also after a restart."""
        await self.add(2)
        await self.store.claim_recent(ANN, self.inbox)
        await self.add(1)
        before = (await self.now()).recent_uid
        await self.reopen()
        self.assertEqual((await self.now()).recent_uid, before)

    async def test_copies_outlive_a_restart(self) -> None:
        """Copies are as they were when the store is opened again, though the originals are gone."""
        uids = await self.prepare()
        copied = await self.store.copy(ANN, self.inbox, uids, self.work)
        await self.remove(uids)
        new = [new for _, new in copied.uids]
        before = await self.rows(new, ALL, self.work)
        await self.reopen()
        self.assertEqual(await self.rows(new, ALL, self.work), before)
        self.assertEqual(await self.octets(new[1], self.work), NESTED)
        self.assertEqual(await self.rows(uids, Want.NOTHING), [])

    async def test_threads_outlive_a_restart(self) -> None:
        """Threads are the same afterwards, and found again by whatever joins them."""
        first = await self.put(letter("Lunch", "a", "", "z"))
        await self.reopen()
        second = await self.put(letter("Re: Lunch", "b", "a"))
        third = await self.put(letter("Re: Lunch", "c", "z"))
        self.assertEqual(await self.thread(first.uid), first.thread_id)
        self.assertEqual((second.thread_id, third.thread_id), (first.thread_id, first.thread_id))
