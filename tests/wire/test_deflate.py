"""Compression: what arrives is bounded however much it stands for, and nothing waits for what follows."""

from __future__ import annotations

import random
import zlib

from hypothesis import given
from hypothesis import strategies as st

from mailfw.wire import stream as streams
from mailfw.wire.deflate import Deflate
from mailfw.wire.interruptions import Disconnected
from mailfw.wire.stream import HIGH_WATER
from tests.wire.test_stream import StreamCase


class Peer:
    """The other side."""

    def __init__(self) -> None:
        self._out = zlib.compressobj(9, zlib.DEFLATED, -15)
        self._in = zlib.decompressobj(-15)

    def say(self, octets: bytes, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
        return self._out.compress(octets) + self._out.flush(flush)

    def hear(self, octets: bytes) -> bytes:
        return self._in.decompress(octets)


class DeflateTests(StreamCase):
    def setUp(self) -> None:
        super().setUp()
        self.peer = Peer()
        self.stream.start_deflate()

    def test_both_ways(self) -> None:
        line = self.line()
        for octet in self.peer.say(b"a1 NOOP\r\n"):
            self.feed(bytes([octet]))
        self.assertEqual(self.successResultOf(line), b"a1 NOOP")
        self.stream.write(b"a1 OK Done\r\n")
        self.stream.flush()
        self.assertEqual(self.peer.hear(self.transport.value()), b"a1 OK Done\r\n")

    def test_a_partial_flush_is_enough(self) -> None:
        """Clients may flush less than zlib can: what is whole is read."""
        line = self.line()
        self.feed(self.peer.say(b"a1 NOOP\r\n", zlib.Z_PARTIAL_FLUSH))
        self.assertEqual(self.successResultOf(line), b"a1 NOOP")

    def test_what_came_with_the_command_is_compressed_too(self) -> None:
        self.transport.clear()
        early = Peer()
        stream = type(self.stream)(self.transport, self.clock)
        stream.data_received(early.say(b"a2 NOOP\r\n"))
        stream.start_deflate()
        self.assertEqual(self.successResultOf(self.start(stream.read_line(100))), b"a2 NOOP")

    def test_a_bomb_costs_no_memory(self) -> None:
        """Fifty megabytes in fifty kilobytes are read as the session asks for them."""
        size = 50 * 1024 * 1024
        bomb = self.peer.say(b"x" * size)
        self.assertLess(len(bomb), HIGH_WATER)
        self.feed(bomb)
        self.assertEqual(len(self.stream.buffered), 0, "nobody has asked for it")
        heard, most = 0, 0

        async def sink(octets: bytes) -> None:
            nonlocal heard, most
            heard += len(octets)
            most = max(most, len(octets), len(self.stream.buffered))

        self.successResultOf(self.start(self.stream.read_into(sink, size)))
        self.assertEqual(heard, size)
        self.assertLessEqual(most, 2 * HIGH_WATER)
        self.assertFalse(self.transport.paused)

    def test_nor_does_it_keep_others_waiting(self) -> None:
        self.patch(streams, "TURN", 0.0)
        size = 10 * HIGH_WATER
        self.feed(self.peer.say(b"x" * size))
        whole = self.start(self.stream.read_exactly(size))
        self.assertNoResult(whole)
        self.clock.pump([0.0] * 20)
        self.assertEqual(self.successResultOf(whole), b"x" * size)

    def test_what_is_not_compressed_ends_the_connection(self) -> None:
        line = self.line()
        self.feed(b"a1 NOOP\r\n" * 10)
        self.failureResultOf(line, Disconnected)
        self.assertTrue(self.transport.disconnecting)

    def test_so_does_what_is_behind_the_end_of_the_stream(self) -> None:
        self.feed(self.peer.say(b"a1 NOOP\r\na2 NO", zlib.Z_FINISH))
        self.assertEqual(self.successResultOf(self.line()), b"a1 NOOP")
        line = self.line()
        self.assertNoResult(line)
        self.feed(b"OP\r\n")
        self.failureResultOf(line, Disconnected)

    def test_what_waits_is_bounded(self) -> None:
        chance = random.Random(1)
        said = [chance.randbytes(1000) for _ in range(2 * HIGH_WATER // 1000)]
        wire = b"".join(self.peer.say(each) for each in said)
        self.feed(wire)
        self.assertTrue(self.transport.paused)
        for each in said:
            self.assertEqual(self.successResultOf(self.start(self.stream.read_exactly(len(each)))), each)
        self.assertFalse(self.transport.paused)

    def test_what_follows_the_end_of_compression_is_taken_as_it_is(self) -> None:
        """A client need not wait for the answer to UNAUTHENTICATE (RFC 8437 section 3), however it ends its stream."""
        for flush in (zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_FINISH):
            for piece in (1, 7, 1000):
                stream, peer = type(self.stream)(self.transport, self.clock), Peer()
                stream.start_deflate()
                stream.write(b"* ")
                wire = peer.say(b"a NOOP\r\n") + peer.say(b"u BYE\r\n", flush)
                for at in range(0, len(wire), piece):
                    stream.data_received(wire[at : at + piece])
                stream.data_received(b"b LOGIN\r\n")
                self.transport.clear()
                for expected in (b"a NOOP", b"u BYE"):
                    self.assertEqual(self.successResultOf(self.start(stream.read_line(100))), expected)
                stream.write(b"OK\r\n")
                stream.end_deflate()
                stream.write(b"PLAIN\r\n")
                stream.flush()
                self.assertFalse(stream.is_compressed)
                self.assertEqual(self.successResultOf(self.start(stream.read_line(100))), b"b LOGIN")
                said = self.transport.value()
                self.assertEqual(peer.hear(said[: -len(b"PLAIN\r\n")]), b"* OK\r\n")
                self.assertTrue(said.endswith(b"PLAIN\r\n"))
                stream.end_deflate()

    def test_the_session_knows_that_there_is_more(self) -> None:
        self.feed(self.peer.say(b"a NOOP\r\n") + self.peer.say(b"b NOOP\r\n"))
        for left in (True, False):
            self.successResultOf(self.line())
            self.assertIs(self.stream.is_behind, left)

    @given(st.randoms(use_true_random=False), st.integers(1, 40))
    def test_any_split_gives_the_same(self, chance: random.Random, count: int) -> None:
        said = [chance.randbytes(chance.randrange(1, 3000)) * chance.randrange(1, 40) for _ in range(count)]
        peer, ours = Peer(), Deflate()
        wire = b"".join(peer.say(each) for each in said)
        found, at = bytearray(), 0
        while at < len(wire) or ours.has_more:
            step = 0 if ours.has_more else chance.randrange(1, 5000)
            ours.take(wire[at : at + step])
            piece = ours.decompress(4096)
            self.assertLessEqual(len(piece), 4096)
            found += piece
            at += step
        self.assertEqual(bytes(found), b"".join(said))
