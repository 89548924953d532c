"""Listening: ports that are open before anything stands behind them, since only root may open some."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from mailfw.configuration import Listen
from mailfw.http.autoconfig import Listener

log = Logger()


class CannotStart(SystemExit):
    """The server cannot start; Python prints the reason and exits."""

    def __init__(self, reason: str) -> None:
        log.critical("{reason}", reason=reason)
        super().__init__(f"mailfw: {reason}")


class DaemonCannotStart(Exception):
    """The same in a daemon: twistd tells exceptions, and no `SystemExit`, to whoever started it."""


class Door(Factory):
    """A factory whose `behind` comes later; before that, and after `close`, nobody is let in."""

    noisy = False

    def __init__(self) -> None:
        self.behind: IProtocolFactory | None = None

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # type: ignore[override]  # Twisted's is private
        """Pass the connection on."""
        return self.behind.buildProtocol(addr) if self.behind is not None else None


class Ports:
    """Every port of the configuration, and the doors behind them, by service."""

    def __init__(self) -> None:
        self.doors: dict[str, Door] = {}
        self._open: list[tuple[str, IListeningPort]] = []

    def bind(self, listen: Listen, reactor: Any) -> None:
        """Open them all.  Raises `CannotStart`; then none stays open."""
        for service, endpoint in listen.endpoints():
            door = self.doors.setdefault(service, Door())
            listening: Deferred[IListeningPort] = serverFromString(reactor, endpoint).listen(door)
            failures: list[Any] = []
            listening.addCallbacks(partial(self._opened, service), failures.append)
            if failures:
                for _, port in self._open:
                    port.stopListening()
                raise CannotStart(f"listen.{service}: {endpoint}: {_reason(failures[0].value)}")

    def _opened(self, service: str, port: IListeningPort) -> None:
        self._open.append((service, port))

    @property
    def listeners(self) -> list[Listener]:
        """What is open, in the order of the configuration."""
        listeners = []
        for service, port in self._open:
            host: Any = port.getHost()
            path = getattr(host, "name", b"")
            where = path.decode("utf-8", "replace") if isinstance(path, bytes) else str(path)
            listeners.append(Listener(service, getattr(host, "host", where), getattr(host, "port", 0)))
        return listeners

    async def close(self) -> None:
        """Stop listening; connections that are there stay."""
        ports, self._open = self._open, []
        for _, port in ports:
            await maybeDeferred(port.stopListening)


def _reason(error: Any) -> str:
    """Return what the system said; Twisted wraps it."""
    inner = getattr(error, "socketError", error)
    return getattr(inner, "strerror", None) or str(inner)
