"""
Asking: the running server by its socket, or else the queue itself, which no server holds then.

What a server is made of is imported only in the second case: whoever sends mail from a script should not wait for it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pwd
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mailfw.commands.language import LOCK, SOCKET, VERSION, reachable
from mailfw.commands.refusal import CommandRefused
from mailfw.commands.words import safe
from mailfw.configuration import Configuration, Source
from mailfw.configuration.reading import configure

Line = dict[str, Any]
#: Seconds that a command waits for a server that is starting: it has its queue to look through.
_STARTING = 20.0
#: Octets that are sent at once.
_CHUNK = 64 * 1024


class TryLater(CommandRefused):
    """It could not be done now."""


def caller() -> str:
    """Return who types the command, for the history of what it does."""
    return str(os.getuid())


def configuration_of(given: argparse.Namespace) -> Configuration:
    """Read the configuration, without looking for the plug-ins that it names.  Raises `ConfigurationRefused`."""
    return configure(Source.read(given.config, given.settings))


def ask(
    given: argparse.Namespace, request: Mapping[str, Any], tell: Callable[[Line], None], body: BinaryIO | None = None
) -> None:
    """
    Have a request answered, and `tell` each line of the answer; `body` is a file of ``request["size"]`` octets.

    Raises `CommandRefused` for an answer that is a refusal of the whole, `TryLater` for one that need not last.
    """
    data = configuration_of(given).data
    written = {"mailfw": VERSION, "by": caller(), **request}
    connection = _connect(data) or _wait_for_server(data)
    if connection is None:
        if _ask_offline(given, written, tell, body):
            return
        connection = _wait_for_server(data)  # it has been started meanwhile
    if connection is None:
        raise TryLater(f"{data} is in use by another mailfw")
    with connection:
        for line in _exchange(connection, written, body):
            _pass_on(line, tell)


def _pass_on(line: Line, tell: Callable[[Line], None]) -> None:
    """Tell a line; a refusal that names no message is one of the whole."""
    if "refused" in line and "id" not in line:
        raise (TryLater if line.get("temporary") else CommandRefused)(line["refused"])
    tell(line)


# ---------------------------------------------------------------- a server that runs


def _connect(data: Path) -> socket.socket | None:
    """Return a connection to the server, None where none listens."""
    if not data.is_dir():
        raise CommandRefused(f"{data}: there is no such directory, so no server has run with this configuration")
    connection = socket.socket(socket.AF_UNIX)
    try:
        with reachable(data / SOCKET) as path:
            connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as reason:
        connection.close()
        raise CommandRefused(f"{data / SOCKET}: {reason.strerror}; only the user that mailfw runs as may ask it")
    return connection


def _exchange(connection: socket.socket, request: Mapping[str, Any], body: BinaryIO | None) -> Iterator[Line]:
    """Send a request and yield the lines of the answer.  Raises `TryLater` where the server stops meanwhile."""
    try:
        _send(connection, request, body)
        with connection.makefile("rb") as answer:
            for raw in answer:
                line: Line = json.loads(raw)
                if line.get("end"):
                    return
                yield line
    except OSError as reason:
        raise TryLater(f"the server went away: {reason.strerror}")
    raise TryLater("the server went away before it had answered")


def _send(connection: socket.socket, request: Mapping[str, Any], body: BinaryIO | None) -> None:
    try:
        connection.sendall(json.dumps(request).encode("ascii") + b"\r\n")
        while body is not None and (octets := body.read(_CHUNK)):
            connection.sendall(octets)
    except BrokenPipeError:
        return  # it has answered already, and reads no more


def _wait_for_server(data: Path) -> socket.socket | None:
    """Return a connection to a server that is about to listen, None where no process holds the directory."""
    until = time.monotonic() + _STARTING
    connection = None
    while connection is None and _is_held(data) and time.monotonic() < until:
        time.sleep(0.1)
        connection = _connect(data)
    return connection


def _is_held(data: Path) -> bool:
    """Whether a server, or a command in its place, has the data directory."""
    try:
        with (data / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


# ---------------------------------------------------------------- no server


class FileBody:
    """A message in a file, for a queue that is worked on in this process."""

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file

    async def read_into(self, sink: Callable[[bytes], Awaitable[None]], length: int) -> None:
        """Pass `length` octets on."""
        while length and self._file is not None and (octets := self._file.read(min(length, _CHUNK))):
            length -= len(octets)
            await sink(octets)


def become_owner(data: Path) -> None:
    """Work as the user whose files these are: a file of root's in between would keep the server from starting."""
    status = data.stat()
    if os.geteuid() == 0 and status.st_uid != 0:
        user = pwd.getpwuid(status.st_uid)
        os.initgroups(user.pw_name, status.st_gid)
        os.setgid(status.st_gid)
        os.setuid(status.st_uid)


def _ask_offline(
    given: argparse.Namespace, request: Mapping[str, Any], tell: Callable[[Line], None], body: BinaryIO | None
) -> bool:
    """Answer in the server's place; return whether that was possible, since somebody else may have the queue."""
    from mailfw.configuration.choices import read
    from mailfw.service.first_start import InUse
    from mailfw.service.offline import offline
    from mailfw.service.ports import CannotStart

    _, configuration, choices = read(given.config, given.settings)
    become_owner(configuration.data)  # last, for it may not be able to read what we are made of

    async def answer(reactor: Any) -> None:
        async with offline(configuration, choices, reactor) as answers:
            async for line in answers.answer(request, FileBody(body)):
                _pass_on(line, tell)

    try:
        in_reactor(answer)
    except InUse:
        return False
    except CannotStart as refused:
        raise TryLater(str(refused).removeprefix("mailfw: "))
    return True


def in_reactor(work: Callable[[Any], Any]) -> None:
    """
    Run a coroutine function with the reactor, to its end, and raise what it raises.

    A signal that stops the reactor cancels it; what it has opened is closed before `KeyboardInterrupt` is raised.
    """
    from twisted.internet import reactor as imported
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    reactor: Any = imported
    results: list[Any] = []
    interrupted: list[Deferred[None]] = []

    def begin() -> None:
        working = Deferred.fromCoroutine(work(reactor))
        reactor.addSystemEventTrigger("before", "shutdown", interrupt, working)
        working.addBoth(end)

    def end(result: object) -> None:
        results.append(result)
        if interrupted:
            interrupted[0].callback(None)
        else:
            reactor.stop()

    def interrupt(working: Deferred[Any]) -> Deferred[None] | None:
        if results:
            return None
        interrupted.append(Deferred())
        working.cancel()
        return interrupted[0]

    reactor.callWhenRunning(begin)
    reactor.run()
    if interrupted:
        raise KeyboardInterrupt
    if isinstance(results[0], Failure):
        results[0].raiseException()


def remark(text: str) -> None:
    """Say something that is not the command's result; what others have written in it does nothing to a terminal."""
    print(f"mailfw: {safe(text)}", file=sys.stderr)
