"""One buffered, limited, flow-controlled stream between a session and its peer: all input and output is here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport

from mailfw.wire.clock import Clock
from mailfw.wire.deflate import Deflate
from mailfw.wire.interruptions import Disconnected, LineTooLong, ShuttingDown, TimedOut, Woken
from mailfw.wire.running import Waiter
from mailfw.wire.sending import sent_at_once

#: Reading pauses when this much waits unread, so that a peer cannot fill our memory.
HIGH_WATER = 128 * 1024
#: Replies are joined up to this size before they are sent though the session still writes.
JOIN_LIMIT = 64 * 1024
#: A bulk transfer slower than this, in octets a second, is given up after `Stream.timeout` of grace (Postfix's
#: smtpd_min_data_rate).
MINIMUM_RATE = 500
#: Seconds that one session may work before others have their turn.
TURN = 0.02


class Stream:
    """
    Reads lines and counted octets from a peer, and writes to it.

    A session reads in one coroutine; nothing here is safe for two readers.  What is written leaves when the
    session next has to wait for input, so the answers to a pipelined group travel together (RFC 2920
    section 3.2).  Exceptions are raised only where the session reads or drains: a peer that leaves never
    interrupts a commit.
    """

    __slots__ = (
        "_buffer",
        "_clock",
        "_closed",
        "_deflate",
        "_drained",
        "_ended",
        "_handshaken",
        "_out",
        "_out_size",
        "_reading_paused",
        "_skipping",
        "_stopping",
        "_transport",
        "_turn_began",
        "_waiter",
        "_waiting_idle",
        "_woken",
        "_write_paused",
        "attend",
        "deadline",
        "minimum_rate",
        "moved",
        "peer",
        "timeout",
    )

    def __init__(self, transport: Any, clock: Clock, timeout: float = 300.0) -> None:
        """Attach to a connected transport; `timeout` is seconds of patience with one line."""
        self._transport = transport
        self._clock = clock
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._out_size = 0
        self._deflate: Deflate | None = None
        self._waiter: Waiter | None = None
        self._drained: Deferred[None] | None = None
        self._waiting_idle = False
        self._closed: Exception | None = None
        self._ended = False
        self._handshaken = False
        self._woken = False
        self._stopping = False
        self._skipping = False
        self._reading_paused = False
        self._write_paused = False
        self._turn_began = clock.seconds()
        self.timeout = timeout
        self.minimum_rate: float = MINIMUM_RATE
        #: When the peer's time is up, on the clock; the factory's sweep calls `expire` then.
        self.deadline: float | None = None
        #: Called with the time every second or so, while the session is at something that may take long.
        self.attend: Callable[[float], object] | None = None
        #: Counts the connection for another address from now on; whether that one may have it.
        self.moved: Callable[[str], bool] = lambda address: True
        peer = transport.getPeer()
        #: Address and port of the other side; ``("", 0)`` for a UNIX socket.
        self.peer: tuple[str, int] = (getattr(peer, "host", "") or "", getattr(peer, "port", 0) or 0)

    # ------------------------------------------------------------ reading

    @property
    def buffered(self) -> bytearray:
        """What has arrived and was not consumed.  Look, do not touch; use `consume`."""
        return self._buffer

    @property
    def is_behind(self) -> bool:
        """Whether something has arrived that was not consumed."""
        return bool(self._buffer) or (self._deflate is not None and self._deflate.has_more)

    def consume(self, length: int) -> bytes:
        """Take `length` octets that are in `buffered`."""
        octets = bytes(memoryview(self._buffer)[:length])  # a slice of the buffer itself would be copied twice
        del self._buffer[:length]
        if self._reading_paused and len(self._buffer) < HIGH_WATER // 2:
            self._resume_reading()
        return octets

    def _resume_reading(self) -> None:
        if self._deflate is not None and len(self._deflate) >= HIGH_WATER:
            return
        self._reading_paused = False
        if self._closed is None and not self._ended:
            self._transport.resumeProducing()

    async def fill(self, idle: bool = False) -> None:
        """Wait until more octets are in `buffered` than now, however many those are; `idle` as in `read_line`."""
        if idle:
            self._heed_others()
        if self._inflate():
            return
        if self._reading_paused:
            self._resume_reading()
        if self._closed is not None:
            raise self._closed
        if self._out:
            self.flush()
        if self._ended:
            raise Disconnected
        if self.deadline is None:
            self.deadline = self._clock.seconds() + self.timeout
        self._waiting_idle = idle
        self._waiter = waiter = Waiter()
        try:
            await waiter
        finally:
            self._waiter = None

    def _heed_others(self) -> None:
        if self._stopping:
            raise ShuttingDown
        if self._woken:
            self._woken = False
            raise Woken

    async def read_line(self, limit: int, idle: bool = False) -> bytes:
        """
        Return the next line without its CRLF, which counts towards `limit`.

        Only CRLF ends a line: a lone CR or LF is part of it, for the grammar to refuse.  With `idle` the session
        says that it is between two commands: `ShuttingDown` and `Woken` may then be raised, and lose
        nothing of what has arrived.  Raises `LineTooLong` once for a line without end, which is skipped.
        A peer that does not take its answers is not asked for more.
        """
        if self._write_paused:
            await self.drain()
        searched = 0
        if self._closed is None:  # a closing stream keeps the deadline by which it must be gone
            self.deadline = None
        while True:
            end = self._buffer.find(b"\r\n", searched)
            if end >= 0:
                if self._skipping:
                    self._skipping = False
                    self.consume(end + 2)
                    searched = 0
                    continue
                if idle and self._stopping:
                    raise ShuttingDown
                if end + 2 > limit:
                    self.consume(end + 2)
                    raise LineTooLong
                line = self.consume(end + 2)
                return line[:-2]
            if self._skipping:
                self.consume(max(0, len(self._buffer) - 1))
            elif len(self._buffer) >= limit + 1:
                self._skipping = True
                self.consume(len(self._buffer) - 1)
                raise LineTooLong
            searched = max(0, len(self._buffer) - 1)
            await self.fill(idle)

    async def read_exactly(self, length: int) -> bytes:
        """Return exactly `length` octets; for lengths that fit in memory (see `HIGH_WATER`)."""
        pieces = bytearray()

        async def gather(octets: bytes) -> None:
            pieces.extend(octets)

        await self.read_into(gather, length)
        return bytes(pieces)

    async def read_into(self, sink: Callable[[bytes], Awaitable[None]], length: int) -> None:
        """Pass exactly `length` octets to `sink` as they arrive, waiting for it each time."""
        self.begin_bulk()
        while length:
            if not self._buffer:
                await self.fill_bulk()
            octets = self.consume(min(length, len(self._buffer)))
            length -= len(octets)
            await sink(octets)
            if self._deflate is not None:  # then little that has arrived can be much to read
                await self.give_way()
        self.deadline = None

    def begin_bulk(self) -> None:
        """Say that a bulk transfer begins, for which `minimum_rate` holds."""
        self.deadline = self._clock.seconds() + self.timeout

    async def fill_bulk(self) -> None:
        """`fill` within a bulk transfer: what arrives buys time, but no more than `timeout`."""
        before = len(self._buffer)
        now = self._clock.seconds()
        if self.deadline is None:
            self.deadline = now + self.timeout
        await self.fill()
        gained = len(self._buffer) - before
        self.deadline = min(self.deadline + gained / self.minimum_rate, self._clock.seconds() + self.timeout)

    # ------------------------------------------------------------ writing

    def write(self, octets: bytes) -> None:
        """Queue octets for the peer.  Silently forgotten when it has left."""
        self._out.append(octets)
        self._out_size += len(octets)
        if self._out_size >= JOIN_LIMIT:
            self.flush()

    def flush(self) -> None:
        """Send what was written.  Reading does this by itself."""
        if not self._out:
            return
        octets = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        self._out_size = 0
        if self._closed is None:
            self._send(octets)

    def _send(self, octets: bytes) -> None:
        """Hand octets to the kernel now where nothing waits before them, else to the transport."""
        if self._deflate is not None:
            octets = self._deflate.compress(octets)
        left = sent_at_once(self._transport, octets)
        if left:
            self._transport.write(left)

    async def drain(self) -> None:
        """Wait until the peer has taken enough for more to be written.  Call between batches of a long answer."""
        self.flush()
        if self._closed is not None:
            raise self._closed
        if not self._write_paused:
            return
        self.deadline = self._clock.seconds() + self.timeout
        self._drained = Deferred()
        try:
            await self._drained
        finally:
            self._drained = None
            self.deadline = None

    # ------------------------------------------------------------ the session's other wishes

    async def give_way(self) -> None:
        """
        Let other sessions have their turn, if this one has worked for long.  Long work calls it again and again.

        It also waits for a peer that does not take what was written.
        """
        if self._write_paused:
            await self.drain()
        if self._clock.seconds() - self._turn_began >= TURN:
            turn: Deferred[None] = Deferred()
            self._clock.callLater(0, turn.callback, None)
            await turn
            self._turn_began = self._clock.seconds()
            if self._closed is not None:
                raise self._closed

    @property
    def is_secure(self) -> bool:
        """Whether the connection runs under TLS."""
        return bool(ISSLTransport.providedBy(self._transport))

    @property
    def tls(self) -> Any:
        """The pyOpenSSL connection that the transport runs over, None in the clear and in pretended TLS."""
        return self._transport.getHandle() if self.is_secure else None

    @property
    def tls_version(self) -> str | None:
        """The protocol's name, e.g. ``TLSv1.3``, None in the clear."""
        name = self.tls.get_protocol_version_name() if self.tls is not None else "TLS"
        return str(name) if self.is_secure else None

    def start_tls(self, context_factory: Any) -> None:
        """
        Begin TLS, after what was written has left in the clear; a client then waits for `handshake`.

        Everything that arrived in the clear is discarded: it may be an attacker's (RFC 3207 section 4.2).
        """
        self.flush()
        self._buffer.clear()
        self._skipping = False
        self._transport.startTLS(context_factory)
        if self._reading_paused:
            self._resume_reading()

    @property
    def is_compressed(self) -> bool:
        """Whether what goes over the wire is compressed."""
        return self._deflate is not None

    def start_deflate(self) -> None:
        """Begin compression both ways, after what was written has left without."""
        self.flush()
        self._deflate = Deflate()
        self._deflate.take(self.consume(len(self._buffer)))

    def end_deflate(self) -> bytes:
        """End compression both ways, after what was written has left with it; return the last of what was inflated."""
        self.flush()
        deflate, self._deflate = self._deflate, None
        self._buffer += deflate.leave() if deflate is not None else b""
        return deflate.end if deflate is not None else b""

    def _inflate(self) -> bool:
        """Inflate what the session waits for, as far as the buffer has room; return whether there is any."""
        try:
            return self._deflate is not None and self._deflate.inflate(self._buffer, HIGH_WATER)
        except ValueError:
            self.abort()
            return False

    async def handshake(self) -> None:
        """Wait, as the client, until TLS is up.  Raises `Disconnected` where it cannot be."""
        self.deadline = None
        while not self._handshaken:
            await self.fill()
        self.deadline = None

    def wake(self) -> None:
        """Interrupt the session between two commands; remembered until it is there."""
        if not (self._waiting_idle and self._go_on(Woken())):
            self._woken = True

    def _go_on(self, error: Exception | None = None) -> bool:
        """End the session's wait for the peer; return whether there was one."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.go_on(error)
        return waiter is not None

    def shut_down(self) -> None:
        """Let the session finish its command, and end it when it is between two."""
        self._stopping = True
        if self._waiting_idle:
            self._go_on(ShuttingDown())

    @property
    def is_stopping(self) -> bool:
        """Whether `shut_down` was called: long idle work should end."""
        return self._stopping

    def close(self) -> None:
        """Send what was written, then close.  Reading raises `Disconnected` from now on."""
        self.flush()
        if self._closed is None:
            self._closed = Disconnected()
            self.deadline = self._clock.seconds() + 30.0
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._closed = self._closed or Disconnected()
        self._transport.abortConnection()

    # ------------------------------------------------------------ what the protocol tells us

    def data_received(self, octets: bytes) -> None:
        """Take octets from the transport."""
        if self._closed is not None:
            return
        if self._deflate is None:
            self._buffer += octets
        else:
            self._deflate.take(octets)
            if self._waiter is not None and not (self._inflate() or self._closed):
                return
        if max(len(self._buffer), len(self._deflate or ())) >= HIGH_WATER and not self._reading_paused:
            self._reading_paused = True
            self._transport.pauseProducing()
        self._go_on(self._closed)

    def handshake_completed(self) -> None:
        """Note that TLS is up."""
        self._handshaken = True
        self._go_on()

    def input_ended(self) -> None:
        """Note that the peer sends no more, though it may still listen: what it has sent is answered."""
        self._ended = True
        self._go_on(Disconnected())

    def connection_lost(self) -> None:
        """Note that the peer is gone."""
        self.deadline = None
        reason = Disconnected()
        self._closed = self._closed or reason
        self._go_on(reason)
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained.errback(reason)

    def is_late(self, now: float, patience: float | None = None) -> bool:
        """Whether the deadline has passed; with `patience`, whether it would have with that in place of `timeout`."""
        if self.deadline is None:
            return False
        waived = max(0.0, self.timeout - patience) if patience is not None and self._waiter is not None else 0.0
        return self.deadline - waived <= now

    def expire(self) -> None:
        """Note that the deadline has passed; a closing connection is cut, a stuck writer too."""
        self.deadline = None
        if self._closed is not None or self._drained is not None:
            self.abort()
        else:
            self._go_on(TimedOut())

    def pause_writing(self) -> None:
        """Note that the transport has more than enough to send."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Note that the transport has room again."""
        self._write_paused = False
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)
