"""The store over a plain source: the contracts, with the example distribution as the source."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.interfaces import IMailStore, IMessageSource, IQuotas
from mailfw.mail.mailbox import INBOX, NO_FLAGS, SEEN, MailboxInfo, NewMessage, Scan
from mailfw.stores.index.mailbox import Mailbox, Messages, Tally
from mailfw.stores.index.reading import snapshot
from mailfw.stores.indexed import IndexedStore, indexed
from mailfw.stores.maildir.source import MaildirSource
from mailfw.stores.threads import Threads, shielded
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.source import SourceContract
from mailfw.testing.store import (
    AnnotationCases,
    ColumnCases,
    NumberCases,
    QuotaCases,
    ReplacingCases,
    RestartCases,
    SearchCases,
    SharedHistoryCases,
    SharingCases,
    StoreContract,
)
from tests.stores.test_maildir import site_at

EXAMPLE = Path(__file__).parent.parent.parent / "examples/mailfw-eml"
ANN = "ann@example.org"


def eml_at(data: Path) -> Any:
    """Return the example's source, from its directory: it need not be installed."""
    if str(EXAMPLE) not in sys.path:
        sys.path.append(str(EXAMPLE))
    from mailfw_eml.source import eml  # type: ignore[import-not-found]  # not on mypy's path either

    return eml(site_at(data))


class EmlSourceTests(SourceContract, TestCase):
    def make_source(self) -> IMessageSource:
        self.data = Path(self.mktemp()).absolute()
        source: IMessageSource = eml_at(self.data)
        return source

    async def reopen_source(self, source: IMessageSource) -> IMessageSource:
        await source.close()
        again: IMessageSource = eml_at(self.data)
        return again


class MaildirSourceTests(SourceContract, TestCase):
    """A maildir keeps the small interface's contract too."""

    def make_source(self) -> IMessageSource:
        self.data = Path(self.mktemp()).absolute()
        return self._open()

    def _open(self) -> IMessageSource:
        from twisted.internet import reactor

        threads = Threads(reactor)
        self.addCleanup(threads.close)
        return MaildirSource(self.data, threads)

    async def reopen_source(self, source: IMessageSource) -> IMessageSource:
        await source.close()
        return self._open()


class IndexedStoreTests(
    StoreContract,
    AnnotationCases,
    ColumnCases,
    ReplacingCases,
    RestartCases,
    QuotaCases,
    NumberCases,
    SearchCases,
    SharingCases,
    SharedHistoryCases,
    TestCase,
):
    few, many = 100, 1000
    histories = 8

    def make_store(self) -> IMailStore:
        self.data = Path(self.mktemp()).absolute()
        return self._open()

    def make_bounded_store(self, quotas: IQuotas, retention: float) -> IMailStore:
        self.data = Path(self.mktemp()).absolute()
        return self._open(quotas)

    def _open(self, quotas: IQuotas | None = None) -> IMailStore:
        store: IMailStore = indexed(eml_at(self.data), site_at(self.data), quotas=quotas)
        return store

    async def reopen_store(self, store: IMailStore) -> IMailStore:
        await store.close()
        return self._open()

    async def test_what_others_do_to_the_source(self) -> None:
        """Messages that come, change and go in the source do so in the store."""
        [uid] = await self.add()
        source = eml_at(self.data)
        [folder] = [folder for folder in await source.folders(ANN) if folder.path == INBOX]
        [old] = (await source.scan(ANN, folder.key, None)).items
        new = await source.put(ANN, folder.key, MemoryContent(PLAIN), frozenset({SEEN}), 5)
        await source.set_flags(ANN, folder.key, {old.key: frozenset({"$Label"})})
        store = IndexedStore(source, self.data / "other index", site_at(self.data).reactor, patience=0)
        self.addCleanup(store.close)
        await store.open_account(ANN)
        inbox = next(info.id for info in await store.mailboxes(ANN) if info.path == INBOX)
        snapshot = await store.snapshot(ANN, inbox, 0)
        self.assertEqual(sorted(map(sorted, snapshot.flags)), [["$Label"], [SEEN]])
        await source.drop(ANN, folder.key, [old.key])
        after = await store.snapshot(ANN, inbox, 0)
        self.assertEqual(len(after.uids), 1)
        await source.drop(ANN, folder.key, [new.key])
        self.assertEqual((await store.mailbox(ANN, inbox)).messages, 0)
        self.assertEqual(uid, 1)

    async def test_a_message_that_is_told_of_twice(self) -> None:
        """A source whose scan says twice that a message is there has it once, as it was said last."""
        source = eml_at(self.data)
        [folder] = [folder for folder in await source.folders(ANN) if folder.path == INBOX]
        await source.put(ANN, folder.key, MemoryContent(PLAIN), NO_FLAGS, 5)
        scan = source.scan

        async def scan_twice(*asked: Any) -> Scan:
            found: Scan = await scan(*asked)
            seen = [replace(item, flags=frozenset({SEEN})) for item in found.items]
            return replace(found, items=[*found.items, *seen])

        self.patch(source, "scan", scan_twice)
        store = IndexedStore(source, self.data / "other index", site_at(self.data).reactor, patience=0)
        self.addCleanup(store.close)
        await store.open_account(ANN)
        inbox = next(info.id for info in await store.mailboxes(ANN) if info.path == INBOX)
        self.assertEqual((await store.snapshot(ANN, inbox, 0)).flags, [{SEEN}])

    async def test_no_source(self) -> None:
        """What is no source is refused when the store is made."""
        self.assertRaises(TypeError, indexed, object(), site_at(self.data))

    async def test_accounts_are_forgotten_and_read_again(self) -> None:
        """More accounts than are kept in memory, and than have open files, are all there."""
        from mailfw.stores import indexed as module
        from mailfw.stores.index import database

        self.patch(module, "ACCOUNTS", 3)
        self.patch(database, "CONNECTIONS", 2)
        names = [f"user{number}@example.org" for number in range(8)]
        for name in names:
            await self.store.open_account(name)
            inbox = next(info.id for info in await self.store.mailboxes(name) if info.path == INBOX)
            await self.store.append(name, inbox, [NewMessage(MemoryContent(name.encode()))])
        for name in names:
            inbox = next(info.id for info in await self.store.mailboxes(name) if info.path == INBOX)
            content = await self.store.content(name, inbox, 1)
            assert content is not None
            self.assertEqual(await content.read(0, 100), name.encode())
            await content.close()


class ShieldTests(SynchronousTestCase):
    def test_work_goes_on_when_nobody_waits(self) -> None:
        step: Deferred[None] = Deferred()
        done: list[bool] = []

        async def work() -> None:
            await step
            done.append(True)

        waiting = Deferred.fromCoroutine(shielded(work()))
        waiting.cancel()
        self.failureResultOf(waiting)
        step.callback(None)
        self.assertEqual(done, [True])

    def test_late_failure_is_logged(self) -> None:
        step: Deferred[None] = Deferred()

        async def work() -> None:
            await step
            raise ZeroDivisionError

        waiting = Deferred.fromCoroutine(shielded(work()))
        waiting.cancel()
        self.failureResultOf(waiting)
        step.callback(None)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_need_not_wait_does_not(self) -> None:
        async def work() -> int:
            return 5

        waited = shielded(work())
        with self.assertRaises(StopIteration) as ended:
            waited.send(None)
        self.assertEqual(ended.exception.value, 5)

    def test_answers_and_errors_reach_the_work(self) -> None:
        first, second, third = Deferred[int](), Deferred[None](), Deferred[None]()

        async def work() -> int:
            answer = await first
            with self.assertRaises(ZeroDivisionError):
                await second
            await third
            return answer

        waiting = Deferred.fromCoroutine(shielded(work()))
        first.callback(7)
        second.errback(ZeroDivisionError())
        self.assertNoResult(waiting)
        third.callback(None)
        self.assertEqual(self.successResultOf(waiting), 7)


class WholeSnapshotTests(SynchronousTestCase):
    def test_expunges_of_before_are_not_looked_for(self) -> None:
        rows = [(1, 3, "", "a", 10, 0, 1), (4, 9, "\\Seen", "b", 20, 0, 2)]
        box = Mailbox(1, "F", "", INBOX, None, 7, 0, Tally(5, 9), messages=Messages(rows, 9))

        class Readable:
            async def messages(self, id_: str, now: bool) -> tuple[Mailbox, Messages]:
                assert box.messages is not None
                return box, box.messages

            def info(self, box: Mailbox) -> MailboxInfo:
                return box.info(subscribed=True)

            async def read(self, query: object) -> None:
                raise AssertionError("a whole mailbox says by itself what is not in it")

        account: Any = Readable()
        found = self.successResultOf(Deferred.fromCoroutine(snapshot(account, "F", 0)))
        self.assertEqual((list(found.uids), list(found.vanished)), ([1, 4], []))
