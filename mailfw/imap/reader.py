"""Commands as they come in: lines, and the literals that are announced at their ends."""

from __future__ import annotations

from dataclasses import dataclass

from mailfw.imap import grammar, responses
from mailfw.imap.farewell import Farewell
from mailfw.imap.grammar import Announcement
from mailfw.imap.lexer import BadSyntax, Literal
from mailfw.imap.responses import Completion
from mailfw.wire.stream import Stream

#: Within a command the client is at work, and no user.
_TIMEOUT_IN_COMMAND = 5 * 60
#: What each piece of a command counts besides its octets, so that a million empty literals have an end.
_PIECE = 64


@dataclass(frozen=True, slots=True)
class Bounds:
    """
    How much a client may send, in octets, and how long it may take between commands, in seconds.

    `line` is one line, `command` all of a command but the message of APPEND, and `discard` a literal that is
    read though it was refused: RFC 7888 section 4 allows closing instead.
    """

    line: int
    command: int
    discard: int
    timeout: float


class Reader:
    """
    Reads one command after the other from a stream.

    `pending` is a literal that was announced and not read yet.  After each command `discard` must be called
    if there is one: what a client sends unasked must not be taken for commands.
    """

    __slots__ = ("_bounds", "pending", "stream")

    def __init__(self, stream: Stream, bounds: Bounds) -> None:
        self.stream = stream
        self.pending: Announcement | None = None
        self.bounds = bounds

    @property
    def bounds(self) -> Bounds:
        """What the client may send."""
        return self._bounds

    @bounds.setter
    def bounds(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.stream.timeout = bounds.timeout

    async def read_line(self, idle: bool = False) -> bytes:
        """Return the next line, without the announcement of a literal at its end, which is then `pending`."""
        line, self.pending = grammar.announcement(await self.stream.read_line(self._bounds.line, idle))
        return line

    async def read_pieces(self, line: bytes, at: int, brings_message: bool) -> list[bytes | Literal] | Completion:
        """
        Return a command of which the first line was read, or why it is refused.

        Where the command `brings_message`, that literal is left to be read into something roomier.
        """
        pieces: list[bytes | Literal] = [line]
        room = self._bounds.command - len(line)
        self.stream.timeout = min(_TIMEOUT_IN_COMMAND, self._bounds.timeout)
        while (literal := self.pending) is not None:
            if brings_message and grammar.is_message_next(pieces, at):
                break
            if literal.binary:
                return responses.bad("A binary literal cannot stand here")
            if literal.size > room:
                return responses.bad("That literal is too large for this command", b"TOOBIG")
            self.accept_literal()
            pieces.append(Literal(await self.stream.read_exactly(literal.size)))
            rest = await self.read_line()
            pieces.append(rest)
            room -= literal.size + len(rest) + _PIECE
            if room < 0:
                return responses.bad("That command is too long", b"TOOBIG")
        return pieces

    def accept_literal(self) -> int:
        """Let the client send the pending literal; return its size."""
        literal = self.pending
        assert literal is not None
        self.pending = None
        if literal.synchronising:
            self.stream.write(b"+ Go on\r\n")
        return literal.size

    async def end_of_command(self) -> None:
        """Read the line end behind a literal that must be the last of its command."""
        rest = await self.read_line()
        if rest or self.pending is not None:
            raise BadSyntax("Unexpected text at the end of the command")

    async def finish(self) -> None:
        """Be ready for the next command: what is left of a refused one is read and forgotten."""
        while self.pending is not None:
            literal, self.pending = self.pending, None
            if literal.synchronising:
                break  # the client waits for our consent, and hears a refusal
            if literal.size > self._bounds.discard:
                raise Farewell("That literal is too large")
            await self.stream.read_into(_forget, literal.size)
            await self.read_line()
        self.stream.timeout = self._bounds.timeout


async def _forget(octets: bytes) -> None:
    """Take octets of no use."""
