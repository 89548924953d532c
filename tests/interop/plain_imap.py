"""An IMAP client that takes answers apart and judges nothing, to lay those of two servers side by side."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from typing import IO, Any

#: What an answer is made of: text and literals are octets, NIL is None, atoms are str.
Value = Any

_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|(\()|(\))|\{(\d+)\}\r\n|((?:[^\s()"{\[]|\[[^\]]*\])+)| +|\r\n', re.DOTALL)
_PAIR = re.compile(rb"\\(.)", re.DOTALL)


class Refused(Exception):
    """A command was not answered with OK."""


class PlainClient:
    """One connection to a server, by socket or to the standard streams of a process."""

    def __init__(self, reading: IO[bytes], writing: IO[bytes], process: subprocess.Popen[bytes] | None = None) -> None:
        self._reading, self._writing, self._process = reading, writing, process
        self._number = 0
        self.greeting = self._reading.readline()

    @classmethod
    def connect(cls, port: int) -> PlainClient:
        """Connect to loopback."""
        connection = socket.create_connection(("127.0.0.1", port), 60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(connection.makefile("rb"), connection.makefile("wb"))

    @classmethod
    def run(cls, command: Sequence[str], environment: dict[str, str], errors: IO[bytes]) -> PlainClient:
        """Start a program that speaks IMAP on its standard streams."""
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment
        )
        assert process.stdin is not None and process.stdout is not None
        return cls(process.stdout, process.stdin, process)

    def close(self) -> None:
        """End it."""
        self._writing.close()
        self._reading.close()
        if self._process is not None:
            self._process.wait(30)

    # ------------------------------------------------------------ commands

    def ask(self, *pieces: bytes) -> list[bytes]:
        """Send a command, a literal before each piece but the first, and return the untagged answers."""
        self._number += 1
        tag = b"t%d" % self._number
        self._writing.write(tag + b" " + pieces[0])
        for literal, rest in zip(pieces[1::2], pieces[2::2], strict=True):
            self._writing.write(b"{%d}\r\n" % len(literal))
            self._writing.flush()
            line = self._line()
            if not line.startswith(b"+"):
                raise Refused(line)
            self._writing.write(literal + rest)
        self._writing.write(b"\r\n")
        self._writing.flush()
        answers = []
        while not (line := self._line()).startswith(tag):
            answers.append(line)
        if not line.startswith(tag + b" OK"):
            raise Refused(line.decode(errors="replace"))
        return answers

    def _line(self) -> bytes:
        """Return a line with the literals in it."""
        whole = b""
        while True:
            line = self._reading.readline()
            if not line:
                raise EOFError("the server has ended the connection")
            whole += line
            literal = re.search(rb"\{(\d+)\}\r\n\Z", line)
            if literal is None:
                return whole
            while len(line := self._reading.read(int(literal[1]))) < int(literal[1]):
                raise EOFError("the server has ended the connection")
            whole += line

    def fetch(self, uids: str, items: str) -> dict[int, dict[str, Value]]:
        """Return what is fetched, by UID and item."""
        found: dict[int, dict[str, Value]] = {}
        for answer in self.ask(f"UID FETCH {uids} (UID {items})".encode()):
            words = read_values(answer)
            if len(words) == 4 and words[2] == "FETCH":
                pairs = dict(zip(words[3][::2], words[3][1::2], strict=True))
                found.setdefault(int(pairs.pop("UID")), {}).update(pairs)
        return found

    def words(self, name: str, *pieces: bytes) -> list[Value]:
        """Return all that a command answers under a name."""
        answers = [read_values(answer)[1:] for answer in self.ask(*pieces)]
        return [word for words in answers if words and words[0] == name for word in words[1:]]

    def capabilities(self) -> frozenset[str]:
        """Return what the server says it can, in upper case."""
        return frozenset(word.upper() for word in self.words("CAPABILITY", b"CAPABILITY"))


def read_values(octets: bytes) -> list[Value]:
    """Take an answer apart."""
    return list(_values(octets, 0, len(octets)))


def _values(octets: bytes, position: int, end: int) -> Iterator[Value]:
    stack: list[list[Value]] = [[]]
    while position < end:
        token = _TOKEN.match(octets, position)
        if token is None:
            raise ValueError(f"no answer: {octets[position : position + 80]!r}")
        position = token.end()
        quoted, opening, closing, literal, atom = token.groups()
        if opening:
            stack.append([])
        elif closing:
            inner = stack.pop()
            stack[-1].append(inner)
        elif literal is not None:
            size = int(literal)
            stack[-1].append(octets[position : position + size])
            position += size
        elif quoted is not None:
            stack[-1].append(_PAIR.sub(rb"\1", quoted))
        elif atom is not None:
            stack[-1].append(None if atom.upper() == b"NIL" else atom.decode("latin-1"))
    assert len(stack) == 1, octets
    yield from stack[0]
