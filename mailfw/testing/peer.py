"""
A mail server for tests of whatever sends mail: it takes all, says what it got, and misbehaves as it is told.

    with Peer() as peer:
        peer.answer("RCPT TO:<bob@", "550 5.1.1 No such user")
        ...                              # send mail to 127.0.0.1, port peer.port
        peer.messages[0].content

It runs in threads of its own, so that it serves senders that block as well as those on a reactor, and it knows nothing
of the code that it may be used to try.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

#: What is announced unless something else is asked for.
EXTENSIONS = ("PIPELINING", "SIZE 100000000", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8", "DSN")

#: An answer that is none: the connection is closed.
DROP = b""

_GREETING, _END = "greeting", "."
_PATH = re.compile(r"(?:FROM|TO):<([^>]*)>(?: (.*))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message: the paths without brackets, the parameters as they came, the content without stuffed dots."""

    connection: int
    sender: str
    parameters: str
    recipients: tuple[str, ...]
    recipient_parameters: tuple[str, ...]
    content: bytes
    helo: str
    tls: str | None
    user: str | None
    body_by: str


@dataclass(slots=True)
class _Rule:
    """What to answer to commands that begin so, how often, and how late."""

    beginning: str
    reply: str | bytes | None
    times: int
    delay: float


@dataclass(slots=True)
class _State:
    """One connection."""

    number: int
    connection: Any
    buffer: bytes = b""
    helo: str = ""
    user: str | None = None
    tls: str | None = None
    sender: tuple[str, str] | None = None
    recipients: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)


class Peer:
    """
    Listens while it is entered as a context, on a free port of 127.0.0.1, or on the UNIX socket `path`.

    `extensions` are the lines of its answer to EHLO; STARTTLS is added where there is a `tls` context, AUTH where there
    are `accounts`, passwords by name.  `messages`, `commands` (connection and line, in order) and `faults` (what
    broke a rule of SMTP on the way here) are what it got; `connections` counts.
    """

    def __init__(
        self,
        *,
        lmtp: bool = False,
        extensions: Sequence[str] = EXTENSIONS,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        accounts: Mapping[str, str] | None = None,
        path: Path | None = None,
        knows_ehlo: bool = True,
    ) -> None:
        self.lmtp = lmtp
        self.extensions = tuple(extensions)
        self.messages: list[Arrived] = []
        self.commands: list[tuple[int, str]] = []
        self.faults: list[str] = []
        self.connections = 0
        self._tls = tls
        self._implicit_tls = implicit_tls
        self._accounts = dict(accounts or {})
        self._path = path
        self._knows_ehlo = knows_ehlo
        self._rules: list[_Rule] = []
        self._open: set[Any] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None

    # ------------------------------------------------------------ for the test

    def answer(self, beginning: str, reply: str | bytes, *, times: int = -1) -> None:
        """
        Answer so to commands that begin so, whatever the case, the next `times` times; the latest rule counts.

        A text gets its CRLF, lines are parted by newlines; octets are sent as they are, `DROP` closes the connection.
        ``"greeting"`` and ``"."``, the end of a message, are commands too; to the latter LMTP answers for each
        recipient, ``". bob@example.org"``.
        """
        self._rules.insert(0, _Rule(beginning.upper(), reply, times, 0.0))

    def delay(self, beginning: str, seconds: float, *, times: int = -1) -> None:
        """Answer late to commands that begin so."""
        self._rules.insert(0, _Rule(beginning.upper(), None, times, seconds))

    def said(self, verb: str) -> list[str]:
        """Return the commands with this verb, of all connections."""
        return [line for _, line in self.commands if line.upper().startswith(verb.upper())]

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._listener is not None, "enter the context first"
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Peer:
        if self._path is not None:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self._path))
            self._listener.listen(100)
        else:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._listener is not None
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.disconnect()

    def disconnect(self) -> None:
        """Close every connection, as a server that is restarted does."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # ------------------------------------------------------------ connections

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._path is None:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: Any, number: int) -> None:
        state = _State(number, connection)
        self._open.add(connection)
        try:
            if self._implicit_tls:
                self._start_tls(state)
            self._reply(state, _GREETING, f"220 peer.example {'LMTP' if self.lmtp else 'ESMTP'}")
            while True:
                self._command(state)
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self._open.discard(connection)
            with suppress(OSError):
                state.connection.shutdown(socket.SHUT_RDWR)
            state.connection.close()

    def _start_tls(self, state: _State) -> None:
        assert self._tls is not None
        self._open.discard(state.connection)
        state.connection = self._tls.wrap_socket(state.connection, server_side=True)
        self._open.add(state.connection)
        state.tls, state.buffer, state.helo = state.connection.version(), b"", ""

    def _read(self, state: _State) -> None:
        octets = state.connection.recv(65536)
        if not octets:
            raise EOFError
        state.buffer += octets

    def _read_line(self, state: _State) -> str:
        while b"\r\n" not in state.buffer:
            self._read(state)
        line, _, state.buffer = state.buffer.partition(b"\r\n")
        if b"\r" in line or b"\n" in line or b"\0" in line:
            self.faults.append(f"a command with a control in it: {line!r}")
        return line.decode("utf-8", "surrogateescape")

    def _reply(self, state: _State, command: str, usual: str) -> bool:
        """Answer as the rules have it, else as usual; return whether it was as usual."""
        reply = self._decide(command, usual)
        self._say(state, reply)
        return _is_like(reply, usual)

    def _decide(self, command: str, usual: str) -> str | bytes:
        """Return the answer that the rules have, else the usual one, when it is time."""
        with self._lock:
            rule = next((each for each in self._rules if self._applies(each, command)), None)
            if rule is not None and rule.times > 0:
                rule.times -= 1
        if rule is None:
            return usual
        time.sleep(rule.delay)
        return usual if rule.reply is None else rule.reply

    @staticmethod
    def _say(state: _State, reply: str | bytes) -> None:
        if reply == DROP:
            raise EOFError
        state.connection.sendall(reply if isinstance(reply, bytes) else _encode(reply))
        if not isinstance(reply, bytes) and reply.startswith("421"):
            raise EOFError

    @staticmethod
    def _applies(rule: _Rule, command: str) -> bool:
        return rule.times != 0 and command.upper().startswith(rule.beginning)

    # ------------------------------------------------------------ commands

    def _command(self, state: _State) -> None:
        line = self._read_line(state)
        self.commands.append((state.number, line))
        verb, _, argument = line.partition(" ")
        method = getattr(self, f"_do_{verb.lower()}", None)
        if method is None:
            self._reply(state, line, "500 5.5.1 Unknown")
        else:
            method(state, line, argument)

    def _do_ehlo(self, state: _State, line: str, argument: str) -> None:
        if self.lmtp == line.upper().startswith("EHLO") or not self._knows_ehlo:
            self._reply(state, line, "500 5.5.1 Unknown")
            return
        extensions = list(self.extensions)
        if self._tls is not None and state.tls is None:
            extensions.append("STARTTLS")
        if self._accounts:
            extensions.append("AUTH PLAIN LOGIN")
        self._hello(state, argument)
        self._reply(state, line, "\n".join(("250 peer.example", *(f"250 {each}" for each in extensions))))

    _do_lhlo = _do_ehlo

    def _do_helo(self, state: _State, line: str, argument: str) -> None:
        self._hello(state, argument)
        self._reply(state, line, "250 peer.example")

    @staticmethod
    def _hello(state: _State, argument: str) -> None:
        state.helo, state.sender, state.recipients, state.chunks = argument, None, [], []

    def _do_mail(self, state: _State, line: str, argument: str) -> None:
        if not state.helo or state.sender is not None:
            self.faults.append(f"MAIL out of order: {line}")
            self._reply(state, line, "503 5.5.1 Not now")
        elif (path := _PATH.fullmatch(argument)) is None:
            self._reply(state, line, "501 5.1.7 Bad sender")
        elif self._reply(state, line, "250 2.1.0 OK"):
            state.sender = path[1], path[2] or ""

    def _do_rcpt(self, state: _State, line: str, argument: str) -> None:
        path = _PATH.fullmatch(argument)
        if state.sender is None:
            self._reply(state, line, "503 5.5.1 MAIL first")
        elif path is None:
            self._reply(state, line, "501 5.1.3 Bad recipient")
        elif self._reply(state, line, "250 2.1.5 OK"):
            state.recipients.append((path[1], path[2] or ""))

    def _do_rset(self, state: _State, line: str, argument: str) -> None:
        self._hello(state, state.helo)
        self._reply(state, line, "250 2.0.0 OK")

    def _do_noop(self, state: _State, line: str, argument: str) -> None:
        self._reply(state, line, "250 2.0.0 OK")

    def _do_quit(self, state: _State, line: str, argument: str) -> None:
        self._reply(state, line, "221 2.0.0 Goodbye")
        raise EOFError

    def _do_starttls(self, state: _State, line: str, argument: str) -> None:
        if self._tls is None or state.tls:
            self._reply(state, line, "502 5.5.1 No TLS")
        elif self._reply(state, line, "220 2.0.0 Go ahead"):
            self._start_tls(state)

    def _do_auth(self, state: _State, line: str, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if mechanism.upper() == "LOGIN":
            name, password = self._ask(state, "VXNlcm5hbWU6"), self._ask(state, "UGFzc3dvcmQ6")
        else:
            _, name, password = b64decode(initial).decode("utf-8").split("\0")
        if self._accounts.get(name) != password:
            self._reply(state, line, "535 5.7.8 Wrong")
        elif self._reply(state, line, "235 2.7.0 Welcome"):
            state.user = name

    def _ask(self, state: _State, challenge: str) -> str:
        state.connection.sendall(_encode(f"334 {challenge}"))
        return b64decode(self._read_line(state)).decode("utf-8")

    def _do_data(self, state: _State, line: str, argument: str) -> None:
        if not state.recipients:
            self._reply(state, line, "503 5.5.1 RCPT first")
            return
        if self._reply(state, line, "354 Go ahead"):
            self._finish(state, self._read_text(state), "DATA")

    def _read_text(self, state: _State) -> bytes:
        state.buffer = b"\r\n" + state.buffer
        while b"\r\n.\r\n" not in state.buffer:
            self._read(state)
        text, _, state.buffer = state.buffer.partition(b"\r\n.\r\n")
        bare = text.replace(b"\r\n", b"")
        if b"\r" in bare or b"\n" in bare:
            self.faults.append("a line end that is not CRLF")
        if re.search(rb"\r\n\.(?!\.)", text):
            self.faults.append("a dot that is not stuffed")
        return (text + b"\r\n").replace(b"\r\n.", b"\r\n")[2:]

    def _do_bdat(self, state: _State, line: str, argument: str) -> None:
        length, _, last = argument.partition(" ")
        while len(state.buffer) < int(length):
            self._read(state)
        chunk, state.buffer = state.buffer[: int(length)], state.buffer[int(length) :]
        if not state.recipients:
            self._reply(state, line, "503 5.5.1 RCPT first")
            return
        state.chunks.append(chunk)
        if last.upper() == "LAST":
            self._finish(state, b"".join(state.chunks), "BDAT")
        else:
            self._reply(state, line, "250 2.0.0 OK")

    def _finish(self, state: _State, content: bytes, body_by: str) -> None:
        sender, recipients, (state.sender, state.recipients, state.chunks) = (
            state.sender,
            state.recipients,
            (None, [], []),
        )
        assert sender is not None
        if self.lmtp:
            replies = [self._decide(f"{_END} {each[0]}", "250 2.0.0 Delivered") for each in recipients]
        else:
            replies = [self._decide(_END, "250 2.0.0 Taken")]
        good = [_is_like(reply, "2") for reply in replies]
        taken = [each for each, is_good in zip(recipients, good, strict=True) if is_good] if self.lmtp else recipients
        if any(good):  # before the sender hears of it, so that he can look at once
            paths, parameters = zip(*taken, strict=True)
            self.messages.append(
                Arrived(state.number, *sender, paths, parameters, content, state.helo, state.tls, state.user, body_by)
            )
        for reply in replies:
            self._say(state, reply)


def _is_like(reply: str | bytes, usual: str) -> bool:
    return isinstance(reply, str) and reply[:1] == usual[:1]


def _encode(reply: str) -> bytes:
    """Write a reply, with a hyphen in all lines but the last."""
    *lines, last = reply.split("\n")
    return "".join([f"{line[:3]}-{line[4:]}\r\n" for line in lines] + [f"{last}\r\n"]).encode("utf-8")
