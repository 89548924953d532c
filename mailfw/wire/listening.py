"""
Listening sockets.

A connection for which the process has no descriptor is announced again at once, for as long as it waits: nobody asks
for it until some time has passed, so that the little that is still possible is not done beside a reactor that spins.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import unix
from twisted.logger import Logger

log = Logger()

#: Seconds for which nobody asks for connections when there was no descriptor for one.
PAUSE = 1.0

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ListeningSocket(socket.socket):
    """A socket that tells `on_shortage` when it has been asked twice for a connection that there is no room for."""

    on_shortage: Callable[[], None]
    _is_short = False

    def accept(self) -> tuple[socket.socket, Any]:
        """Return a connection.  Raises `BlockingIOError` where there is none, or no room once more."""
        try:
            accepted = super().accept()
        except OSError as reason:
            # The first time Twisted takes a descriptor that it keeps for this, and closes the connection.
            was_short, self._is_short = self._is_short, reason.errno in _SHORTAGES
            if was_short and self._is_short:
                self.on_shortage()
                raise BlockingIOError(errno.EAGAIN, "connections must wait") from reason
            raise
        self._is_short = False
        return accepted


class Listening:
    """
    Has a port listen while that is wanted, but not while the process is short of descriptors.

    `port` is Twisted's; it gets a socket of `kind`.
    """

    def __init__(self, port: Any, clock: Any, kind: type[ListeningSocket] = ListeningSocket) -> None:
        self._port = port
        self._clock = clock
        self._wanted = True
        self._pause: Any = None
        port.socket = kind(port.socket.family, port.socket.type, fileno=port.socket.detach())
        port.socket.setblocking(False)
        port.socket.on_shortage = self._rest
        port.fileno = port.socket.fileno  # which it has kept of the one before

    def want(self, wanted: bool) -> None:
        """Listen, or do not: who knocks meanwhile waits."""
        self._wanted = wanted
        if not wanted:
            self._port.stopReading()
        elif self._pause is None:
            self._port.startReading()

    def end(self) -> None:
        """Listen no more."""
        self.want(False)
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _rest(self) -> None:
        if self._pause is None:
            log.warn("there is no descriptor left: new connections must wait")  # noqa: G010 -- of Twisted
            self._port.stopReading()
            self._pause = self._clock.callLater(PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if self._wanted:
            self._port.startReading()


def adopt(reactor: Any, descriptor: int, family: int, backlog: int, factory: Any) -> Any:
    """Return a port that listens on a duplicate of a socket, and leaves all else about it as whoever made it did."""
    if family != socket.AF_UNIX:
        port = reactor.adoptStreamPort(descriptor, family, factory)
    else:
        # Twisted's would change the mode of the file, which may be root's and is as configured, and remove it in the
        # end; it does neither with names that are not in the file system.
        port = unix.Port._fromListeningDescriptor(reactor, descriptor, factory)
        port._bindPath = b"\0shared"
        port.startListening()
    port.socket.listen(backlog)
    return port
