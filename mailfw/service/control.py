"""
The socket by which the console commands reach a running server.

A request is one line of JSON, behind it the message that it may bring; the answer is a line for each result and one
with ``end``.  Who may open the socket, its owner alone, may ask anything.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from mailfw.commands.language import REQUEST_LIMIT, SOCKET
from mailfw.service.answers import Answers
from mailfw.service.private_socket import PrivateSocket
from mailfw.wire.interruptions import Disconnected, LineTooLong, ShuttingDown, TimedOut
from mailfw.wire.limits import ConnectionLimits
from mailfw.wire.protocol import SessionFactory
from mailfw.wire.stream import Stream

log = Logger()

#: Seconds of patience with a command that says nothing.
_PATIENCE = 60.0
#: Commands at one time.
_AT_ONCE = 100


class Control:
    """Listens while the server runs; `listen` once the queue can be worked on, `close` before it cannot."""

    def __init__(self, *, data: Path, reactor: Any, answers: Answers) -> None:
        self._socket = PrivateSocket(data / SOCKET, reactor)
        self._answers = answers
        busy = _encode({"refused": "the server is busy with other commands, or stops", "temporary": True})
        self._factory = SessionFactory(self._session, reactor, busy, ConnectionLimits(_AT_ONCE))

    def listen(self) -> None:
        """Open the socket; one that a killed server has left is replaced.  Raises `CannotStart`."""
        self._socket.listen(self._factory)

    async def close(self) -> None:
        """Take no more requests, and finish those under way."""
        if await self._socket.close():
            await self._factory.shut_down()

    async def _session(self, stream: Stream) -> None:
        stream.timeout = _PATIENCE
        try:
            request = json.loads(await stream.read_line(REQUEST_LIMIT, idle=True))
        except (ValueError, RecursionError):
            stream.write(_encode({"refused": "this is no request of a mailfw command"}))
            return
        except LineTooLong:
            stream.write(_encode({"refused": f"a request may have {REQUEST_LIMIT} octets"}))
            await _hear_out(stream)
            return
        except (TimedOut, ShuttingDown):
            return
        try:
            async for line in self._answers.answer(request, stream):
                stream.write(_encode(line))
                await stream.drain()
        except (Disconnected, TimedOut):
            return
        except Exception:
            log.failure("A command could not be done")
            stream.write(_encode({"refused": "a fault of the server: see its log", "temporary": True}))
        stream.write(_encode({"end": True}))


async def _hear_out(stream: Stream) -> None:
    """Read on to the end of what is too long: to close before would take back the answer."""
    with contextlib.suppress(TimedOut, ShuttingDown, Disconnected):
        await stream.read_line(REQUEST_LIMIT, idle=True)


def _encode(line: object) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\r\n"
