"""Doors: who comes before the server is ready waits, but neither for ever nor in any number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.configuration import Listen
from mailfw.service import ports
from mailfw.service.ports import PATIENCE, Door, Ports


class Echo(Protocol):
    """Greets, and says everything again."""

    factory: Any
    transport: Any

    def connectionMade(self) -> None:
        self.factory.peers.append(self.transport.getPeer())
        self.transport.write(b"hello\r\n")

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.lost += 1


class Echoes(Factory):
    protocol = Echo
    noisy = False

    def __init__(self) -> None:
        self.peers: list[Any] = []
        self.lost = 0


class Heard(Protocol):
    """What a client hears."""

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.closed: Deferred[None] = Deferred()
        self._wanted: tuple[bytes, Deferred[None]] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if self._wanted is not None and self._wanted[0] in self.heard:
            (_, done), self._wanted = self._wanted, None
            done.callback(None)

    def until(self, octets: bytes) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._wanted = octets, done
        self.dataReceived(b"")
        return done

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)


class Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class DoorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.door = Door(self.clock)
        self.echoes = Echoes()

    def come(self) -> tuple[Any, Transport]:
        protocol: Any = self.door.buildProtocol(IPv4Address("TCP", "192.0.2.7", 4000))
        self.assertIsNotNone(protocol)
        transport = Transport(peerAddress=IPv4Address("TCP", "192.0.2.7", 4000))
        transport.protocol = protocol  # type: ignore[attr-defined]  # as Twisted's have
        protocol.makeConnection(transport)
        return protocol, transport

    def test_waiting(self) -> None:
        waiting, transport = self.come()
        self.assertEqual((transport.producerState, transport.value()), ("paused", b""))
        self.clock.advance(PATIENCE - 1)
        self.door.open(self.echoes)
        self.assertEqual((transport.producerState, transport.value()), ("producing", b"hello\r\n"))
        self.assertEqual(self.echoes.peers[0].host, "192.0.2.7")
        waiting.dataReceived(b"x")  # a transport that still knows the first protocol
        transport.protocol.dataReceived(b"y")  # type: ignore[attr-defined]
        self.assertEqual(transport.value(), b"hello\r\nxy")
        waiting.connectionLost()
        self.assertEqual(self.echoes.lost, 1)
        self.clock.advance(PATIENCE)
        self.assertFalse(transport.aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_for_ever(self) -> None:
        _, transport = self.come()
        self.clock.advance(PATIENCE)
        self.assertTrue(transport.aborted)
        self.door.open(self.echoes)
        self.assertEqual((self.echoes.peers, self.door.waiting), ([], set()))

    def test_who_has_gone_meanwhile(self) -> None:
        waiting, _ = self.come()
        waiting.connectionLost()
        self.door.open(self.echoes)
        self.assertEqual((self.echoes.peers, self.clock.getDelayedCalls()), ([], []))

    def test_no_more_than_so_many(self) -> None:
        self.patch(ports, "MOST_WAITING", 2)
        first, _ = self.come()
        self.come()
        self.assertIsNone(self.door.buildProtocol(IPv4Address("TCP", "192.0.2.7", 4000)))
        first.connectionLost()
        self.come()

    def test_closing(self) -> None:
        _, transport = self.come()
        self.door.close()
        self.assertTrue(transport.aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.door.buildProtocol(IPv4Address("TCP", "192.0.2.7", 4000)))

    def test_a_service_that_wants_nobody(self) -> None:
        _, transport = self.come()
        self.echoes.buildProtocol = lambda addr: None  # type: ignore[method-assign]
        self.door.open(self.echoes)
        self.assertTrue(transport.aborted)


class WireTests(TestCase):
    """With real sockets; a client may have sent all that it has to say before anybody reads."""

    timeout = 30

    async def client(self, ports: Ports, path: Path) -> list[Heard]:
        smtp = TCP4ClientEndpoint(reactor, "127.0.0.1", ports.listeners[0].port)
        lmtp = UNIXClientEndpoint(reactor, str(path))
        clients = [await connectProtocol(each, Heard()) for each in (smtp, lmtp)]
        for each in clients:
            each.transport.write(b"early\r\n")
        await deferLater(reactor, 0.05)
        self.assertEqual([each.heard for each in clients], [b"", b""])
        self.assertEqual([len(door.waiting) for door in ports.doors.values()], [1, 1])
        return clients

    def bind(self) -> tuple[Ports, Path]:
        path = Path(self.mktemp())
        path = Path("/tmp") / f"mailfw-{path.name}-{id(self)}"  # a socket's path must be short
        ports = Ports()
        self.addCleanup(lambda: Deferred.fromCoroutine(ports.close()))
        ports.bind(Listen(smtp=("tcp:0:interface=127.0.0.1",), lmtp=(f"unix:{path}",), **NOTHING), reactor)
        return ports, path

    async def test_early_clients_are_served(self) -> None:
        ports, path = self.bind()
        clients = await self.client(ports, path)
        echoes = Echoes()
        for door in ports.doors.values():
            door.open(echoes)
        for each in clients:
            await each.until(b"hello\r\nearly\r\n")
            each.transport.write(b"late\r\n")
            await each.until(b"early\r\nlate\r\n")
            each.transport.loseConnection()
            await each.closed
        while echoes.lost < 2:
            await deferLater(reactor, 0.01)

    async def test_stopping_before_it_was_ready(self) -> None:
        ports, path = self.bind()
        clients = await self.client(ports, path)
        await ports.close()
        for each in clients:
            await each.closed
            self.assertEqual(each.heard, b"")


NOTHING: dict[str, Any] = dict.fromkeys(("submission", "submissions", "imap", "imaps", "pop3", "pop3s", "http"), ())
