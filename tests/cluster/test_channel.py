"""Calls between two processes: none is lost or mixed up, none takes all the room, and the end of one end is an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailfw.cluster.channel import MOST_UNREAD, Answering, Asking
from mailfw.cluster.codec import Malformed
from mailfw.cluster.counters import Register
from mailfw.cluster.desk import StoreDesk
from mailfw.cluster.procedures import ConnectionToKeeperLost, RemoteFault
from mailfw.mail.failure import NoSpace
from mailfw.stores.memory import MemoryStore
from mailfw.testing.contents import MemoryContent


class Desk:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Deferred[int]]] = []

    async def double(self, number: int) -> int:
        answer: Deferred[int] = Deferred()
        self.asked.append((number, answer))
        return await answer

    async def fail(self, how: str) -> None:
        raise {"full": NoSpace("full"), "fault": ZeroDivisionError()}[how]


class Wire:
    """A worker's end and a keeper's end, and what is between them."""

    def __init__(self, desk: Any, most_calls: int = 256, **listeners: Callable[..., None]) -> None:
        self.lost: list[str] = []
        self.keeper = Answering(desk, listeners, lambda: self.lost.append("keeper"), most_calls)
        self.worker = Asking(type(desk), listeners, lambda: self.lost.append("worker"))
        self.to_keeper, self.to_worker = StringTransport(), StringTransport()
        self.worker.makeConnection(self.to_keeper)
        self.keeper.makeConnection(self.to_worker)

    def flow(self) -> None:
        """Bring over what was written, where the reader reads."""
        while self.to_keeper.value() or self.to_worker.value():
            for pipe, reader in ((self.to_keeper, self.keeper), (self.to_worker, self.worker)):
                octets = pipe.value()
                pipe.clear()
                if octets:
                    reader.dataReceived(octets)

    def ask(self, name: str, *arguments: Any, **more: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.worker.call(name, *arguments, **more))


class CallTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.desk = Desk()
        self.wire = Wire(self.desk)

    def test_answers_in_any_order(self) -> None:
        calls = [self.wire.ask("double", number) for number in range(3)]
        self.wire.flow()
        for number, answer in reversed(self.desk.asked):
            answer.callback(2 * number)
        self.wire.flow()
        self.assertEqual([self.successResultOf(call) for call in calls], [0, 2, 4])

    def test_failures(self) -> None:
        full, fault = self.wire.ask("fail", "full"), self.wire.ask("fail", "fault")
        self.wire.flow()
        self.failureResultOf(full, NoSpace)
        self.failureResultOf(fault, RemoteFault)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_nobody_waits_for_is_undone(self) -> None:
        undone: list[int] = []
        call = self.wire.ask("double", 5, dispose=undone.append)
        call.addErrback(lambda _: None)
        self.wire.flow()
        call.cancel()
        self.desk.asked[0][1].callback(10)
        self.wire.flow()
        self.assertEqual(undone, [10])

    def test_the_keeper_dies(self) -> None:
        call = self.wire.ask("double", 1)
        self.wire.worker.connectionLost()
        self.failureResultOf(call, ConnectionToKeeperLost)
        self.failureResultOf(self.wire.ask("double", 2), ConnectionToKeeperLost)
        self.assertEqual(self.wire.lost, ["worker"])

    def test_the_worker_dies(self) -> None:
        self.wire.ask("double", 1)
        self.wire.flow()
        self.wire.keeper.connectionLost()
        self.desk.asked[0][1].callback(2)
        self.assertEqual(self.wire.to_worker.value(), b"")
        self.assertEqual(self.wire.keeper.under_way, 0)

    def test_nonsense_ends_the_connection(self) -> None:
        self.wire.keeper.dataReceived(b"\xff" * 12)
        self.assertTrue(self.wire.to_worker.disconnected)


class PressureTests(SynchronousTestCase):
    def test_a_worker_that_asks_for_too_much_is_not_read(self) -> None:
        desk = Desk()
        wire = Wire(desk, most_calls=10)
        calls = [wire.ask("double", number) for number in range(25)]
        wire.flow()
        self.assertEqual(len(desk.asked), 10)
        self.assertEqual(wire.to_worker.producerState, "paused")
        for place in range(25):
            number, answer = desk.asked[place]
            answer.callback(2 * number)
        wire.flow()
        self.assertEqual([self.successResultOf(call) for call in calls], [2 * n for n in range(25)])
        self.assertEqual(wire.to_worker.producerState, "producing")

    def test_the_other_worker_is_served_all_the_same(self) -> None:
        desk = Desk()
        greedy, modest = Wire(desk, most_calls=10), Wire(desk, most_calls=10)
        for number in range(100):
            greedy.ask("double", number)
        greedy.flow()
        call = modest.ask("double", 1000)
        modest.flow()
        self.assertEqual(desk.asked[-1][0], 1000)
        desk.asked[-1][1].callback(1)
        modest.flow()
        self.assertEqual(self.successResultOf(call), 1)

    def test_a_worker_that_does_not_read_is_not_answered(self) -> None:
        desk = Desk()
        wire = Wire(desk)
        wire.keeper.pauseProducing()
        call = wire.ask("double", 1)
        wire.flow()
        self.assertEqual(desk.asked, [])
        self.assertEqual(wire.to_worker.producerState, "paused")
        wire.keeper.resumeProducing()
        desk.asked[0][1].callback(2)
        wire.flow()
        self.assertEqual(self.successResultOf(call), 2)

    def test_a_keeper_that_does_not_read_is_not_asked(self) -> None:
        wire = Wire(Desk())
        wire.worker.pauseProducing()
        call = wire.ask("double", 1)
        self.assertEqual(wire.to_keeper.value(), b"")
        wire.worker.resumeProducing()
        self.assertNotEqual(wire.to_keeper.value(), b"")
        self.assertNoResult(call)


class LeavingTests(SynchronousTestCase):
    def test_all_that_a_dead_worker_had_open_is_closed(self) -> None:
        drafts: list[MemoryContent] = []

        async def open_draft(size_hint: int) -> MemoryContent:
            drafts.append(MemoryContent())
            return drafts[-1]

        store = MemoryStore()
        self.successResultOf(Deferred.fromCoroutine(store.open_account("ann")))
        told: list[Any] = []
        desk = StoreDesk(store, open_draft, lambda *said: told.append(said))
        self.successResultOf(Deferred.fromCoroutine(desk.open_draft(0)))
        self.successResultOf(Deferred.fromCoroutine(desk.watch("ann", 1)))
        [inbox] = [
            each.id
            for each in self.successResultOf(Deferred.fromCoroutine(store.mailboxes("ann")))
            if each.path == ("INBOX",)
        ]
        desk.leave()
        self.assertEqual((len(desk.holdings), drafts[0].closed), (0, 1))
        self.successResultOf(Deferred.fromCoroutine(store.claim_recent("ann", inbox)))
        self.assertEqual(told, [])
        self.failureResultOf(Deferred.fromCoroutine(desk.read(1, 0, 1)), Malformed)
        self.successResultOf(Deferred.fromCoroutine(desk.open_draft(0)))
        self.assertEqual((len(desk.holdings), drafts[1].closed), (0, 1))


class RegisterTests(SynchronousTestCase):
    def test_counts_reach_all_others_and_end_with_a_worker(self) -> None:
        register, heard = Register(), {"a": list[Any](), "b": list[Any]()}
        register.join("a", lambda *said: heard["a"].append(said))
        register.connections("a", "smtp", "192.0.2.1", 1)
        register.join("b", lambda *said: heard["b"].append(said))
        register.connections("b", "smtp", "192.0.2.1", 1)
        register.counted("b", "failed", "192.0.2.1", "ann")
        self.assertEqual(heard["b"], [("connections", "smtp", "192.0.2.1", 1)])
        self.assertEqual(
            heard["a"], [("connections", "smtp", "192.0.2.1", 1), ("counted", "failed", "192.0.2.1", "ann")]
        )
        self.assertEqual(register.totals(), {"smtp": 2})
        register.leave("a")
        self.assertEqual(heard["b"][-1], ("connections", "smtp", "192.0.2.1", -1))
        self.assertEqual(register.totals(), {"smtp": 1})


class UnreadTests(SynchronousTestCase):
    def test_news_that_nobody_reads_do_not_fill_the_memory(self) -> None:
        wire = Wire(Desk())
        wire.keeper.pauseProducing()
        news, told = "x" * 65536, 0
        while not wire.to_worker.disconnecting and not wire.to_worker.disconnected and told < 10_000:
            wire.keeper.tell("news", news)
            told += 1
        self.assertEqual(told, MOST_UNREAD // len(news))

    def test_who_reads_on_in_time_hears_everything(self) -> None:
        heard: list[str] = []
        wire = Wire(Desk(), news=heard.append)
        news = "x" * 65536
        for _ in range(3):
            wire.keeper.pauseProducing()
            for _ in range(MOST_UNREAD // len(news) - 1):
                wire.keeper.tell("news", news)
            self.assertTrue(wire.keeper.is_full)
            wire.flow()
            wire.keeper.resumeProducing()
        self.assertEqual(len(heard), 3 * (MOST_UNREAD // len(news) - 1))
