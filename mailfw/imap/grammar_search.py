"""The arguments of SEARCH: RFC 3501 sections 6.4.4 and 9, from octets to a tree of keys."""

from __future__ import annotations

from collections.abc import Callable

from mailfw.imap.keys import (
    And,
    Fuzzy,
    HasChanged,
    HasFlag,
    HasId,
    InBody,
    InField,
    InText,
    IsAmong,
    IsLarger,
    IsRecent,
    IsSmaller,
    IsYounger,
    Key,
    Not,
    Or,
    Received,
    Saved,
    Sent,
    When,
)
from mailfw.imap.lexer import BadSyntax, Cursor, SequenceSet
from mailfw.mail.mailbox import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from mailfw.mail.text import fold
from mailfw.mail.words import find_codec

#: RFC 3501 sets no limits.  Clients nest an OR for each address they know.
_KEYS, _DEPTH = 2000, 200
#: A saved result may be as large as the mailbox, and one of them is enough for anything.
_SAVED = 4
#: The greatest UID there could be.
_LAST_UID = 2**32 - 1
#: Day number of 1 January 1970 in the calendar of `datetime.date`.
_EPOCH = 719163
_SET_BEGINS = frozenset(b"*0123456789$")
#: What may be named where everything is in UTF-8: clients say US-ASCII where they only sort.
_PARTS_OF_UTF8 = frozenset({b"UTF-8", b"US-ASCII"})
#: What BADCHARSET recommends; every other charset for text that Python knows is understood as well.
CHARSETS = (b"US-ASCII", b"UTF-8", b"ISO-8859-1", b"EUC-KR", b"ISO-2022-JP", b"GB18030", b"BIG5")


class UnknownCharset(Exception):
    """SEARCH names a charset that nobody knows."""


def search(cursor: Cursor, with_charset: bool = True) -> And:
    """
    Read ``[SP "CHARSET" SP astring] 1*(SP search-key)``.

    Raises `UnknownCharset` beside `BadSyntax`.
    """
    cursor.space()
    charset = ""
    if cursor.take(b"CHARSET "):
        if not with_charset:
            raise BadSyntax("Everything is in UTF-8 now, and no charset is named")
        charset = _charset(cursor.astring())
        cursor.space()
    return _keys(cursor, charset)


def search_in_charset(cursor: Cursor, with_charset: bool = True) -> And:
    """Read ``charset 1*(SP search-key)``, the end of SORT and THREAD (RFC 5256 section 5); all the same in UTF-8."""
    name = cursor.astring()
    if not with_charset and name.upper() not in _PARTS_OF_UTF8:
        raise BadSyntax("Everything is in UTF-8 now, and no other charset is named")
    charset = _charset(name)
    cursor.space()
    return _keys(cursor, charset)


def _keys(cursor: Cursor, charset: str) -> And:
    reader = _KeyReader(cursor, charset)
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

    def __init__(self, cursor: Cursor, charset: str) -> None:
        self._cursor = cursor
        self._count = 0
        self._count_saved = 0
        # RFC 3501 has US-ASCII where no charset is named; clients send UTF-8 all the same, which contains it.
        self._charset = charset or "utf-8"

    def key(self, depth: int) -> Key:
        """Read one ``search-key``."""
        self._count += 1
        if self._count > _KEYS or depth > _DEPTH:
            raise BadSyntax("That search is too complicated")
        cursor = self._cursor
        if cursor.take(b"("):
            return self._list(depth + 1)
        if cursor.peek() in _SET_BEGINS:
            return self._among(by_uid=False)
        name = cursor.atom().upper()
        if name in _CAPABILITIES:
            cursor.needs(_CAPABILITIES[name])
        if name in _SIMPLE:
            return _SIMPLE[name]
        if name in (b"NOT", b"OR", b"FUZZY"):
            return self._with_keys(name, depth + 1)
        read = _WITH_ARGUMENT.get(name)
        if read is None:
            raise BadSyntax(f"There is no search key {name.decode('ascii')[:40]}")
        cursor.space()
        return read(self)

    def _with_keys(self, name: bytes, depth: int) -> Key:
        self._cursor.space()
        one = self.key(depth)
        if name == b"NOT":
            return Not(one)
        if name == b"FUZZY":
            return Fuzzy(one)
        self._cursor.space()
        return Or(one, self.key(depth))

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
            return fold(octets.decode(self._charset))
        except (UnicodeError, ValueError):
            raise BadSyntax("That text is not in the charset it is said to be in") from None

    def keyword(self) -> HasFlag:
        """Read ``flag-keyword = atom``."""
        return HasFlag(self._cursor.atom().decode("ascii").lower())

    def number(self) -> int:
        """Read a number."""
        return self._cursor.number()

    def interval(self) -> int:
        """Read ``nz-number``, seconds of RFC 5032."""
        return self._cursor.nz_number()

    def day(self) -> int:
        """Read a date, as days since the epoch."""
        return self._cursor.date().toordinal() - _EPOCH

    def uids(self) -> IsAmong:
        """Read a set of UIDs."""
        return self._among(by_uid=True)

    def uids_after(self) -> IsAmong:
        """Read ``nz-number``: the UIDs beyond it (RFC 9738 section 3.2), of which there may be none."""
        return _range(self._cursor.nz_number() + 1, _LAST_UID)

    def uids_before(self) -> IsAmong:
        """Read ``nz-number``: the UIDs below it."""
        return _range(1, self._cursor.nz_number() - 1)

    def _among(self, by_uid: bool) -> IsAmong:
        wanted = self._cursor.sequence_set()
        self._count_saved += wanted.is_saved
        if self._count_saved > _SAVED:
            raise BadSyntax("That search is too complicated")
        return IsAmong(wanted, by_uid)

    def modseq(self) -> HasChanged:
        """Read ``[entry-name SP entry-type-req SP] mod-sequence-valzer``: there is one sequence for all flags."""
        cursor = self._cursor
        if cursor.peek() == ord('"'):
            if not cursor.string().lower().startswith(b"/flags/"):
                raise BadSyntax("Only flags have modification sequences")
            cursor.space()
            if cursor.atom().lower() not in (b"all", b"shared", b"priv"):
                raise BadSyntax("Expected all, shared or priv")
            cursor.space()
        return HasChanged(_modseq(cursor))

    def header(self) -> InField:
        """Read ``header-fld-name SP astring``."""
        name = self._cursor.astring().lower()
        self._cursor.space()
        return InField(name, self.text())


def _range(first: int, last: int) -> IsAmong:
    return IsAmong(SequenceSet(((first, last),) if first <= last else ()), by_uid=True)


def _modseq(cursor: Cursor) -> int:
    """Read ``mod-sequence-valzer``, of 63 bits."""
    octets = cursor.atom()
    if not octets.isdigit() or len(octets) > 19 or int(octets) >= 2**63:
        raise BadSyntax("Expected a modification sequence")
    return int(octets)


_RECENT, _SEEN = IsRecent(), HasFlag(SEEN.lower())

_SIMPLE: dict[bytes, Key] = {
    b"ALL": And(),
    b"NEW": And((_RECENT, Not(_SEEN))),
    b"OLD": Not(_RECENT),
    b"RECENT": _RECENT,
    b"UNSEEN": Not(_SEEN),
    # RFC 8514 section 4.3: every mailbox of every store here can say, or says the internal date.
    b"SAVEDATESUPPORTED": And(),
}
for _flag in (ANSWERED, DELETED, DRAFT, FLAGGED):
    _SIMPLE[b"UN" + _flag[1:].upper().encode()] = Not(HasFlag(_flag.lower()))
for _flag in (ANSWERED, DELETED, DRAFT, FLAGGED, SEEN):
    _SIMPLE[_flag[1:].upper().encode()] = HasFlag(_flag.lower())

#: What extensions bring.
_CAPABILITIES: dict[bytes, bytes] = {
    b"FUZZY": b"SEARCH=FUZZY",
    b"MODSEQ": b"CONDSTORE",
    **dict.fromkeys((b"YOUNGER", b"OLDER"), b"WITHIN"),
    **dict.fromkeys((b"UIDAFTER", b"UIDBEFORE"), b"MESSAGELIMIT"),
    **dict.fromkeys((b"EMAILID", b"THREADID"), b"OBJECTID"),
    **dict.fromkeys((b"SAVEDBEFORE", b"SAVEDON", b"SAVEDSINCE", b"SAVEDATESUPPORTED"), b"SAVEDATE"),
}
_WITH_ARGUMENT: dict[bytes, Callable[[_KeyReader], Key]] = {
    b"KEYWORD": _KeyReader.keyword,
    b"UNKEYWORD": lambda reader: Not(reader.keyword()),
    b"LARGER": lambda reader: IsLarger(reader.number()),
    b"SMALLER": lambda reader: IsSmaller(reader.number()),
    b"BEFORE": lambda reader: Received(When.BEFORE, reader.day()),
    b"ON": lambda reader: Received(When.ON, reader.day()),
    b"SINCE": lambda reader: Received(When.SINCE, reader.day()),
    b"YOUNGER": lambda reader: IsYounger(reader.interval(), True),
    b"OLDER": lambda reader: IsYounger(reader.interval(), False),
    b"MODSEQ": _KeyReader.modseq,
    b"EMAILID": lambda reader: HasId(reader.object_id(), of_thread=False),
    b"THREADID": lambda reader: HasId(reader.object_id(), of_thread=True),
    b"SAVEDBEFORE": lambda reader: Saved(When.BEFORE, reader.day()),
    b"SAVEDON": lambda reader: Saved(When.ON, reader.day()),
    b"SAVEDSINCE": lambda reader: Saved(When.SINCE, reader.day()),
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
    b"UIDAFTER": _KeyReader.uids_after,
    b"UIDBEFORE": _KeyReader.uids_before,
}
