"""The arguments of SEARCH: RFC 3501 sections 6.4.4 and 9, from octets to a tree of keys."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from mailfw.imap.lexer import BadSyntax, Cursor, SequenceSet
from mailfw.mail.mailbox import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from mailfw.mail.text import fold
from mailfw.mail.words import find_codec

#: RFC 3501 sets no limits.  Clients nest an OR for each address they know.
_KEYS, _DEPTH = 2000, 200
#: Day number of 1 January 1970 in the calendar of `datetime.date`.
_EPOCH = 719163
_SET_BEGINS = frozenset(b"*0123456789")
#: What BADCHARSET recommends; every other charset for text that Python knows is understood as well.
CHARSETS = (b"US-ASCII", b"UTF-8", b"ISO-8859-1", b"EUC-KR", b"ISO-2022-JP", b"GB18030", b"BIG5")


class UnknownCharset(Exception):
    """SEARCH names a charset that nobody knows."""


class When(enum.Enum):
    """How a date is compared."""

    BEFORE = "BEFORE"
    ON = "ON"
    SINCE = "SINCE"


# Keys.  All text in them is folded (see `mailfw.mail.text.fold`); days count from the epoch.


@dataclass(frozen=True, slots=True)
class HasFlag:
    """Whether the message has a system flag or keyword; `flag` is in lower case."""

    flag: str


@dataclass(frozen=True, slots=True)
class IsRecent:
    """Whether the message is \\Recent."""


@dataclass(frozen=True, slots=True)
class IsAmong:
    """Whether the message is in a set."""

    wanted: SequenceSet
    by_uid: bool


@dataclass(frozen=True, slots=True)
class IsLarger:
    """Whether the message has more octets than this."""

    octets: int


@dataclass(frozen=True, slots=True)
class IsSmaller:
    """Whether the message has fewer octets than this."""

    octets: int


@dataclass(frozen=True, slots=True)
class Received:
    """Compares the internal date."""

    when: When
    day: int


@dataclass(frozen=True, slots=True)
class Sent:
    """Compares the Date field."""

    when: When
    day: int


@dataclass(frozen=True, slots=True)
class InField:
    """Whether a field of this name (lower case) contains a text; an empty text asks whether there is such a field."""

    name: bytes
    text: str


@dataclass(frozen=True, slots=True)
class InBody:
    """Whether the body contains a text."""

    text: str


@dataclass(frozen=True, slots=True)
class InText:
    """Whether header or body contain a text."""

    text: str


@dataclass(frozen=True, slots=True)
class Not:
    """What the key does not match."""

    key: Key


@dataclass(frozen=True, slots=True)
class Or:
    """What either key matches."""

    one: Key
    other: Key


@dataclass(frozen=True, slots=True)
class And:
    """What all keys match; without keys, everything."""

    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class HasId:
    """Whether the message, or its thread, has this id: RFC 8474 section 6."""

    id: str
    of_thread: bool


Key = (
    HasId
    | HasFlag
    | IsRecent
    | IsAmong
    | IsLarger
    | IsSmaller
    | Received
    | Sent
    | InField
    | InBody
    | InText
    | Not
    | Or
    | And
)


def search(cursor: Cursor) -> And:
    """
    Read ``[SP "CHARSET" SP astring] 1*(SP search-key)``.

    Raises `UnknownCharset` beside `BadSyntax`.
    """
    cursor.space()
    reader = _KeyReader(cursor)
    if cursor.take(b"CHARSET "):
        reader.charset = _charset(cursor.astring())
        cursor.space()
    keys = [reader.key(0)]
    while not cursor.at_end():
        cursor.space()
        keys.append(reader.key(0))
    return And(tuple(keys))


def _charset(name: bytes) -> str:
    charset = name.decode("ascii", "replace")
    codec = find_codec(charset)
    if codec is None:
        raise UnknownCharset
    return codec.name


class _KeyReader:
    """Reads keys, counting them."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._count = 0
        # RFC 3501 has US-ASCII where no charset is named; clients send UTF-8 all the same, which contains it.
        self.charset = "utf-8"

    def key(self, depth: int) -> Key:
        """Read one ``search-key``."""
        self._count += 1
        if self._count > _KEYS or depth > _DEPTH:
            raise BadSyntax("That search is too complicated")
        cursor = self._cursor
        if cursor.take(b"("):
            return self._list(depth + 1)
        if cursor.peek() in _SET_BEGINS:
            return IsAmong(cursor.sequence_set(), by_uid=False)
        name = cursor.atom().upper()
        if name in _SIMPLE:
            return _SIMPLE[name]
        if name in (b"NOT", b"OR"):
            cursor.space()
            one = self.key(depth + 1)
            if name == b"NOT":
                return Not(one)
            cursor.space()
            return Or(one, self.key(depth + 1))
        read = _WITH_ARGUMENT.get(name)
        if read is None:
            raise BadSyntax(f"There is no search key {name.decode('ascii')[:40]}")
        cursor.space()
        return read(self)

    def object_id(self) -> str:
        """Read an ``objectid``; what is none, no message has."""
        return self._cursor.astring().decode("ascii", "replace")

    def _list(self, depth: int) -> And:
        keys = [self.key(depth)]
        while not self._cursor.take(b")"):
            self._cursor.space()
            keys.append(self.key(depth))
        return And(tuple(keys))

    def text(self) -> str:
        """Read an astring in the charset of the command."""
        octets = self._cursor.astring()
        try:
            return fold(octets.decode(self.charset))
        except (UnicodeError, ValueError):
            raise BadSyntax("That text is not in the charset it is said to be in") from None

    def keyword(self) -> HasFlag:
        """Read ``flag-keyword = atom``."""
        return HasFlag(self._cursor.atom().decode("ascii").lower())

    def number(self) -> int:
        """Read a number."""
        return self._cursor.number()

    def day(self) -> int:
        """Read a date, as days since the epoch."""
        return self._cursor.date().toordinal() - _EPOCH

    def uids(self) -> IsAmong:
        """Read a set of UIDs."""
        return IsAmong(self._cursor.sequence_set(), by_uid=True)

    def header(self) -> InField:
        """Read ``header-fld-name SP astring``."""
        name = self._cursor.astring().lower()
        self._cursor.space()
        return InField(name, self.text())


_RECENT, _SEEN = IsRecent(), HasFlag(SEEN.lower())

_SIMPLE: dict[bytes, Key] = {
    b"ALL": And(),
    b"NEW": And((_RECENT, Not(_SEEN))),
    b"OLD": Not(_RECENT),
    b"RECENT": _RECENT,
    b"UNSEEN": Not(_SEEN),
}
for _flag in (ANSWERED, DELETED, DRAFT, FLAGGED):
    _SIMPLE[b"UN" + _flag[1:].upper().encode()] = Not(HasFlag(_flag.lower()))
for _flag in (ANSWERED, DELETED, DRAFT, FLAGGED, SEEN):
    _SIMPLE[_flag[1:].upper().encode()] = HasFlag(_flag.lower())

_WITH_ARGUMENT: dict[bytes, Callable[[_KeyReader], Key]] = {
    b"KEYWORD": _KeyReader.keyword,
    b"UNKEYWORD": lambda reader: Not(reader.keyword()),
    b"LARGER": lambda reader: IsLarger(reader.number()),
    b"SMALLER": lambda reader: IsSmaller(reader.number()),
    b"BEFORE": lambda reader: Received(When.BEFORE, reader.day()),
    b"ON": lambda reader: Received(When.ON, reader.day()),
    b"SINCE": lambda reader: Received(When.SINCE, reader.day()),
    b"EMAILID": lambda reader: HasId(reader.object_id(), of_thread=False),
    b"THREADID": lambda reader: HasId(reader.object_id(), of_thread=True),
    b"SENTBEFORE": lambda reader: Sent(When.BEFORE, reader.day()),
    b"SENTON": lambda reader: Sent(When.ON, reader.day()),
    b"SENTSINCE": lambda reader: Sent(When.SINCE, reader.day()),
    b"BCC": lambda reader: InField(b"bcc", reader.text()),
    b"CC": lambda reader: InField(b"cc", reader.text()),
    b"FROM": lambda reader: InField(b"from", reader.text()),
    b"SUBJECT": lambda reader: InField(b"subject", reader.text()),
    b"TO": lambda reader: InField(b"to", reader.text()),
    b"HEADER": _KeyReader.header,
    b"BODY": lambda reader: InBody(reader.text()),
    b"TEXT": lambda reader: InText(reader.text()),
    b"UID": _KeyReader.uids,
}
