"""Connections by way of a proxy: whose they are, in the clear and under TLS, and who is not believed."""

from __future__ import annotations

import socket
import ssl
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.network import Networks
from mailfw.testing.dialogue import PretendTransport
from mailfw.wire.limits import ConnectionLimits
from mailfw.wire.protocol import SessionFactory
from mailfw.wire.proxied import PATIENCE, ProxiedFactory
from mailfw.wire.stream import Stream
from tests.smtp.test_tls import self_signed

HEADER = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 25\r\n"
PROXIES = Networks(["192.0.2.0/24"])


async def tell(stream: Stream) -> None:
    """Say who the client is, then each line back."""
    stream.write(f"{stream.peer[0]} {stream.peer[1]}\r\n".encode())
    while True:
        stream.write(await stream.read_line(100) + b"\r\n")


class ProxiedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.factory = SessionFactory(tell, self.clock, b"busy\r\n", ConnectionLimits(per_address=1))
        self.proxied = ProxiedFactory(self.factory, PROXIES, self.clock)

    def connect(self, address: str = "192.0.2.7") -> tuple[Any, PretendTransport]:
        protocol: Any = self.proxied.buildProtocol(IPv4Address("TCP", address, 40000))
        transport = PretendTransport(address)
        protocol.makeConnection(transport)
        return protocol, transport

    def test_whose_it_is(self) -> None:
        for cut in (0, 1, 20, len(HEADER), len(HEADER) + 1):
            protocol, transport = self.connect()
            wire = HEADER + b"hello\r\n"
            protocol.dataReceived(wire[:cut])
            protocol.dataReceived(wire[cut:])
            self.assertEqual(transport.value(), b"203.0.113.9 4711\r\nhello\r\n")
            protocol.connectionLost(None)
            self.assertEqual(self.factory.connections, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_counts_as_the_clients(self) -> None:
        self.connect()[0].dataReceived(HEADER)
        protocol, transport = self.connect()
        protocol.dataReceived(HEADER)
        self.assertEqual(transport.value(), b"busy\r\n")

    def test_the_proxy_itself(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(b"PROXY UNKNOWN\r\n")
        self.assertEqual(transport.value(), b"192.0.2.7 40000\r\n")

    def test_no_header(self) -> None:
        for octets in (b"EHLO a\r\n", b"PROXY TCP4 x\r\n", b"\x16\x03\x01"):
            protocol, transport = self.connect()
            protocol.dataReceived(octets)
            self.assertTrue(transport.aborted)
            self.assertEqual(transport.value(), b"")
            protocol.connectionLost(None)

    def test_in_time(self) -> None:
        late, transport = self.connect()
        late.dataReceived(HEADER[:10])
        self.clock.advance(PATIENCE - 0.1)
        self.assertFalse(transport.aborted)
        self.clock.advance(0.2)
        self.assertTrue(transport.aborted)
        self.assertEqual(self.factory.connections, 0)

    def test_whoever_else_says_it(self) -> None:
        """A stranger's header is only a strange line, and an address that he makes up is not believed."""
        for address in ("198.51.100.7", ""):
            protocol, transport = self.connect(address)
            protocol.dataReceived(HEADER)
            self.assertEqual(transport.value(), f"{address} 40000\r\n".encode() + HEADER)

    def test_nobody_there(self) -> None:
        class Closed:
            def buildProtocol(self, addr: object) -> None:
                return None

        protocol: Any = ProxiedFactory(Closed(), PROXIES, self.clock).buildProtocol(IPv4Address("TCP", "192.0.2.7", 1))  # type: ignore[arg-type]  # a factory's beginning
        transport = PretendTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(HEADER)
        self.assertTrue(transport.aborted)


class SocketTests(TestCase):
    """The same over a real socket, where the transport speaks with the protocol behind from then on."""

    timeout = 30

    def setUp(self) -> None:
        pem = self_signed()
        folder = Path(tempfile.mkdtemp(dir="."))
        (folder / "certificate.pem").write_text(pem)
        self.trust = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
        self.options = PrivateCertificate.loadPEM(pem).options()
        self.factory = SessionFactory(tell, reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.factory.shut_down()))

    def listen(self, behind: Any) -> int:
        listener: Any = reactor
        factory = ProxiedFactory(behind, Networks(["127.0.0.1"]), reactor)
        port = listener.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def test_plain(self) -> None:
        port = self.listen(self.factory)

        def talk() -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(HEADER + b"a\r\n")
                heard = b""
                while heard.count(b"\r\n") < 2:
                    heard += client.recv(1000)
                client.sendall(b"b\r\n")
                return heard + client.recv(1000)

        self.assertEqual(await deferToThread(talk), b"203.0.113.9 4711\r\na\r\nb\r\n")

    async def test_before_the_handshake(self) -> None:
        port = self.listen(TLSMemoryBIOFactory(self.options, False, self.factory))

        def talk() -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(HEADER)
                with self.trust.wrap_socket(client, server_hostname="localhost") as secure:
                    heard = secure.recv(1000)
                    secure.sendall(b"hello\r\n")
                    return heard + secure.recv(1000)

        self.assertEqual(await deferToThread(talk), b"203.0.113.9 4711\r\nhello\r\n")
