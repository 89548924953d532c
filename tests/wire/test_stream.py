"""The stream: lines, counted octets, deadlines, flow control, and the ways it ends."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.testing.dialogue import PretendTransport
from mailfw.wire.interruptions import Disconnected, LineTooLong, ShuttingDown, TimedOut, Woken
from mailfw.wire.stream import HIGH_WATER, JOIN_LIMIT, MINIMUM_RATE, Stream


class Transport(PretendTransport):
    """Notes each write, and whether reading is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)

    @property
    def paused(self) -> bool:
        return bool(self.producerState == "paused")


class StreamCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport, self.clock = Transport(), Clock()
        self.transport.registerProducer(object(), True)
        self.stream = Stream(self.transport, self.clock, timeout=60.0)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        return Deferred.fromCoroutine(coroutine)

    def line(self, limit: int = 100, idle: bool = False) -> Deferred[bytes]:
        return self.start(self.stream.read_line(limit, idle=idle))

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.stream.data_received(piece)

    def expire_at(self, when: float) -> None:
        """Do what the factory's sweep does when the clock shows `when`."""
        self.clock.advance(when - self.clock.seconds())
        if self.stream.deadline is not None and self.stream.deadline <= self.clock.seconds():
            self.stream.expire()


class LineTests(StreamCase):
    def test_in_pieces(self) -> None:
        reading = self.line()
        for octet in b"NOOP\r":
            self.feed(bytes([octet]))
            self.assertNoResult(reading)
        self.feed(b"\nNEXT")
        self.assertEqual(self.successResultOf(reading), b"NOOP")
        self.assertEqual(self.stream.buffered, b"NEXT")

    def test_only_crlf_ends_a_line(self) -> None:
        self.feed(b"a\nb\rc\n\rd\r\r\n\r\n")
        self.assertEqual(self.successResultOf(self.line()), b"a\nb\rc\n\rd\r")
        self.assertEqual(self.successResultOf(self.line()), b"")

    def test_limit(self) -> None:
        """CRLF counts: a line may be as long as the limit and no longer, however it arrives."""
        for length, whole in itertools.product((98, 99), (True, False)):
            line = b"x" * length + b"\r\n"
            self.feed(*([line] if whole else [bytes([octet]) for octet in line]))
            if length == 98:
                self.assertEqual(self.successResultOf(self.line()), line[:-2])
            else:
                self.failureResultOf(self.line(), LineTooLong)
                self.feed(b"next\r\n")
                self.assertEqual(self.successResultOf(self.line()), b"next")

    def test_one_complaint_for_an_endless_line(self) -> None:
        reading = self.line()
        self.feed(b"x" * 101)
        self.failureResultOf(reading, LineTooLong)
        reading = self.line()
        for _ in range(50):
            self.feed(b"y" * 1000)
            self.assertLessEqual(len(self.stream.buffered), 1)
        self.assertNoResult(reading)
        self.feed(b"y\r")
        self.feed(b"\nQUIT\r\n")
        self.assertEqual(self.successResultOf(reading), b"QUIT")

    @given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"x" * 9, b"x" * 30])), st.data())
    def test_any_split_reads_the_same(self, parts: list[bytes], data: Any) -> None:
        octets = b"".join(parts) + b"\r\n"
        cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=9)))
        pieces = [octets[a:b] for a, b in itertools.pairwise([0, *cuts, len(octets)])]
        expected = [None if len(line) > 18 else line for line in octets.split(b"\r\n")[:-1]]
        self.assertEqual(self.lines(pieces), expected)

    def lines(self, pieces: list[bytes]) -> list[bytes | None]:
        """Return the lines of up to twenty octets, None for each longer one."""
        stream = Stream(PretendTransport(), Clock())
        found: list[bytes | None] = []

        async def read() -> None:
            while True:
                try:
                    found.append(await stream.read_line(20))
                except LineTooLong:
                    found.append(None)

        reading = Deferred.fromCoroutine(read())
        for piece in pieces:
            stream.data_received(piece)
        stream.connection_lost()
        self.failureResultOf(reading, Disconnected)
        return found


class CountedTests(StreamCase):
    def test_exactly(self) -> None:
        self.feed(b"abc")
        reading = self.start(self.stream.read_exactly(5))
        self.assertNoResult(reading)
        self.feed(b"defg")
        self.assertEqual(self.successResultOf(reading), b"abcde")
        self.assertEqual(self.stream.buffered, b"fg")
        self.assertEqual(self.successResultOf(self.start(self.stream.read_exactly(0))), b"")
        self.assertIsNone(self.stream.deadline)

    def test_into_a_slow_sink(self) -> None:
        taken: list[bytes] = []
        waits = [Deferred[None](), Deferred[None]()]

        async def sink(octets: bytes) -> None:
            taken.append(octets)
            await waits[len(taken) - 1]

        reading = self.start(self.stream.read_into(sink, 6))
        self.feed(b"ab", b"cd", b"efgh")
        self.assertEqual(taken, [b"ab"])
        waits[0].callback(None)
        waits[1].callback(None)
        self.successResultOf(reading)
        self.assertEqual(taken, [b"ab", b"cdef"])
        self.assertEqual(self.stream.buffered, b"gh")


class FlowTests(StreamCase):
    def test_reading_pauses(self) -> None:
        self.feed(b"x" * (HIGH_WATER - 1))
        self.assertFalse(self.transport.paused)
        self.feed(b"x")
        self.assertTrue(self.transport.paused)
        self.stream.consume(HIGH_WATER // 2)
        self.assertTrue(self.transport.paused)
        self.stream.consume(1)
        self.assertFalse(self.transport.paused)

    def test_who_waits_for_more_gets_more(self) -> None:
        self.feed(b"x" * HIGH_WATER)
        filling = self.start(self.stream.fill())
        self.assertFalse(self.transport.paused)
        self.feed(b"y")
        self.successResultOf(filling)

    def test_replies_leave_together_when_the_session_waits(self) -> None:
        self.feed(b"one\r\n")
        self.stream.write(b"220 hello\r\n")
        self.successResultOf(self.line())
        self.stream.write(b"250 one\r\n")
        self.assertEqual(self.transport.writes, [])
        self.line()
        self.assertEqual(self.transport.writes, [b"220 hello\r\n250 one\r\n"])

    def test_much_leaves_at_once(self) -> None:
        self.stream.write(b"x" * JOIN_LIMIT)
        self.assertEqual([len(octets) for octets in self.transport.writes], [JOIN_LIMIT])

    def test_draining(self) -> None:
        self.successResultOf(self.start(self.stream.drain()))
        self.stream.pause_writing()
        self.stream.write(b"x")
        draining = self.start(self.stream.drain())
        self.assertEqual(self.transport.writes, [b"x"])
        self.assertNoResult(draining)
        self.stream.resume_writing()
        self.successResultOf(draining)
        self.assertIsNone(self.stream.deadline)

    def test_who_does_not_take_its_answers_is_not_asked_for_more(self) -> None:
        self.stream.data_received(b"NOOP\r\nNOOP\r\n")
        for wait in (lambda: self.stream.read_line(100), self.stream.give_way):
            self.stream.pause_writing()
            waiting = self.start(wait())
            self.assertNoResult(waiting)
            self.stream.resume_writing()
            self.successResultOf(waiting)

    def test_a_peer_that_does_not_read_is_cut(self) -> None:
        self.stream.pause_writing()
        draining = self.start(self.stream.drain())
        self.expire_at(59.0)
        self.assertNoResult(draining)
        self.expire_at(60.0)
        self.assertTrue(self.transport.aborted)
        self.stream.connection_lost()
        self.failureResultOf(draining, Disconnected)


class DeadlineTests(StreamCase):
    def test_of_a_line(self) -> None:
        reading = self.line()
        self.expire_at(30.0)
        self.feed(b"x")
        self.expire_at(59.9)
        self.assertNoResult(reading)
        self.expire_at(60.0)
        self.failureResultOf(reading, TimedOut)

    def test_each_line_has_its_own(self) -> None:
        self.line()
        self.expire_at(50.0)
        self.feed(b"x\r\n")
        reading = self.line()
        self.expire_at(100.0)
        self.assertNoResult(reading)
        self.expire_at(110.0)
        self.failureResultOf(reading, TimedOut)

    def test_our_own_slowness_is_nobodys_fault(self) -> None:
        """A deadline that passes while the session works is forgotten."""
        self.line()
        self.feed(b"x\r\n")
        self.expire_at(500.0)
        reading = self.line()
        self.expire_at(559.0)
        self.assertNoResult(reading)

    def test_bulk_at_the_minimum_rate(self) -> None:
        reading = self.start(self.stream.read_exactly(100 * MINIMUM_RATE))
        for second in range(1, 100):
            self.feed(b"x" * MINIMUM_RATE)
            self.expire_at(float(second))
            self.assertNoResult(reading)
        self.feed(b"x" * MINIMUM_RATE)
        self.successResultOf(reading)

    def test_bulk_below_it(self) -> None:
        reading = self.start(self.stream.read_exactly(1_000_000))
        for second in range(1, 119):
            self.feed(b"x" * (MINIMUM_RATE // 2))
            self.expire_at(float(second))
        self.assertNoResult(reading)
        self.expire_at(119.0)
        self.failureResultOf(reading, TimedOut)

    def test_bulk_cannot_save_up(self) -> None:
        reading = self.start(self.stream.read_exactly(10_000_000))
        self.feed(*[b"x" * 60_000] * 50)
        self.expire_at(59.0)
        self.assertNoResult(reading)
        self.expire_at(60.0)
        self.failureResultOf(reading, TimedOut)


class EndTests(StreamCase):
    def test_the_peer_leaves(self) -> None:
        reading = self.line()
        self.stream.connection_lost()
        self.failureResultOf(reading, Disconnected)
        self.failureResultOf(self.line(), Disconnected)
        self.failureResultOf(self.start(self.stream.drain()), Disconnected)
        self.stream.write(b"x")
        self.stream.flush()
        self.assertEqual(self.transport.writes, [])

    def test_lines_that_came_before_are_read(self) -> None:
        self.feed(b"one\r\ntwo")
        self.stream.connection_lost()
        self.assertEqual(self.successResultOf(self.line()), b"one")
        self.failureResultOf(self.line(), Disconnected)

    def test_half_closed(self) -> None:
        self.feed(b"one\r\ntwo")
        self.stream.input_ended()
        self.assertEqual(self.successResultOf(self.line()), b"one")
        self.stream.write(b"250 one\r\n")
        self.failureResultOf(self.line(), Disconnected)
        self.assertEqual(self.transport.writes, [b"250 one\r\n"])

    def test_half_closed_while_waiting(self) -> None:
        reading = self.line()
        self.stream.input_ended()
        self.failureResultOf(reading, Disconnected)

    def test_close(self) -> None:
        self.stream.write(b"bye")
        self.stream.close()
        self.stream.close()
        self.assertEqual(self.transport.writes, [b"bye"])
        self.assertTrue(self.transport.disconnecting)
        self.feed(b"x\r\n")
        self.failureResultOf(self.line(), Disconnected)
        self.expire_at(29.0)
        self.assertFalse(self.transport.aborted)
        self.expire_at(30.0)
        self.assertTrue(self.transport.aborted)

    def test_shut_down_between_commands(self) -> None:
        reading = self.line(idle=True)
        self.stream.shut_down()
        self.failureResultOf(reading, ShuttingDown)
        self.assertTrue(self.stream.is_stopping)
        self.feed(b"x\r\n")
        self.failureResultOf(self.line(idle=True), ShuttingDown)
        self.assertEqual(self.successResultOf(self.line()), b"x")

    def test_shut_down_within_one(self) -> None:
        reading = self.line()
        self.stream.shut_down()
        self.assertNoResult(reading)
        self.feed(b"x\r\n")
        self.assertEqual(self.successResultOf(reading), b"x")
        self.failureResultOf(self.line(idle=True), ShuttingDown)


class WakingTests(StreamCase):
    def test_between_commands(self) -> None:
        reading = self.line(idle=True)
        self.feed(b"NO")
        self.stream.wake()
        self.failureResultOf(reading, Woken)
        reading = self.line(idle=True)
        self.feed(b"OP\r\n")
        self.assertEqual(self.successResultOf(reading), b"NOOP")

    def test_remembered_until_then(self) -> None:
        reading = self.line()
        self.stream.wake()
        self.feed(b"x\r\n")
        self.assertEqual(self.successResultOf(reading), b"x")
        self.failureResultOf(self.line(idle=True), Woken)
        self.assertNoResult(self.line(idle=True))

    def test_a_command_that_is_here_comes_first(self) -> None:
        self.stream.wake()
        self.feed(b"x\r\n")
        self.assertEqual(self.successResultOf(self.line(idle=True)), b"x")
        self.failureResultOf(self.line(idle=True), Woken)


class TLSTests(StreamCase):
    def test_what_came_in_the_clear_is_discarded(self) -> None:
        self.feed(b"STARTTLS\r\nMAIL FROM:<evil@x>\r\nhalf")
        self.successResultOf(self.line())
        self.stream.write(b"220 go\r\n")
        self.assertFalse(self.stream.is_secure)
        self.assertIsNone(self.stream.tls_version)
        self.stream.start_tls(object())
        self.assertEqual(self.transport.writes, [b"220 go\r\n"])
        self.assertTrue(self.transport.tls_started)
        self.assertTrue(self.stream.is_secure)
        self.feed(b"NOOP\r\n")
        self.assertEqual(self.successResultOf(self.line()), b"NOOP")

    def test_the_rest_of_a_long_line_too(self) -> None:
        reading = self.line()
        self.feed(b"x" * 200)
        self.failureResultOf(reading, LineTooLong)
        self.stream.start_tls(object())
        self.feed(b"NOOP\r\n")
        self.assertEqual(self.successResultOf(self.line()), b"NOOP")

    def test_reading_goes_on(self) -> None:
        self.feed(b"x" * HIGH_WATER)
        self.stream.start_tls(object())
        self.assertFalse(self.transport.paused)
