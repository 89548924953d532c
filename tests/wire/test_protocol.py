"""The factory of sessions: limits, the sweep, and the end of them all."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.network import Networks
from mailfw.testing.dialogue import Dialogue
from mailfw.wire.interruptions import ShuttingDown, TimedOut
from mailfw.wire.limits import ConnectionCount, ConnectionLimits
from mailfw.wire.protocol import GRACE, LEFT_BEHIND, SessionFactory
from mailfw.wire.stream import Stream


class Echo:
    """Says each line back; ``wait`` holds it up, ``fail`` is a fault."""

    def __init__(self) -> None:
        self.waits: Deferred[None] = Deferred()

    async def __call__(self, stream: Stream) -> None:
        stream.timeout = 60.0
        try:
            while (line := await stream.read_line(100, idle=True)) != b"quit":
                if line == b"wait":
                    await self.waits
                elif line == b"fail":
                    raise ZeroDivisionError
                stream.write(line + b"\r\n")
        except TimedOut:
            stream.write(b"late\r\n")
        except ShuttingDown:
            stream.write(b"bye\r\n")


class FactoryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.echo = Clock(), Echo()

    def factory(self, **limits: Any) -> SessionFactory:
        return SessionFactory(self.echo, self.clock, b"busy\r\n", ConnectionLimits(**limits))

    def say(self, dialogue: Dialogue, octets: bytes) -> bytes:
        dialogue.say(octets)
        return dialogue.hear()


class SessionTests(FactoryCase):
    def test_conversation(self) -> None:
        factory = self.factory()
        dialogue = Dialogue(factory)
        self.assertEqual(self.say(dialogue, b"a\r\nb\r\nc"), b"a\r\nb\r\n")
        self.assertEqual(factory.connections, 1)
        self.assertEqual(self.say(dialogue, b"\r\nquit\r\nd\r\n"), b"c\r\n")
        self.assertTrue(dialogue.closed)
        dialogue.leave()
        self.assertEqual(factory.connections, 0)

    def test_a_fault_ends_one_session(self) -> None:
        factory = self.factory()
        other, dialogue = Dialogue(factory), Dialogue(factory)
        self.assertEqual(self.say(dialogue, b"a\r\nfail\r\n"), b"a\r\n")
        self.assertTrue(dialogue.closed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.say(other, b"a\r\n"), b"a\r\n")

    def test_half_closed(self) -> None:
        dialogue = Dialogue(self.factory())
        dialogue.say(b"a\r\nwait\r\nb\r\nc")
        dialogue.protocol.readConnectionLost()
        self.assertEqual(dialogue.hear(), b"")
        self.echo.waits.callback(None)
        self.assertEqual(dialogue.hear(), b"a\r\nwait\r\nb\r\n")
        self.assertTrue(dialogue.closed)


class SweepTests(FactoryCase):
    def test_slow_clients(self) -> None:
        factory = self.factory()
        slow, quick = Dialogue(factory), Dialogue(factory)
        for _ in range(61):
            slow.say(b"x")
            quick.say(b"x\r\n")
            self.clock.advance(1.0)
        self.assertEqual(slow.hear(), b"late\r\n")
        self.assertTrue(slow.closed)
        self.assertFalse(quick.closed)

    def test_who_does_not_go_is_cut(self) -> None:
        dialogue = Dialogue(self.factory())
        dialogue.say(b"quit\r\n")
        self.clock.pump([1.0] * 29)
        self.assertFalse(dialogue.transport.aborted)
        self.clock.pump([1.0] * 2)
        self.assertTrue(dialogue.transport.aborted)

    def test_nothing_runs_where_nobody_is(self) -> None:
        factory = self.factory()
        dialogues = [Dialogue(factory), Dialogue(factory)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for dialogue in dialogues:
            dialogue.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LimitTests(FactoryCase):
    def test_beyond(self) -> None:
        factory = self.factory(total=1)
        first, second = Dialogue(factory), Dialogue(factory)
        self.assertEqual(second.hear(), b"busy\r\n")
        self.assertTrue(second.closed)
        self.assertEqual(self.say(second, b"a\r\n"), b"")
        second.leave()
        self.assertEqual(factory.connections, 1)
        first.leave()
        self.assertFalse(Dialogue(factory).closed)

    def test_who_is_refused_and_does_not_go_is_cut(self) -> None:
        dialogue = Dialogue(self.factory(total=0))
        self.clock.pump([1.0] * 31)
        self.assertTrue(dialogue.transport.aborted)
        dialogue.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_counting(self) -> None:
        count = ConnectionCount(ConnectionLimits(total=4, per_address=2), self.clock.seconds)
        self.assertEqual(
            [count.admit(each) for each in ("a", "a", "a", "b", "", "")], [True, True, False, True, True, False]
        )
        count.release("a")
        self.assertEqual([count.admit(each) for each in ("b", "b")], [True, False])
        for each in ("a", "b", "b", ""):
            count.release(each)
        self.assertEqual([count.admit("") for _ in range(5)], [True] * 4 + [False])

    def test_a_site_of_ipv6_is_one_client(self) -> None:
        count = ConnectionCount(ConnectionLimits(per_address=2), self.clock.seconds)
        addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::ffff", "2001:db8:0:1::1", "::ffff:192.0.2.1", "192.0.2.1"]
        self.assertEqual([count.admit(each) for each in addresses], [True, True, False, True, True, True])
        self.assertFalse(count.admit("192.0.2.1"))
        count.release("2001:db8::2")
        self.assertTrue(count.admit("2001:db8::3"))

    def test_rate(self) -> None:
        limits = ConnectionLimits(per_minute=3, exempt=Networks(["192.0.2.0/24"]))
        count = ConnectionCount(limits, self.clock.seconds)
        self.assertEqual([count.admit("203.0.113.1") for _ in range(4)], [True, True, True, False])
        self.assertTrue(count.admit("203.0.113.2"))
        self.assertTrue(all(count.admit("192.0.2.1") for _ in range(100)))
        self.assertTrue(all(count.admit("") for _ in range(100)))
        self.clock.advance(19.9)
        self.assertFalse(count.admit("203.0.113.1"))
        self.clock.advance(0.2)
        self.assertTrue(count.admit("203.0.113.1"))

    def test_what_is_remembered_is_bounded(self) -> None:
        """Whoever has left is forgotten: by the count at once, by the rate in time."""
        count = ConnectionCount(ConnectionLimits(per_minute=60), self.clock.seconds)
        for number in range(1000):
            address = f"10.0.{number // 256}.{number % 256}"
            self.assertTrue(count.admit(address))
            count.release(address)
            self.clock.advance(0.1)
        self.assertEqual(len(count._by_client), 0)
        self.assertLess(len(count._rate), 20)

    def test_stress(self) -> None:
        count = ConnectionCount(ConnectionLimits(total=10), self.clock.seconds)
        for number in range(10):
            self.assertEqual(count.is_stressed, number > 8)
            count.admit("")


class ShutDownTests(FactoryCase):
    def stop(self, factory: SessionFactory) -> Deferred[Any]:
        return Deferred.fromCoroutine(factory.shut_down())

    def test_nobody_there(self) -> None:
        self.successResultOf(self.stop(self.factory()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_never_ends(self) -> None:
        """A plug-in that does not answer must not keep the server from stopping."""
        factory = self.factory()
        dialogue = Dialogue(factory)
        dialogue.say(b"wait\r\n")
        stopped = self.stop(factory)
        self.clock.advance(GRACE)
        dialogue.leave()
        self.assertNoResult(stopped)
        self.clock.advance(LEFT_BEHIND)
        self.successResultOf(stopped)
        self.echo.waits.callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_idle_and_busy(self) -> None:
        factory = self.factory()
        idle, busy = Dialogue(factory), Dialogue(factory)
        busy.say(b"wait\r\n")
        stopped = self.stop(factory)
        self.assertEqual(idle.hear(), b"bye\r\n")
        self.assertTrue(idle.closed)
        self.assertNoResult(stopped)
        self.assertEqual(Dialogue(factory).hear(), b"busy\r\n")
        self.echo.waits.callback(None)
        self.assertEqual(busy.hear(), b"wait\r\nbye\r\n")
        self.successResultOf(stopped)

    def test_grace(self) -> None:
        factory = self.factory()
        busy = Dialogue(factory)
        busy.say(b"wait\r\n")
        stopped = self.stop(factory)
        self.clock.advance(GRACE)
        self.assertTrue(busy.transport.aborted)
        busy.leave()
        self.assertNoResult(stopped)
        self.echo.waits.callback(None)
        self.successResultOf(stopped)
