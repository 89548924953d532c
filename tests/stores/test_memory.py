"""The memory store keeps the contract, and what is its own: the quota."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from mailfw.interfaces import IMailStore
from mailfw.mail.failure import OverQuota
from mailfw.mail.mailbox import DELETED, INBOX, NewMessage
from mailfw.stores.memory import MemoryStore
from mailfw.stores.memory.mailbox import SHORT_LOG, ChangeLog
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store import StoreContract

ANN, BOB = "ann@example.org", "bob@example.org"


class MemoryStoreContract(StoreContract, TestCase):
    def make_store(self) -> MemoryStore:
        return MemoryStore()

    async def reopen_store(self, store: IMailStore) -> IMailStore:
        # Mail in memory is kept as long as the store is referred to, closed or not.
        await store.close()
        return store


class QuotaTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        self.store = MemoryStore(quota=1000)
        await self.store.open_account(ANN)
        infos = {info.path: info.id for info in await self.store.mailboxes(ANN)}
        self.inbox, self.archive = infos[INBOX], infos[("Archive",)]

    async def append(self, *sizes: int, token: str | None = None) -> list[int]:
        messages = [NewMessage(MemoryContent(b"x" * size), token=token) for size in sizes]
        return [appended.uid for appended in await self.store.append(ANN, self.inbox, messages)]

    async def refused(self, *sizes: int) -> bool:
        try:
            await self.append(*sizes)
        except OverQuota:
            return True
        return False

    async def test_append_fits_to_the_octet(self) -> None:
        await self.append(600)
        self.assertTrue(await self.refused(401))
        self.assertFalse(await self.refused(400))
        self.assertFalse(await self.refused(0))
        self.assertTrue(await self.refused(1))

    async def test_none_of_a_batch_is_kept(self) -> None:
        self.assertTrue(await self.refused(400, 400, 400))
        info = await self.store.mailbox(ANN, self.inbox)
        self.assertEqual((info.messages, info.size, info.uid_next), (0, 0, 1))

    async def test_all_mailboxes_count(self) -> None:
        [uid] = await self.append(600)
        with self.assertRaises(OverQuota):
            await self.store.copy(ANN, self.inbox, [uid], self.archive)
        self.assertEqual((await self.store.mailbox(ANN, self.archive)).messages, 0)
        await self.store.copy(ANN, self.inbox, [uid], self.archive, move=True)
        self.assertTrue(await self.refused(600))

    async def test_expunge_makes_room(self) -> None:
        message = NewMessage(MemoryContent(b"x" * 900), frozenset({DELETED}))
        await self.store.append(ANN, self.inbox, [message])
        self.assertTrue(await self.refused(900))
        await self.store.expunge(ANN, self.inbox, None)
        self.assertFalse(await self.refused(900))

    async def test_what_is_kept_already_needs_no_room(self) -> None:
        self.assertEqual(await self.append(900, token="t"), await self.append(900, token="t"))

    async def test_each_account_has_its_own(self) -> None:
        await self.store.open_account(BOB)
        [inbox] = [info.id for info in await self.store.mailboxes(BOB) if info.path == INBOX]
        await self.append(1000)
        await self.store.append(BOB, inbox, [NewMessage(MemoryContent(b"x" * 1000))])


class ChangeLogTests(TestCase):
    def test_a_long_log_is_shortened_and_loses_nothing(self) -> None:
        log, last = ChangeLog(), {}
        for modseq in range(1, 10 * SHORT_LOG):
            uid = 1 + modseq * 7 % 900
            log.note(uid, modseq)
            last[uid] = modseq
        for since in (1, 500, 9 * SHORT_LOG, 10 * SHORT_LOG - 2, 10 * SHORT_LOG):
            expected = sorted(uid for uid, modseq in last.items() if modseq > since)
            self.assertEqual(log.since(since), expected)
        self.assertLess(len(log), 3 * SHORT_LOG)
