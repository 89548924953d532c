"""
Which worker takes the next connection.

All listen to the same sockets, and the system wakes whom it likes, mostly the same; so whoever has clearly more
connections than the others leaves the next ones to them.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any

from mailfw.cluster.counters import Counters
from mailfw.wire.listening import Listening, ListeningSocket

#: Seconds for which a worker that has more than others waits for them, if nothing is heard of them.
PATIENCE = 1.0


class OneATime(ListeningSocket):
    """A listening socket that gives one connection, and then says that there is no other: it is asked again soon."""

    has_given = False

    def accept(self) -> tuple[socket.socket, Any]:
        """Return a connection, or raise `BlockingIOError`."""
        self.has_given = not self.has_given
        if not self.has_given:
            raise BlockingIOError(errno.EAGAIN, "another worker's turn")
        try:
            return super().accept()
        except OSError:
            self.has_given = False
            raise


class Admission:
    """
    Has `ports` listen while it is this worker's turn.

    `others` is how many other workers there are.  Where they do not come though it is their turn, they are not waited
    for until something is heard of them.
    """

    def __init__(self, ports: Sequence[Any], counters: Counters, others: int, clock: Any) -> None:
        self._counters = counters
        self._others = others
        self._clock = clock
        self._waiting: Any = None
        self._in_vain = False
        self._is_over = False
        counters.arrived, counters.heard = self._arrived, self._heard
        kind = OneATime if others else ListeningSocket
        self._ports = [Listening(port, clock, kind) for port in ports]

    def _arrived(self) -> None:
        if self._waiting is None and not self._in_vain and not self._is_over and self._has_more():
            self._listen(False)
            self._waiting = self._clock.callLater(PATIENCE, self._tire)

    def _has_more(self) -> bool:
        return self._counters.has_more_than_others(self._others)

    def _heard(self) -> None:
        self._in_vain = False
        if self._waiting is not None and not self._has_more():
            self._waiting.cancel()
            self._go_on()

    def _tire(self) -> None:
        self._in_vain = True
        self._go_on()

    def _go_on(self) -> None:
        self._waiting = None
        if not self._is_over:
            self._listen(True)

    def _listen(self, listens: bool) -> None:
        for port in self._ports:
            port.want(listens)

    def stop(self) -> None:
        """Take no more; the sockets themselves, and the names of those that have one, are the keeper's."""
        self._is_over = True
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        for port in self._ports:
            port.end()
