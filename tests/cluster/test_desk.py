"""What the keeper has open for a worker: closed once, after its last use, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailfw.cluster.desk import StoreDesk
from mailfw.cluster.store import RemoteStore, Watches
from mailfw.mail.mailbox import Want
from mailfw.optional import IManyContents
from mailfw.testing.contents import MemoryContent
from tests.cluster.test_channel import Wire


class SlowDraft(MemoryContent):
    """Is written when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.writing: Deferred[None] = Deferred()

    async def write(self, octets: bytes) -> None:
        await self.writing
        assert not self.closed
        await super().write(octets)


class Broken(MemoryContent):
    async def read(self, offset: int, length: int) -> bytes:
        raise OSError(5, "the disk has a fault")


@implementer(IManyContents)
class Store:
    """Lists when the test says so, and opens `found`."""

    def __init__(self) -> None:
        self.listing: Deferred[None] = Deferred()
        self.watching: Deferred[None] = Deferred()
        self.watchers = 0
        self.has_ended = False
        self.found: list[tuple[int, MemoryContent]] = []

    async def rows(self, account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[list[Any]]:
        try:
            await self.listing
            yield []
            yield []
        finally:
            self.has_ended = True

    async def contents(self, account: str, mailbox: str, uids: Sequence[int]) -> AsyncIterator[Any]:
        yield self.found

    async def watch(self, account: str, notice: Any) -> Any:
        await self.watching
        self.watchers += 1

        def stop() -> None:
            self.watchers -= 1

        return stop


class DeskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.drafts: list[SlowDraft] = []
        self.store = Store()
        store: Any = self.store
        self.desk = StoreDesk(store, self.make_draft, lambda *said: None)

    async def make_draft(self, size_hint: int) -> Any:
        self.drafts.append(SlowDraft())
        return self.drafts[-1]

    def start(self, work: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(work)

    def test_a_draft_that_is_being_written_is_closed_after_that(self) -> None:
        number = self.successResultOf(self.start(self.desk.open_draft(0)))
        writing = self.start(self.desk.write(number, b"octets"))
        self.desk.leave()
        [draft] = self.drafts
        self.assertEqual(draft.closed, 0)
        draft.writing.callback(None)
        self.successResultOf(writing)
        self.assertEqual((draft.closed, len(self.desk.holdings)), (1, 0))

    def test_a_list_that_is_being_read_is_ended_after_that(self) -> None:
        asking = self.start(self.desk.rows("ann", "m", [1], Want(0)))
        self.desk.leave()
        self.store.listing.callback(None)
        self.successResultOf(asking)
        self.assertTrue(self.store.has_ended)
        self.assertEqual((len(self.desk.holdings), self.flushLoggedErrors()), (0, []))

    def test_one_message_that_cannot_be_read_leaves_none_open(self) -> None:
        large, small, last = MemoryContent(b"x" * 200_000), Broken(b"y"), MemoryContent(b"z" * 200_000)
        self.store.found = [(1, large), (2, small), (3, last)]
        self.failureResultOf(self.start(self.desk.contents("ann", "m", [1, 2, 3])), OSError)
        self.assertEqual([each.closed for each in (large, small, last)], [1, 1, 1])
        self.assertEqual(len(self.desk.holdings), 0)

    def test_who_gives_up_watching_leaves_no_watch(self) -> None:
        listeners: dict[str, Any] = {**self.desk.listeners()}
        wire = Wire(self.desk, **listeners)
        watches = Watches()
        asked = self.start(RemoteStore(wire.worker, watches).watch("ann", lambda mailbox, modseq: None))
        wire.flow()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        wire.flow()
        self.store.watching.callback(None)
        wire.flow()
        self.assertEqual(self.store.watchers, 0)
