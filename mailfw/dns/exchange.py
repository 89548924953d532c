"""One question to one server: a datagram from a random port, TCP where the answer does not fit."""

from __future__ import annotations

import secrets
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.protocol import DatagramProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from mailfw.dns.codec import Nonsense, Question, Refused, answers, decode, is_truncated
from mailfw.dns.servers import Server
from mailfw.mail.lookup import Answer

#: Octets of an answer; to read more costs longer than other sessions should wait, and mail needs no such records.
LARGEST = 16_384
#: Ports that other servers do not use (RFC 5452 section 9.2 asks for as many as there are).
_PORTS = range(1024, 65_536)
#: Answers to somebody else's question that are passed over while we wait for ours (RFC 5452 section 9.1).
_MOST_FORGED = 50
#: Seconds to wait when this machine itself could not send.
_PAUSE = 0.1


class NoAnswer(Exception):
    """Nobody answered in time, or nobody is there."""


async def ask(reactor: Any, server: Server, question: Question, patience: float) -> Answer[Any]:
    """Ask one server.  Raises `NoAnswer`, `Nonsense` or `Refused`."""
    try:
        return await _ask(reactor, server, question, patience, edns=True)
    except Refused as refused:
        if str(refused) not in ("FORMERR", "NOTIMP"):
            raise
        # A server from before EDNS (RFC 6891 section 7).
        return await _ask(reactor, server, question, patience, edns=False)


async def _ask(reactor: Any, server: Server, question: Question, patience: float, edns: bool) -> Answer[Any]:
    number = secrets.randbelow(65_536)
    query = question.encode(number, edns)
    octets = await _by_datagram(reactor, server, _Datagrams(query, number, question), patience)
    if is_truncated(octets):
        octets = await _by_stream(reactor, server, _Stream(query), patience)
        if not answers(octets, number, question):
            raise Nonsense("an answer to another question")
    return decode(octets, question, server.trusted)


# ---------------------------------------------------------------- UDP


class _Datagrams(DatagramProtocol):
    """Sends one query and waits for its answer."""

    noisy = False

    def __init__(self, query: bytes, number: int, question: Question) -> None:
        self.query = query
        self.answered: Deferred[bytes] = Deferred()
        self._id = number
        self._question = question
        self._forged = 0

    def datagramReceived(self, octets: bytes, addr: Any) -> None:  # noqa: N802  # Twisted's name
        """Take what answers our question, from whom we asked: the socket is connected."""
        if answers(octets, self._id, self._question):
            self._end(octets)
            return
        self._forged += 1
        if self._forged > _MOST_FORGED:
            self._end(Failure(NoAnswer("too many answers to other questions")))

    def connectionRefused(self) -> None:  # noqa: N802  # Twisted's name
        """Nobody listens there."""
        self._end(Failure(NoAnswer("connection refused")))

    def stopProtocol(self) -> None:  # noqa: N802  # Twisted's name
        """The socket is closed: by ourselves, or as an error on it, which is how epoll tells of a refusal."""
        self._end(Failure(NoAnswer("connection refused")))

    def _end(self, result: bytes | Failure) -> None:
        if not self.answered.called:
            self.answered.callback(result)


async def _by_datagram(reactor: Any, server: Server, protocol: _Datagrams, patience: float) -> bytes:
    try:
        port = _open(reactor, server, protocol)
    except OSError as reason:
        # No descriptor, no route: that may pass, and is never answered at once, however many wait behind us.
        await deferLater(reactor, _PAUSE)
        raise NoAnswer(str(reason)) from reason
    try:
        port.connect(server.host, server.port)
        port.write(protocol.query)
        return await _in_time(reactor, protocol.answered, patience)
    except OSError as reason:
        await deferLater(reactor, _PAUSE)
        raise NoAnswer(str(reason)) from reason
    finally:
        port.stopListening()


def _open(reactor: Any, server: Server, protocol: _Datagrams) -> Any:
    """Open a socket on a port that nobody can guess."""
    interface = "::" if ":" in server.host else "0.0.0.0"  # noqa: S104  # it is connected at once
    for _ in range(5):
        try:
            return reactor.listenUDP(secrets.choice(_PORTS), protocol, interface, LARGEST)
        except CannotListenError:
            continue
    try:
        return reactor.listenUDP(0, protocol, interface, LARGEST)
    except CannotListenError as reason:
        raise OSError(str(reason.socketError)) from reason


# ---------------------------------------------------------------- TCP


class _Stream(Protocol):
    """The same over TCP, with two octets of length (RFC 1035 section 4.2.2)."""

    def __init__(self, query: bytes) -> None:
        self._query = query
        self._received = b""
        self.answered: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        """Ask."""
        assert self.transport is not None
        self.transport.write(len(self._query).to_bytes(2, "big") + self._query)

    def dataReceived(self, data: bytes) -> None:
        """Gather the answer."""
        self._received += data
        length = int.from_bytes(self._received[:2], "big")
        if len(self._received) >= 2 and length > LARGEST:
            self._end(Failure(Nonsense(f"an answer of {length} octets")))
        elif len(self._received) >= 2 + length and len(self._received) >= 2:
            self._end(self._received[2 : 2 + length])

    def connectionLost(self, reason: Any = None) -> None:
        """The server left before it had said everything."""
        self._end(Failure(NoAnswer("connection closed")))

    def _end(self, result: bytes | Failure) -> None:
        if not self.answered.called:
            self.answered.callback(result)


async def _by_stream(reactor: Any, server: Server, protocol: _Stream, patience: float) -> bytes:
    endpoint = TCP6ClientEndpoint if ":" in server.host else TCP4ClientEndpoint
    try:
        await connectProtocol(endpoint(reactor, server.host, server.port, timeout=int(patience) or 1), protocol)
    except (ConnectError, OSError) as reason:
        raise NoAnswer(str(reason)) from reason
    try:
        return await _in_time(reactor, protocol.answered, patience)
    finally:
        assert protocol.transport is not None
        protocol.transport.abortConnection()  # type: ignore[attr-defined]  # ITransport lacks what every TCP one has


async def _in_time(reactor: Any, answered: Deferred[bytes], patience: float) -> bytes:
    timer = reactor.callLater(patience, answered.cancel)
    try:
        return await answered
    except CancelledError:
        raise NoAnswer("no answer in time")
    finally:
        if timer.active():
            timer.cancel()
