"""The memory store keeps the contract, and what is its own: the log of changes."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from mailfw.interfaces import IMailStore, IQuotas
from mailfw.stores.memory import MemoryStore
from mailfw.stores.memory.mailbox import SHORT_LOG, ChangeLog
from mailfw.testing.store import (
    AnnotationCases,
    FoundAgainCases,
    NumberCases,
    QuotaCases,
    ReplacingCases,
    RestartCases,
    SharedHistoryCases,
    SharingCases,
    StoreContract,
)


class MemoryStoreContract(
    StoreContract,
    RestartCases,
    QuotaCases,
    FoundAgainCases,
    NumberCases,
    AnnotationCases,
    ReplacingCases,
    SharingCases,
    SharedHistoryCases,
    TestCase,
):
    def make_store(self) -> MemoryStore:
        return MemoryStore()

    def make_bounded_store(self, quotas: IQuotas, retention: float) -> MemoryStore:
        return MemoryStore(quotas, retention)

    async def reopen_store(self, store: IMailStore) -> IMailStore:
        # Mail in memory is kept as long as the store is referred to, closed or not.
        await store.close()
        return store


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
