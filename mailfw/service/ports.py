"""Listening: ports that are open before anything stands behind them, since only root may open some."""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections.abc import Collection
from functools import partial
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailfw.cluster.workers import SharedPort
from mailfw.configuration import Listen
from mailfw.http.autoconfig import Listener
from mailfw.options import LEFT_OPEN, left_open
from mailfw.wire.listening import Listening, adopt

log = Logger()


class CannotStart(SystemExit):
    """The server cannot start; Python prints the reason and exits."""

    def __init__(self, reason: str) -> None:
        log.critical("{reason}", reason=reason)
        super().__init__(f"mailfw: {reason}")


class DaemonCannotStart(Exception):
    """The same in a daemon: twistd tells exceptions, and no `SystemExit`, to whoever started it."""


#: Seconds that a client may wait for a server that is starting, and how many may: a client's own patience is longer
#: (RFC 5321 section 4.5.3.2.1: five minutes for the greeting), but whoever waits keeps a descriptor.
PATIENCE = 60.0
MOST_WAITING = 1000
#: Connections that the system keeps until we take them, where the endpoint does not say so itself (Twisted: 50): who
#: finds no room there knocks again after a second, then after three (Linux has no more than net.core.somaxconn).
BACKLOG = 1024


class Door(Factory):
    """A factory whose `behind` comes later: until then clients wait, unheard; after `close` nobody is let in."""

    noisy = False

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.behind: IProtocolFactory | None = None
        self.waiting: set[WaitingProtocol] = set()
        self._closed = False

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # type: ignore[override]  # Twisted's is private
        """Pass the connection on, now or later."""
        if self.behind is not None:
            return self.behind.buildProtocol(addr)
        if self._closed or len(self.waiting) >= MOST_WAITING:
            return None
        return WaitingProtocol(self)

    def open(self, behind: IProtocolFactory) -> None:
        """Let everybody in."""
        self.behind = behind
        for each in list(self.waiting):
            each.pass_on(behind)

    def close(self) -> None:
        """Turn away who still waits, and whoever comes."""
        self._closed, self.behind = True, None
        for each in list(self.waiting):
            each.turn_away()


class WaitingProtocol(Protocol):
    """A connection that nobody speaks on yet, nor reads."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._behind: Any = None
        self._late: Any = None

    def connectionMade(self) -> None:
        """Wait, but not for ever."""
        transport: Any = self.transport
        transport.pauseProducing()
        self._door.waiting.add(self)
        self._late = self._door.clock.callLater(PATIENCE, self.turn_away)

    def _go(self) -> None:
        self._door.waiting.discard(self)
        if self._late.active():
            self._late.cancel()

    def pass_on(self, behind: IProtocolFactory) -> None:
        """Have the connection speak with the protocol that it is for."""
        self._go()
        transport: Any = self.transport
        self._behind = behind.buildProtocol(transport.getPeer())
        if self._behind is None:
            transport.abortConnection()
            return
        # From here on a socket's transport knows nobody but the protocol behind us; others pass by here.
        transport.protocol = self._behind
        transport.resumeProducing()
        self._behind.makeConnection(transport)

    def turn_away(self) -> None:
        """Close the connection."""
        self._go()
        transport: Any = self.transport
        transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Pass octets on."""
        if self._behind is not None:
            self._behind.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        self._go()
        if self._behind is not None:
            self._behind.connectionLost(reason)


class Opened(NamedTuple):
    """A port that is open, and what has it listen, where it has a socket."""

    service: str
    endpoint: str
    port: Any
    listening: Listening | None


class Ports:
    """Every port of the configuration, and the doors behind them, by service."""

    def __init__(self) -> None:
        self.doors: dict[str, Door] = {}
        self._open: list[Opened] = []
        self._left: list[IListeningPort] = []

    def bind(self, listen: Listen, reactor: Any) -> None:
        """Open them all.  Raises `CannotStart`; then none stays open."""
        inherited = left_open()
        os.environ.pop(LEFT_OPEN, None)
        for service, endpoint in listen.endpoints():
            door = self.doors.setdefault(service, Door(reactor))
            left = inherited.get(endpoint)
            listening = _adopt(reactor, *left.pop(0), door) if left else _listen(reactor, endpoint, door)
            failures: list[Any] = []
            listening.addCallbacks(partial(self._opened, reactor, service, endpoint), failures.append)
            if failures:
                for opened in self._open:
                    opened.port.stopListening()
                raise CannotStart(f"listen.{service}: {endpoint}: {_reason(failures[0].value)}")
        for descriptor, _ in itertools.chain.from_iterable(inherited.values()):
            os.close(descriptor)  # the configuration names it no more

    def _opened(self, clock: Any, service: str, endpoint: str, port: Any) -> None:
        has_socket = getattr(port, "socket", None) is not None
        self._open.append(Opened(service, endpoint, port, Listening(port, clock) if has_socket else None))
        if has_socket and not _says_backlog(endpoint):
            port.socket.listen(BACKLOG)

    def share(self, own: Collection[str]) -> list[SharedPort]:
        """
        Leave all services but `own` to other processes: accept no connection here, and return the sockets.

        Raises `CannotStart` for an endpoint that does more than listen.
        """
        shared = []
        for service, endpoint, port, listening in self._open:
            if service in own:
                continue
            if listening is None or not isinstance(getattr(port, "factory", None), Door):
                raise CannotStart(f"listen.{service}: such an endpoint cannot be shared by workers; use --workers 0")
            listening.end()
            backlog = port.backlog if _says_backlog(endpoint) else BACKLOG
            shared.append(SharedPort(service, port.socket.fileno(), port.socket.family, backlog))
        return shared

    def hand_on(self) -> None:
        """
        Leave what listens open for the program that takes our place.

        It binds names of its own anew: others may be where it looks for them.
        """
        left: dict[str, list[tuple[int, int]]] = {}
        for opened in list(self._open):
            _, endpoint, port, listening = opened
            if listening is not None and (port.socket.family != socket.AF_UNIX or _is_given(endpoint)):
                self._open.remove(opened)
                self._left.append(port)  # to be closed by nobody: that would end it for whoever shares it
                listening.end()
                os.set_inheritable(port.socket.fileno(), True)
                left.setdefault(endpoint, []).append((port.socket.fileno(), int(port.socket.family)))
        os.environ[LEFT_OPEN] = json.dumps(left)

    @property
    def listeners(self) -> list[Listener]:
        """What is open, in the order of the configuration."""
        listeners = []
        for service, _, port, _ in self._open:
            host: Any = port.getHost()
            path = getattr(host, "name", b"")
            where = path.decode("utf-8", "replace") if isinstance(path, bytes) else str(path)
            listeners.append(Listener(service, getattr(host, "host", where), getattr(host, "port", 0)))
        return listeners

    async def close(self) -> None:
        """Stop listening; connections that are there stay, but for those that nobody has answered yet."""
        for door in self.doors.values():
            door.close()
        ports, self._open = self._open, []
        for _, _, port, listening in ports:
            if listening is not None:
                listening.end()
            await maybeDeferred(port.stopListening)


def _says_backlog(endpoint: str) -> bool:
    return ":backlog=" in endpoint


def _is_given(endpoint: str) -> bool:
    return endpoint.startswith("systemd:")


def _listen(reactor: Any, endpoint: str, door: Door) -> Deferred[IListeningPort]:
    try:
        found = serverFromString(reactor, endpoint)
    except Exception:  # a parser raises whatever its arguments make it raise
        return fail()
    if isinstance(found, AdoptedStreamServerEndpoint):
        return _adopt(reactor, found.fileno, found.addressFamily, door)
    listening: Deferred[IListeningPort] = found.listen(door)
    return listening


def _adopt(reactor: Any, descriptor: int, family: int, door: Door) -> Deferred[IListeningPort]:
    """Listen on a socket that somebody else has made, whose name and mode stay as they are."""
    try:
        os.set_blocking(descriptor, False)
        port = adopt(reactor, descriptor, family, BACKLOG, door)
        os.close(descriptor)
    except Exception:  # whatever Twisted makes of a socket that is none, or of another family
        return fail()
    return succeed(port)


def _reason(error: Any) -> str:
    """Return what the system said; Twisted wraps it."""
    inner = getattr(error, "socketError", error)
    return getattr(inner, "strerror", None) or str(inner)
