"""The one `IProtocol` of mailfw: it feeds a `Stream` and runs a session on it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from typing import Protocol as Structure

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from mailfw.wire.interruptions import Disconnected
from mailfw.wire.limits import ConnectionCount, ConnectionLimits
from mailfw.wire.running import Run
from mailfw.wire.stream import Stream

log = Logger()

#: Seconds between two looks at the deadlines of all connections.
SWEEP_INTERVAL = 1.0
#: Seconds that sessions get to finish their command when the server stops.
GRACE = 30.0
#: Seconds that they get to end when their connections have been cut.
LEFT_BEHIND = 5.0

#: Runs one session to its end; the stream is closed for it afterwards.
Session = Callable[[Stream], Coroutine[Any, Any, None]]


class Keeper(Structure):
    """Who made a protocol, and hears of its connection."""

    clock: Any

    def begin(self, protocol: StreamProtocol) -> None:
        """Note a connection that was just made."""

    def lost(self, protocol: StreamProtocol) -> None:
        """Forget it."""


@implementer(IPushProducer, IHalfCloseableProtocol)
class StreamProtocol(Protocol):
    """Connects one transport to one `Stream`."""

    factory: Keeper
    stream: Stream

    def __init__(self) -> None:
        self.address = ""

    def connectionMade(self) -> None:
        """Begin the session."""
        transport: Any = self.transport
        set_no_delay = getattr(transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)  # replies are joined by the stream; Nagle would only hold them back
        self.stream = Stream(transport, self.factory.clock)
        self.address = self.stream.peer[0]
        transport.registerProducer(self, True)
        self.factory.begin(self)

    def dataReceived(self, data: bytes) -> None:
        """Pass on what came."""
        self.stream.data_received(data)

    def readConnectionLost(self) -> None:
        """Pass on that the peer sends no more; it may still wait for our answers."""
        self.stream.input_ended()

    def writeConnectionLost(self) -> None:
        """Have the transport say that our side is closed; `connectionLost` follows."""

    def connectionLost(self, reason: Any = None) -> None:
        """Pass on that the peer is gone."""
        self.stream.connection_lost()
        self.stream.moved = _is_gone  # which held us
        self.factory.lost(self)

    def pauseProducing(self) -> None:
        """Have the transport ask us not to write."""
        self.stream.pause_writing()

    def resumeProducing(self) -> None:
        """Have the transport ask us to write again."""
        self.stream.resume_writing()

    def stopProducing(self) -> None:
        """Have the transport say that nobody reads any more; `connectionLost` follows."""


def _is_gone(address: str) -> bool:
    return False


class SessionFactory(Factory):
    """
    Makes a session of each connection, within the limits, and ends them all in order.

    `busy` is what a connection beyond the limits hears before it is closed.
    """

    noisy = False

    def __init__(
        self,
        session: Session,
        clock: Any,
        busy: bytes = b"",
        limits: ConnectionLimits | None = None,
    ) -> None:
        self._session = session
        self.clock = clock
        self._busy = busy
        self._limits = limits or ConnectionLimits()
        self._count = ConnectionCount(self._limits, clock.seconds)
        self._running: dict[StreamProtocol, Run] = {}
        self._connected: set[StreamProtocol] = set()
        #: Beyond the limits, and being closed: they have no session, but a deadline.
        self._refused: set[StreamProtocol] = set()
        self._sweep = LoopingCall(self._expire)
        self._sweep.clock = clock
        self._stopped: Deferred[None] | None = None
        self._overdue: Any = None

    def buildProtocol(self, addr: IAddress | None) -> StreamProtocol:  # type: ignore[override]  # Twisted's is private
        """Make the protocol of a new connection."""
        protocol = StreamProtocol()
        protocol.factory = self
        return protocol

    def begin(self, protocol: StreamProtocol) -> None:
        """Start a session on a connection that was just made."""
        if not self._sweep.running:
            self._sweep.start(SWEEP_INTERVAL, now=False)
        if self._stopped is not None or not self._count.admit(protocol.address):
            self._refused.add(protocol)
            protocol.stream.write(self._busy)
            protocol.stream.close()
            return
        protocol.stream.moved = partial(self.moved, protocol)
        self._connected.add(protocol)
        self._running[protocol] = run = Run(self._run(protocol), self._stop_if_last)
        run.go_on()

    def moved(self, protocol: StreamProtocol, address: str) -> bool:
        """Count a connection for whom a trusted peer has it; where that is one too many, the session has to end it."""
        if protocol not in self._connected:
            return False
        self._count.release(protocol.address)
        protocol.address = address
        if not self._count.admit(address):
            self._connected.discard(protocol)
            self._refused.add(protocol)
            return False
        return True

    async def _run(self, protocol: StreamProtocol) -> None:
        stream = protocol.stream
        try:
            await self._session(stream)
        except Disconnected:
            pass
        except Exception:
            log.failure("A session ended by a fault of ours")
        stream.close()
        del self._running[protocol]

    def _stop_if_last(self) -> None:
        if self._stopped is not None and not self._running and not self._stopped.called:
            self._stopped.callback(None)

    def lost(self, protocol: StreamProtocol) -> None:
        """Forget a connection."""
        if protocol in self._connected:
            self._connected.discard(protocol)
            self._count.release(protocol.address)
        self._refused.discard(protocol)
        if not self._connected and not self._refused and self._sweep.running:
            self._sweep.stop()

    def _expire(self) -> None:
        now, patience = self.clock.seconds(), self._limits.stress_timeout if self._count.is_stressed else None
        for protocol in [*self._connected, *self._refused]:
            stream = protocol.stream
            if stream.is_late(now, patience):
                stream.expire()
            elif stream.attend is not None:
                stream.attend(now)

    async def shut_down(self) -> None:
        """Tell every session that we stop, and wait until each has finished its command.  Call it once."""
        self._stopped = Deferred()
        for protocol in list(self._running):
            protocol.stream.shut_down()
        if not self._running and not self._stopped.called:
            self._stopped.callback(None)
        self._overdue = self.clock.callLater(GRACE, self._abort_all)
        await self._stopped
        if self._overdue.active():
            self._overdue.cancel()

    def _abort_all(self) -> None:
        for protocol in list(self._running):
            protocol.stream.abort()
        self._overdue = self.clock.callLater(LEFT_BEHIND, self._leave_behind)

    def _leave_behind(self) -> None:
        """Wait no longer for sessions that do not even end without a connection: a plug-in does not answer them."""
        if self._stopped is not None and not self._stopped.called:
            log.error("{count} sessions are left behind", count=len(self._running))
            self._stopped.callback(None)

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._connected)
