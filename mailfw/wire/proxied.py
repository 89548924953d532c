"""Connections that come by way of a proxy, which tells whose they are before anything else is said, TLS included."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from mailfw.network import Networks
from mailfw.wire.proxy import ProxyHeader, ProxyRefused, parse_proxy

log = Logger()

#: Seconds in which the header must be here; proxies send it with the connection (section 2 asks for 3 at least).
PATIENCE = 5.0


class ProxiedFactory(Factory):
    """
    Stands before a factory: clients in `proxies` must begin with a PROXY header, others are let through as they are.

    What another client says is never taken for a header, and means nothing to any protocol behind this.
    """

    noisy = False

    def __init__(self, behind: IProtocolFactory, proxies: Networks, clock: Any) -> None:
        self.behind = behind
        self.clock = clock
        self._proxies = proxies

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # type: ignore[override]  # Twisted's is private
        """Make the protocol of a new connection."""
        if not self._proxies.have(getattr(addr, "host", "") or ""):
            return self.behind.buildProtocol(addr)
        protocol: IProtocol = ProxiedProtocol(self)
        return protocol


class ProxiedProtocol(Protocol):
    """Reads the header, then has the connection speak with the protocol that it is for."""

    def __init__(self, factory: ProxiedFactory) -> None:
        self._factory = factory
        self._received = b""
        self._behind: Any = None
        self._late: Any = None

    def connectionMade(self) -> None:
        """Wait for the header."""
        self._late = self._factory.clock.callLater(PATIENCE, self._refuse, "No header in time")

    def dataReceived(self, data: bytes) -> None:
        """Read the header, and pass on what is behind it."""
        if self._behind is not None:
            self._behind.dataReceived(data)
            return
        self._received += data
        try:
            header = parse_proxy(self._received)
        except ProxyRefused as reason:
            self._refuse(str(reason))
            return
        if header is not None:
            self._pass_on(header)

    def _pass_on(self, header: ProxyHeader) -> None:
        rest, self._received = self._received[header.length :], b""
        transport: Any = self.transport
        self._late.cancel()
        if header.source is not None:
            kind = IPv6Address if ":" in header.source[0] else IPv4Address
            peer = kind("TCP", *header.source)
            transport.getPeer = lambda: peer  # for whoever asks from now on: the session, and TLS around it
        self._behind = self._factory.behind.buildProtocol(transport.getPeer())
        if self._behind is None:
            transport.abortConnection()
            return
        # From here on the transport knows nobody but the protocol behind us; its octets make no detour.
        transport.protocol = self._behind
        self._behind.makeConnection(transport)
        if rest:
            self._behind.dataReceived(rest)

    def _refuse(self, reason: str) -> None:
        transport: Any = self.transport
        log.info("A proxy at {address} was cut off: {reason}", address=transport.getPeer().host, reason=reason)
        transport.abortConnection()

    def connectionLost(self, reason: Any = None) -> None:
        """Forget the connection."""
        if self._late is not None and self._late.active():
            self._late.cancel()
        if self._behind is not None:
            self._behind.connectionLost(reason)
