"""Connecting to others: `Dialer` makes a `Stream` of an address."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IAddress, IHandshakeListener
from twisted.internet.protocol import ClientFactory
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from mailfw.wire.protocol import SWEEP_INTERVAL, StreamProtocol
from mailfw.wire.stream import Stream


class NotConnected(Exception):
    """Nobody could be reached at the address; the text says why."""


@implementer(IHandshakeListener)
class ClientProtocol(StreamProtocol):
    """The same as a server's, which also learns when a TLS handshake is over."""

    def handshakeCompleted(self) -> None:  # noqa: N802  # Twisted's name
        """Pass on that TLS is up."""
        self.stream.handshake_completed()


class Dialer:
    """
    Connects to addresses, and looks after the deadlines of the streams.

    `reactor` provides `IReactorTCP`, `IReactorUNIX` and `IReactorTime`.  Whoever dials closes the stream.
    """

    def __init__(self, reactor: Any) -> None:
        self.clock = reactor
        self._connected: set[StreamProtocol] = set()
        self._sweep = LoopingCall(self._expire)
        self._sweep.clock = reactor

    async def dial(self, address: str, port: int, patience: float) -> Stream:
        """Connect to an IP address, or to the UNIX socket of a path, within seconds.  Raises `NotConnected`."""
        factory = _Dialling(self)
        try:
            if address.startswith("/"):
                self.clock.connectUNIX(address, factory, patience)
            else:
                self.clock.connectTCP(address, port, factory, patience)
            stream: Stream = await factory.connected
        except ConnectError as reason:
            raise NotConnected(_words(reason)) from reason
        except (OSError, ValueError) as reason:  # an address of a family that this machine does not have
            raise NotConnected(str(reason)) from reason
        return stream

    def begin(self, protocol: StreamProtocol) -> None:
        """Note a connection that was just made; its factory calls this."""
        self._connected.add(protocol)
        if not self._sweep.running:
            self._sweep.start(SWEEP_INTERVAL, now=False)

    def lost(self, protocol: StreamProtocol) -> None:
        """Forget a connection."""
        self._connected.discard(protocol)
        if not self._connected and self._sweep.running:
            self._sweep.stop()

    def _expire(self) -> None:
        now = self.clock.seconds()
        for protocol in list(self._connected):
            deadline = protocol.stream.deadline
            if deadline is not None and deadline <= now:
                protocol.stream.expire()

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._connected)


class _Dialling(ClientFactory):
    """Makes one connection."""

    noisy = False

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self.clock = dialer.clock
        self.connected: Deferred[Stream] = Deferred()

    def buildProtocol(self, addr: IAddress | None) -> ClientProtocol:  # type: ignore[override]  # Twisted's is private
        """Make the protocol of the connection."""
        protocol = ClientProtocol()
        protocol.factory = self
        return protocol

    def begin(self, protocol: StreamProtocol) -> None:
        """Hand over the stream."""
        self._dialer.begin(protocol)
        self.connected.callback(protocol.stream)

    def lost(self, protocol: StreamProtocol) -> None:
        """Forget the connection."""
        self._dialer.lost(protocol)

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        """Pass on that there was nobody."""
        self.connected.errback(reason)


def _words(reason: ConnectError) -> str:
    """Return what the operating system says, without Twisted's advice around it."""
    plain = reason.args[1] if len(reason.args) > 1 else reason.args[0] if reason.args else ""
    return str(plain) or {"TimeoutError": "Connection timed out"}.get(type(reason).__name__, type(reason).__name__)
