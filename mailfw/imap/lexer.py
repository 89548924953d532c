"""
The tokens of an IMAP command: RFC 3501 section 9.

A `Cursor` stands in one command behind its tag and name.  Every method takes what its name says from where
the cursor stands, or raises `BadSyntax`; none of them raises anything else.
"""

from __future__ import annotations

import calendar
import datetime as dt
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mailfw.imap import names
from mailfw.mail.dates import FIRST_TIME, LAST_TIME
from mailfw.mail.mailbox import SYSTEM_FLAGS

# ATOM-CHAR    = <any CHAR except atom-specials>
# atom-specials = "(" / ")" / "{" / SP / CTL / list-wildcards / quoted-specials / resp-specials
_ATOM = re.compile(rb'[^\x00-\x20(){%*"\\\]\x7f-\xff]+')
# ASTRING-CHAR = ATOM-CHAR / resp-specials
_ASTRING = re.compile(rb'[^\x00-\x20(){%*"\\\x7f-\xff]+')
# list-char    = ATOM-CHAR / list-wildcards / resp-specials
_LIST = re.compile(rb'[^\x00-\x20(){"\\\x7f-\xff]+')
# quoted       = DQUOTE *QUOTED-CHAR DQUOTE; octets above 127 are let through for whoever knows their charset
_QUOTED = re.compile(rb'"((?:[^"\\\x00\r\n]|\\["\\])*)"')
_QUOTED_PAIR = re.compile(rb'\\(["\\])')
# number       = 1*DIGIT                     ; (0 <= n < 4,294,967,296)
_NUMBER = re.compile(rb"[0-9]+")
# sequence-set = (seq-number / seq-range) *("," sequence-set)
_SEQUENCE_SET = re.compile(rb"[0-9*:,]+")
_NUMBERS = re.compile(rb"[1-9][0-9]{0,9}+(?:,[1-9][0-9]{0,9}+)*+(?![0-9*:,])")
# seq-number   = nz-number / "*"             seq-range = seq-number ":" seq-number
_RANGE = re.compile(rb"([1-9][0-9]{0,9}|\*)(?::([1-9][0-9]{0,9}|\*))?")
# flag         = "\" atom / atom
_FLAG = re.compile(rb'\\?[^\x00-\x20(){%*"\\\]\x7f-\xff]+')
# date-text    = date-day "-" date-month "-" date-year
_DATE = re.compile(rb'("?)([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\1(?![^ )])')
# date-time    = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE
# A day of one digit may come without the space before it, as several client libraries write it.
_DATE_TIME = re.compile(
    rb'"( ?[0-9]|[0-9]{2})-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"'
)
_MONTHS = {
    month: number
    for number, month in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(b" "), start=1)
}
_SYSTEM_FLAGS = {flag.lower(): flag for flag in (*SYSTEM_FLAGS, "\\Recent")}

_NUMBER_LIMIT = 2**32
_SPACE, _BRACE, _QUOTE, _OPEN, _CLOSE = b' {"()'


class BadSyntax(Exception):
    """The command does not follow the grammar; the text, and the response code if it has one, are for BAD."""

    code: bytes | None = None


class UIDRequired(BadSyntax):
    """A message number from a client that has enabled UIDONLY (RFC 9586 section 3)."""

    code = b"UIDREQUIRED"


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal of the command, without its ``{…}``; `binary` is the literal8 of RFC 3516, which may have NUL in it."""

    octets: bytes
    binary: bool = False


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """
    Message numbers or UIDs, as the client wrote them: ranges of two ends, None being ``*``.

    `is_saved` stands for what a search has saved, ``$`` (RFC 5182), and has no ranges.
    """

    ranges: tuple[tuple[int | None, int | None], ...] = ()
    is_saved: bool = False


class Cursor:
    """
    Stands in a command: lines without their CRLF and ``{…}``, with the literals between them.

    At a literal, `peek` shows ``{``.
    """

    __slots__ = ("_at", "_next", "_octets", "_pieces", "utf8", "without")

    def __init__(
        self,
        pieces: Sequence[bytes | Literal],
        at: int = 0,
        utf8: bool = False,
        without: frozenset[bytes] = frozenset(),
    ) -> None:
        """
        Stand at the beginning, or `at` octets into the first line.

        With `utf8` mailbox names come as UTF-8.  What belongs to a capability in `without` is not understood.
        """
        self.utf8 = utf8
        self.without = without
        self._pieces = pieces
        first = pieces[0] if pieces else b""
        self._octets = first if isinstance(first, bytes) else b""
        self._next = 1 if isinstance(first, bytes) else 0
        self._at = at

    # ------------------------------------------------------------ looking and stepping

    def peek(self) -> int:
        """Return the next octet, ``{`` before a literal, -1 at the end."""
        if self._at < len(self._octets):
            return self._octets[self._at]
        return _BRACE if self._next < len(self._pieces) else -1

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._octets) and self._next >= len(self._pieces)

    def expect_end(self) -> None:
        """Refuse whatever is left."""
        if not self.at_end():
            raise BadSyntax("Unexpected text at the end of the command")

    def space(self) -> None:
        """Take the one space between two arguments."""
        if self._at >= len(self._octets):
            raise BadSyntax("Missing argument")
        if self._octets[self._at] != _SPACE:
            raise BadSyntax("Expected a space between two arguments")
        self._at += 1

    def take(self, octets: bytes) -> bool:
        """Take exactly these octets, in upper or lower case, if they come next."""
        end = self._at + len(octets)
        found = self._octets[self._at : end]
        if found != octets and found.lower() != octets.lower():
            return False
        self._at = end
        return True

    def expect(self, octets: bytes) -> None:
        """Take exactly these octets, in upper or lower case."""
        if not self.take(octets):
            raise BadSyntax(f"Expected {octets.decode('ascii', 'replace')}")

    def needs(self, *capabilities: bytes) -> None:
        """Refuse what was just taken, where all capabilities that bring it are switched off."""
        if self.without and self.without.issuperset(capabilities):
            raise BadSyntax(f"There is no {b' or '.join(capabilities).decode('ascii')} here")

    def follows(self, *choices: bytes) -> bool:
        """Whether one of these, given in upper case, comes next within the line."""
        return any(self._octets[self._at : self._at + len(each)].upper() == each for each in choices)

    def rest(self) -> bytes | None:
        """Return what is left without taking it; None where a literal is among it."""
        return None if self._next < len(self._pieces) else self._octets[self._at :]

    def match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Take what a pattern matches here, within the line; None takes nothing."""
        found = pattern.match(self._octets, self._at)
        if found is not None:
            self._at = found.end()
        return found

    # ------------------------------------------------------------ strings

    def atom(self) -> bytes:
        """Take an atom."""
        found = self.match(_ATOM)
        if found is None:
            raise BadSyntax("Expected an atom")
        return found[0]

    def astring(self) -> bytes:
        """Take ``astring = 1*ASTRING-CHAR / string``."""
        found = self.match(_ASTRING)
        return found[0] if found is not None else self.string()

    def string(self) -> bytes:
        """Take ``string = quoted / literal``.  Quoted text may come with octets above 127, which RFC 3501 forbids."""
        found = self.match(_QUOTED)
        if found is not None:
            octets = found[1]
            return _QUOTED_PAIR.sub(rb"\1", octets) if b"\\" in octets else octets
        if self._at == len(self._octets) and self._next < len(self._pieces):
            return self._literal(binary=False)
        if self.peek() == _QUOTE:
            raise BadSyntax('A quoted string that is not right: quote " and \\ with \\, and close it')
        raise BadSyntax("Expected a string")

    def _literal(self, binary: bool) -> bytes:
        piece = self._pieces[self._next]
        octets, has_eight = (piece.octets, piece.binary) if isinstance(piece, Literal) else (b"", False)
        if has_eight and not binary:
            raise BadSyntax("A binary literal cannot stand here")
        self._next += 1
        self._octets, self._at = b"", 0
        if self._next < len(self._pieces):
            following = self._pieces[self._next]
            if isinstance(following, bytes):
                self._octets = following
                self._next += 1
        if b"\0" in octets and not has_eight:  # CHAR8 = %x01-ff
            raise BadSyntax("NUL in a literal")
        return octets

    def nstring(self) -> bytes | None:
        """Take ``nstring = string / nil``."""
        return None if self.take(b"NIL") else self.string()

    def nstring8(self) -> bytes | None:
        """Take ``nstring / literal8``."""
        if self._at == len(self._octets) and self._next < len(self._pieces):
            return self._literal(binary=True)
        return self.nstring()

    def mailbox(self) -> str:
        """
        Take a mailbox name: decoded, with ``INBOX`` in upper case where it is one.

        Whether it can be a path is for `names.to_path` to say.
        """
        return self._decoded(self.astring())

    def named(self) -> tuple[str, str]:
        """Take a mailbox name as `mailbox` does, and return too how it was written, if it came as UTF-8."""
        octets = self.astring()
        name = self._decoded(octets)
        written = octets.decode("utf-8") if self.utf8 else name
        return name, name if written.upper() == name else written  # the inbox has no other name

    def list_mailbox(self) -> str:
        """Take ``list-mailbox = 1*list-char / string``: a name with wildcards, as it was written."""
        found = self.match(_LIST)
        try:
            return names.pattern(found[0] if found is not None else self.string(), self.utf8)
        except names.BadName as bad:
            raise BadSyntax(str(bad)) from None

    def _decoded(self, octets: bytes) -> str:
        try:
            return names.decode(octets, self.utf8)
        except names.BadName as bad:
            raise BadSyntax(str(bad)) from None

    # ------------------------------------------------------------ numbers, sets, flags

    def number(self) -> int:
        """Take a number of 32 bits."""
        found = self.match(_NUMBER)
        if found is None:
            raise BadSyntax("Expected a number")
        number = int(found[0]) if len(found[0]) < 20 else _NUMBER_LIMIT
        if number >= _NUMBER_LIMIT:
            raise BadSyntax("A number beyond 32 bits")
        return number

    def nz_number(self) -> int:
        """Take a number of 32 bits that is not 0."""
        number = self.number()
        if not number:
            raise BadSyntax("Zero is not allowed here")
        return number

    def number64(self) -> int:
        """Take a number of 63 bits: ``number64`` of RFC 9051 section 9."""
        found = self.match(_NUMBER)
        if found is None or len(found[0]) > 19 or int(found[0]) >= 2**63:
            raise BadSyntax("Expected a number of 63 bits")
        return int(found[0])

    def sequence_set(self) -> SequenceSet:
        """Take ``sequence-set``, which may be ``$``."""
        if (found := self.match(_NUMBERS)) is not None:
            numbers = list(map(int, found[0].split(b",")))  # a client may name very many
            if max(numbers) >= _NUMBER_LIMIT:
                raise BadSyntax("A number beyond 32 bits")
            return SequenceSet(tuple(zip(numbers, numbers, strict=True)))
        if (found := self.match(_SEQUENCE_SET)) is not None:
            return SequenceSet(tuple(map(_range, found[0].split(b","))))
        if not self.take(b"$"):
            raise BadSyntax("Expected a sequence set")
        self.needs(b"SEARCHRES")
        return SequenceSet(is_saved=True)

    def flag_list(self) -> list[str]:
        """Take ``flag-list = "(" [flag *(SP flag)] ")"``: system flags as we spell them, keywords as the client did."""
        self.expect(b"(")
        if self.take(b")"):
            return []
        flags = self.flags()
        self.expect(b")")
        return flags

    def flags(self) -> list[str]:
        """Take ``flag *(SP flag)``."""
        flags = [self._flag()]
        while self.peek() == _SPACE:
            self._at += 1
            flags.append(self._flag())
        return flags

    def _flag(self) -> str:
        found = self.match(_FLAG)
        if found is None:
            raise BadSyntax("Expected a flag")
        flag = found[0].decode("ascii")
        return _SYSTEM_FLAGS.get(flag.lower(), flag) if flag[0] == "\\" else flag

    # ------------------------------------------------------------ dates

    def date(self) -> dt.date:
        """Take ``date = date-text / DQUOTE date-text DQUOTE``."""
        found = self.match(_DATE)
        if found is None:
            raise BadSyntax("Expected a date such as 1-Feb-2026")
        return _day(found[4], found[3], found[2])

    def date_time(self) -> int:
        """Take ``date-time``; return seconds since the epoch."""
        found = self.match(_DATE_TIME)
        if found is None:
            raise BadSyntax('Expected a date and time such as " 1-Feb-2026 12:00:00 +0000"')
        day = _day(found[3], found[2], found[1])
        hour, minute, second, zone_hour, zone_minute = (int(found[part]) for part in (4, 5, 6, 8, 9))
        if hour > 23 or minute > 59 or second > 60 or zone_minute > 59:
            raise BadSyntax("There is no such time")
        offset = (zone_hour * 60 + zone_minute) * 60
        here = calendar.timegm((day.year, day.month, day.day, hour, minute, second))
        epoch = here + offset if found[7] == b"-" else here - offset
        if not FIRST_TIME <= epoch <= LAST_TIME:
            raise BadSyntax("There is no such time")
        return epoch


@functools.lru_cache(maxsize=256)
def _range(octets: bytes) -> tuple[int | None, int | None]:
    found = _RANGE.fullmatch(octets)
    if found is None:
        raise BadSyntax("A sequence set that is not right")
    first = None if found[1] == b"*" else int(found[1])
    second = first if found[2] is None else None if found[2] == b"*" else int(found[2])
    if (first or 0) >= _NUMBER_LIMIT or (second or 0) >= _NUMBER_LIMIT:
        raise BadSyntax("A number beyond 32 bits")
    return first, second


def _day(year: bytes, month: bytes, day: bytes) -> dt.date:
    try:
        return dt.date(int(year), _MONTHS[month.lower()], int(day))
    except (KeyError, ValueError):
        raise BadSyntax("There is no such day") from None
