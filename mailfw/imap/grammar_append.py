"""What stands before and between messages that a client sends: APPEND (RFC 3502, RFC 4466 section 6), REPLACE."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailfw.imap import grammar
from mailfw.imap.lexer import BadSyntax, Cursor, Literal, SequenceSet
from mailfw.mail.mailbox import Flags

# seq-number = nz-number / "*"
_ONE = re.compile(rb"([1-9][0-9]{0,9}|\*)(?= )")
_SECOND_SPACE = re.compile(rb" (?= )")


class Data(enum.Enum):
    """How the octets of a message, or of a part of one, come."""

    LITERAL = enum.auto()
    #: RFC 6855 section 4: ``UTF8 (`` literal8 ``)``
    UTF8 = enum.auto()
    #: RFC 4469 section 5: ``CATENATE (`` cat-part *(SP cat-part) ``)``
    PARTS = enum.auto()
    URL = enum.auto()


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before a message: its flags, its internal date if one is given, and how its octets come."""

    flags: Flags
    received: int | None
    data: Data


def is_named(pieces: Sequence[bytes | Literal], at: int) -> bool:
    """Whether the literal announced behind these pieces of an APPEND comes after the mailbox's name."""
    cursor = Cursor(pieces, at)
    return _has(cursor.space, cursor.astring, cursor.space)


def is_replacement_named(pieces: Sequence[bytes | Literal], at: int) -> bool:
    """Whether the literal announced behind these pieces of a REPLACE comes after the mailbox's name."""
    cursor = Cursor(pieces, at)
    return _has(cursor.space, lambda: cursor.match(_ONE), cursor.space, cursor.astring, cursor.space)


def _has(*tokens: Callable[[], object]) -> bool:
    try:
        for token in tokens:
            token()
    except BadSyntax:
        return False
    return True


def mailbox(cursor: Cursor) -> str:
    """``SP mailbox``, decoded but not yet a path."""
    cursor.space()
    return cursor.mailbox()


def replaced(cursor: Cursor) -> tuple[SequenceSet, str]:
    """``SP seq-number SP mailbox`` (RFC 8508 section 5)."""
    cursor.space()
    found = cursor.match(_ONE)
    if found is None:
        raise BadSyntax("Expected the number of one message")
    wanted = Cursor((found[0],)).sequence_set()
    return wanted, mailbox(cursor)


def head(cursor: Cursor) -> Head:
    """``[SP flag-list] [SP date-time] SP append-data``, up to its first octets."""
    flags: list[str] = []
    received = None
    cursor.space()
    if cursor.peek() == ord("("):
        flags = cursor.flag_list()
        cursor.space()
    if cursor.peek() == ord('"'):
        received = cursor.date_time()
        cursor.space()
    data = Data.LITERAL
    if cursor.take(b"UTF8 ("):
        cursor.needs(b"UTF8=ACCEPT")
        data = Data.UTF8
    elif cursor.take(b"CATENATE ("):
        cursor.needs(b"CATENATE")
        data = Data.PARTS
    if data is not Data.PARTS:
        cursor.expect_end()
    return Head(grammar.permanent_flags(flags), received, data)


def next_head(cursor: Cursor) -> Head:
    """Read the `head` of a further message; a widespread client library writes two spaces before it."""
    cursor.needs(b"MULTIAPPEND")
    cursor.match(_SECOND_SPACE)
    return head(cursor)


def part(cursor: Cursor) -> Data:
    """``cat-part = "URL" SP astring / "TEXT" SP literal / "UTF8" SP "(" literal8 ")"``, up to what is told apart."""
    if cursor.take(b"URL "):
        return Data.URL
    data = Data.UTF8 if cursor.take(b"UTF8 (") else Data.LITERAL
    if data is Data.LITERAL:
        cursor.expect(b"TEXT ")
    else:
        cursor.needs(b"UTF8=ACCEPT")
    cursor.expect_end()
    return data
