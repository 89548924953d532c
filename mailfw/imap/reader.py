"""Commands as they come in: lines, and the literals that are announced at their ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mailfw.imap import grammar, responses
from mailfw.imap.allowances import Allowance
from mailfw.imap.farewell import Farewell
from mailfw.imap.grammar import Announcement
from mailfw.imap.lexer import Literal
from mailfw.imap.responses import Completion
from mailfw.wire.deflate import behind_flush
from mailfw.wire.stream import Stream

#: Within a command the client is at work, and no user.
_TIMEOUT_IN_COMMAND = 5 * 60
#: The answer to a literal that should have waited for our consent (RFC 7888 section 5).
UNASKED = responses.bad("A literal of that size may not be sent without our consent", b"TOOBIG")
#: What each piece of a command counts besides its octets, so that a million empty literals have an end.
_PIECE = 64

#: Whether what follows these pieces of a command, of which the first begins at an offset, is a message.
Stop = Callable[[Sequence[bytes | Literal], int], bool]


@dataclass(frozen=True, slots=True)
class Bounds:
    """
    How much a client may send, in octets, and how long it may take between commands, in seconds.

    `line` is one line, `command` all of a command but the message of APPEND, and `discard` a literal that is
    read though it was refused: RFC 7888 section 4 allows closing instead.  `unasked` is a literal that may come
    without our consent.
    """

    line: int
    command: int
    discard: int
    timeout: float
    unasked: int = 2**63


# RFC 3501 sets no limits on lines.  Clients name thousands of UIDs in one; before login none needs more than
# a name and a password or an initial response (RFC 4959), and nothing has to be waited for.
BEFORE_LOGIN = Bounds(line=13 * 1024, command=13 * 1024, discard=64 * 1024, timeout=2 * 60)


def after_login(allowance: Allowance) -> Bounds:
    """Return what a client may send that has logged in."""
    # RFC 3501 section 5.4: an autologout timer of at least 30 minutes.
    bounds = Bounds(allowance.line, allowance.command, discard=2 * allowance.append, timeout=30 * 60)
    if b"LITERAL+" not in allowance.without:
        return bounds
    # RFC 7888 section 5: what LITERAL- allows, which stands in for LITERAL+.
    return replace(bounds, unasked=0 if b"LITERAL-" in allowance.without else 4096)


class Reader:
    """
    Reads one command after the other from a stream.

    `pending` is a literal that was announced and not read yet.  After each command `finish` must be called: what a
    client sends unasked must not be taken for commands.
    """

    __slots__ = ("_bounds", "inflated_last", "pending", "stream")

    def __init__(self, stream: Stream, bounds: Bounds) -> None:
        self.stream = stream
        self.pending: Announcement | None = None
        #: The end of what was compressed, until there is a line that is not: its flush may come late (RFC 8437).
        self.inflated_last = b""
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
        line = await self.stream.read_line(self._bounds.line, idle)
        if self.inflated_last:
            line, self.inflated_last = behind_flush(self.inflated_last, line), b""
        line, self.pending = grammar.announcement(line)
        return line

    async def read_pieces(self, line: bytes, at: int, stop: Stop | None) -> list[bytes | Literal] | Completion:
        """
        Return a command of which the first line was read, or why it is refused.

        A literal behind pieces of which `stop` says so is left to be read into something roomier.
        """
        pieces: list[bytes | Literal] = [line]
        room = self._bounds.command - len(line)
        self.stream.timeout = min(_TIMEOUT_IN_COMMAND, self._bounds.timeout)
        while (literal := self.pending) is not None:
            if stop is not None and stop(pieces, at):
                break
            if self.comes_unasked:
                return UNASKED
            if literal.size > room:
                return responses.bad("That literal is too large for this command", b"TOOBIG")
            self.accept_literal()
            pieces.append(Literal(await self.stream.read_exactly(literal.size), literal.binary))
            rest = await self.read_line()
            pieces.append(rest)
            room -= literal.size + len(rest) + _PIECE
            if room < 0:
                return responses.bad("That command is too long", b"TOOBIG")
        return pieces

    @property
    def comes_unasked(self) -> bool:
        """Whether the pending literal may not come without our consent, being so large."""
        literal = self.pending
        return literal is not None and not literal.synchronising and literal.size > self._bounds.unasked

    def accept_literal(self) -> int:
        """Let the client send the pending literal; return its size."""
        literal = self.pending
        assert literal is not None
        self.pending = None
        if literal.synchronising:
            self.stream.write(b"+ Go on\r\n")
        return literal.size

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
