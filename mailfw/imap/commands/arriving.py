"""Messages that a client sends: from its literals, and from what is here already, into one draft on disk."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zope.interface import classImplements

from mailfw.imap import grammar_append, limiting, responses
from mailfw.imap.commands import catenate
from mailfw.imap.grammar import Announcement
from mailfw.imap.grammar_append import Data, Head
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.reader import UNASKED
from mailfw.imap.responses import Completion
from mailfw.imap.urls import LONGEST, BadURL
from mailfw.interfaces import IContent, IDraft
from mailfw.mail.content import Slice
from mailfw.mail.mailbox import NewMessage
from mailfw.mail.seven_bit import SevenBit

if TYPE_CHECKING:
    from mailfw.imap.server import Session

classImplements(Slice, IContent)  # `mail` knows no interfaces

# url-resp-text = 1*(%x01-09 / %x0B-0C / %x0E-5B / %x5D-FE), here what a line can quote       RFC 4469 section 5
_REPEATED = re.compile(rb"[\x20-\x5b\x5e-\x7e]{1,1000}")
#: RFC 3502 sets no limit on the messages of one APPEND; they all count as one change of the mailbox.
MESSAGES = 10_000
#: How many times the largest message they may have in all.
_TOGETHER = 4
#: Octets that are converted at a time.
_PIECE = 64 * 1024


class Refused(Exception):
    """The messages cannot be taken; `completion` says so."""

    def __init__(self, completion: Completion) -> None:
        super().__init__(completion.text)
        self.completion = completion


TOO_BIG = responses.no("That message is too large", b"TOOBIG")
_TOO_MANY = responses.no("Those are too many messages for one command", b"LIMIT")
_EMPTY = responses.no("A message cannot be empty")
_NUL = responses.bad("A message cannot have NUL in it")


@dataclass(frozen=True, slots=True)
class _Held:
    """Where in the draft a message is."""

    start: int
    size: int
    head: Head


def _content(draft: IDraft, held: _Held) -> object:
    return draft if held.size == draft.size else Slice(draft, held.start, held.size)


class Arriving:
    """
    What is still to come of a command that brings messages, and what of it has come.

    It stands behind the mailbox's name.  `begin` refuses what can be refused before the client sends octets; `finish`
    reads to the end of the command.  Both raise `Refused` and `BadSyntax`.
    """

    def __init__(self, session: Session, cursor: Cursor) -> None:
        self._session = session
        self._cursor = cursor
        self._draft: IDraft | None = None
        self._held: list[_Held] = []
        self._failure: Exception | None = None
        self._head: Head | None = None
        self._size = 0
        self._has_nul = False

    def begin(self) -> None:
        """Read what stands before the first message."""
        self._head = head = grammar_append.head(self._cursor)
        if head.data is not Data.PARTS:
            self._literal(binary=head.data is Data.UTF8)

    async def finish(self, only_one: bool = False) -> Sequence[NewMessage]:
        """Take all messages, or the only one; they can be read until `close`."""
        draft = self._draft = await self._open()
        while (head := self._head) is not None:
            await self._take(draft, head)
            self._head = None
            if not only_one and not self._at_end():
                if len(self._held) >= MESSAGES:
                    raise Refused(_TOO_MANY)
                refused = limiting.refusal(self._session, len(self._held) + 1)
                if refused is not None:
                    raise Refused(refused)
                self._head = grammar_append.next_head(self._cursor)
        if not self._at_end():
            raise BadSyntax("Unexpected text at the end of the command")
        if self._failure is not None:
            raise self._failure
        return [NewMessage(_content(draft, each), each.head.flags, each.head.received) for each in self._held]

    async def close(self) -> None:
        """Let go of the draft."""
        if self._draft is not None:
            await self._draft.close()

    async def _open(self) -> IDraft:
        literal = self._session.reader.pending
        return await self._session.open_draft(literal.size if literal is not None else 0)

    def _at_end(self) -> bool:
        return self._cursor.at_end() and self._session.reader.pending is None

    # ------------------------------------------------------------ one message

    async def _take(self, draft: IDraft, head: Head) -> None:
        start = draft.size
        self._size, self._has_nul = 0, False
        if head.data is Data.PARTS:
            is_binary = await self._take_parts()
        else:
            is_binary = await self._take_literal(head.data)
        if not self._size:
            raise Refused(_EMPTY)
        if self._failure is None and self._has_nul:
            if not is_binary:
                raise Refused(_NUL)
            start = await self._convert(draft, start)
        self._held.append(_Held(start, draft.size - start, head))

    async def _take_parts(self) -> bool:
        """RFC 4469 section 5; return whether any part may have any octets."""
        is_binary = False
        while True:
            data = grammar_append.part(self._cursor)
            if data is Data.URL:
                await self._take_url()
            else:
                is_binary |= await self._take_literal(data)
            if self._cursor.take(b")"):
                return is_binary
            self._cursor.space()

    async def _take_literal(self, data: Data) -> bool:
        """Read a literal, and what ends what it stands in; return whether it may have any octets."""
        literal = self._literal(binary=data is Data.UTF8)
        await self._session.stream.read_into(self._write, self._session.reader.accept_literal())
        await self._next_line()
        if data is Data.UTF8:
            self._cursor.expect(b")")
        return literal.binary

    async def _take_url(self) -> None:
        url = await self._astring()
        try:
            await catenate.copy_octets(self._session, url, self._room(), self._write)
        except BadURL:
            raise Refused(responses.no("There is nothing at that URL for you", _bad_url(url)))
        except catenate.TooLarge:
            raise Refused(TOO_BIG)

    async def _astring(self) -> bytes:
        if not self._cursor.at_end():
            return self._cursor.astring()
        literal = self._session.reader.pending
        if literal is None or literal.binary or literal.size > LONGEST:
            raise BadSyntax("Expected a URL")
        if self._session.reader.comes_unasked:
            raise Refused(UNASKED)
        octets = await self._session.stream.read_exactly(self._session.reader.accept_literal())
        await self._next_line()
        return octets

    def _literal(self, binary: bool) -> Announcement:
        """Return the literal that comes next, before the client sends it."""
        literal = self._session.reader.pending
        if literal is None or not self._cursor.at_end():
            raise BadSyntax("Expected the message as a literal")
        if binary and not literal.binary:
            raise BadSyntax("UTF8 needs a literal that begins with ~")
        if literal.binary and not binary:
            self._cursor.needs(b"BINARY")
        if self._session.reader.comes_unasked:
            raise Refused(UNASKED)
        if literal.size > self._room():
            raise Refused(TOO_BIG)
        if not literal.size and self._head is not None and self._head.data is not Data.PARTS:
            raise Refused(_EMPTY)
        return literal

    def _room(self) -> int:
        """How much more the message may have that is arriving: no more than others have left of what all may have."""
        limit = self._session.allowance.append
        held = self._draft.size - self._size if self._draft is not None else 0
        return min(limit, limit * _TOGETHER - held) - self._size

    async def _next_line(self) -> None:
        self._cursor = self._session.cursor((await self._session.reader.read_line(),), 0)

    # ------------------------------------------------------------ octets

    async def _write(self, octets: bytes) -> None:
        """Write to the draft until that fails; what still comes is let pass, since the client sends it all."""
        self._size += len(octets)
        if self._failure is not None:
            return
        if not self._has_nul and b"\0" in octets:  # CHAR8 = %x01-ff
            self._has_nul = True
        assert self._draft is not None
        try:
            await self._draft.write(octets)
        except Exception as failure:
            self._failure = failure

    async def _convert(self, draft: IDraft, start: int) -> int:
        """Put a message with NUL anew behind itself, with its parts encoded (RFC 3516 section 4.4); return where."""
        converter, end = SevenBit(), draft.size
        for at in range(start, end, _PIECE):
            await self._write(converter.feed(await draft.read(at, min(_PIECE, end - at))))
            await self._session.stream.give_way()
        await self._write(converter.close())
        return end


def _bad_url(url: bytes) -> bytes:
    """``"BADURL" SP url-resp-text`` (RFC 4469 section 5); what is none of that is not repeated."""
    return b"BADURL " + responses.string(url) if _REPEATED.fullmatch(url) else b"BADURL"


@asynccontextmanager
async def arriving(session: Session, cursor: Cursor) -> AsyncIterator[Arriving]:
    """Provide what arrives, and let go of it in the end."""
    messages = Arriving(session, cursor)
    try:
        yield messages
    finally:
        await messages.close()
