"""
Content transfer encodings that are written while the octets come (RFC 2045 section 6).

Each has ``feed`` and ``close``, which return what can be written so far; how the octets were split among calls makes no
difference.  None holds more than a line's worth of octets.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Protocol

#: RFC 5322 section 2.1.1: a line without its CRLF.
LINE_LIMIT = 998
#: Octets of one line that are encoded at once.
_PIECE = 4096
#: What becomes a line of 76 digits, the most that RFC 2045 section 6.8 allows.
_GROUP = 57
#: At least so much is encoded at once.
_BATCH = _GROUP * 256
#: Of a line that is too long; escaping makes it three times as long at most.
_SHORT = 300

# safe-char and spaces, but none at the end of the line, and no "." that is alone    RFC 2045 section 6.7
_PLAIN = re.compile(rb"[!-<>-~](?:[ -<>-~\t]{0,74}[!-<>-~])?")
_SOFT_BREAK = re.compile(rb"=\r?\n")
# `binascii` lets a line be longer by the octet before a LF, which it takes for the end though that is encoded, too
_TOO_LONG = re.compile(rb"^([^\n]{75})([^\n]=\r\n)", re.MULTILINE)
# What no line of 7bit may have: NUL, octets above 127, CR or LF that is no line end  RFC 2045 section 2.7
_NOT_SEVEN_BIT = re.compile(rb"[\0\x80-\xff\r\n]")
_DIRTY = re.compile(rb"[\0\x80-\xff]|\r(?!\n)|(?<!\r)\n|[^\n]{1000}")


class Sink(Protocol):
    """What octets can be fed to."""

    def feed(self, octets: bytes) -> bytes:
        """Take a piece and return what is ready."""

    def close(self) -> bytes:
        """Return the rest."""


def is_seven_bit(octets: bytes) -> bool:
    """Whether octets, as whole lines, may be sent as ``7bit`` (RFC 2045 section 2.7)."""
    return _DIRTY.search(octets) is None


class Untouched:
    """Nothing is done."""

    __slots__ = ()

    def feed(self, octets: bytes) -> bytes:
        """Return it."""
        return octets

    def close(self) -> bytes:
        """Return nothing."""
        return b""


class _Lines:
    """
    Takes octets apart into lines that end with CRLF, longer ones into pieces.

    The octets behind the last CRLF wait until there are more than a piece of them.
    """

    __slots__ = ("_piece", "_rest")

    def __init__(self, piece: int) -> None:
        self._piece = piece
        self._rest = b""

    def feed(self, octets: bytes) -> Iterator[tuple[bytes, bool]]:
        """Yield lines without their ends, and whether each ends there."""
        lines = (self._rest + octets).split(b"\r\n")
        self._rest = lines.pop()
        for line in lines:
            pieces = list(_cut(line, self._piece))
            for piece in pieces[:-1]:
                yield piece, False
            yield pieces[-1], True
        *pieces, self._rest = _cut(self._rest, self._piece, 1)  # its last octet may be half a line end
        for piece in pieces:
            yield piece, False

    def close(self) -> bytes:
        """Return what has no line end."""
        return self._rest


def _cut(line: bytes, piece: int, spare: int = 0) -> Iterator[bytes]:
    """Yield a line in pieces; no ``=3D`` is cut, so that what is quoted-printable goes on to be."""
    start = 0
    while len(line) - start > piece + spare:
        end = start + piece
        end -= next((back for back in (1, 2) if line[end - back] == 0x3D), 0)
        yield line[start:end]
        start = end
    yield line[start:]


#: Octets of an encoded line without its end (RFC 2045 section 6.7, rule 5).
_LONGEST = 76
# A line behind a soft line break that could be taken for a delimiter, to its end         RFC 2046 section 5.1.1
_DELIMITER = re.compile(rb"(?<==\r\n)--[^\r\n]*")


class QuotedPrintable:
    """The encoding of text: CRLF is a line end, every other CR and LF is an octet like any other."""

    __slots__ = ("_in_line", "_lines")

    def __init__(self) -> None:
        self._lines = _Lines(_PIECE)
        self._in_line = False

    def feed(self, octets: bytes) -> bytes:
        """Take a piece and return what is ready."""
        lines = self._lines.feed(octets)
        return self._guarded(b"".join([_quoted(line) + b"\r\n" if ends else _unended(line) for line, ends in lines]))

    def close(self) -> bytes:
        """Return the last line, which has no end where the text has none."""
        return self._guarded(_quoted(self._lines.close()))

    def _guarded(self, written: bytes) -> bytes:
        """Let no line that begins where the text has none be taken for the delimiter of a part."""
        whole = b"=\r\n" + written if self._in_line else written
        if b"=\r\n--" in whole:
            whole = _DELIMITER.sub(lambda found: _guard(found[0]), whole)
        ready = whole[3:] if self._in_line else whole
        if written:
            self._in_line = written.endswith(b"=\r\n")
        return ready


def _guard(line: bytes) -> bytes:
    """Write the first hyphen of a line as its code; the line is broken where there is no room for that."""
    if len(line) + 2 <= _LONGEST:
        return b"=2D" + line[1:]
    rest = line[2:]
    return b"=2D-=\r\n" + (_guard(rest) if rest.startswith(b"--") else rest)


def _quoted(line: bytes) -> bytes:
    if not line or (_PLAIN.fullmatch(line) is not None and line != b"."):
        return line
    written = _SOFT_BREAK.sub(b"=\r\n", binascii.b2a_qp(line, istext=False))
    return _TOO_LONG.sub(rb"\1=\r\n\2", written) if b"\n" in line else written


def _unended(piece: bytes) -> bytes:
    """Encode the beginning of a line, with a soft line break, for which the last 76 octets may have no room."""
    *whole, last = _quoted(piece).split(b"\r\n")
    return b"\r\n".join([*whole, *(part + b"=" for part in _cut(last, 72)), b""])


def quoted_printable(octets: bytes) -> bytes:
    """Encode text that is here whole."""
    encoder = QuotedPrintable()
    return encoder.feed(octets) + encoder.close()


class Base64:
    """The encoding of everything else; its last line has no end."""

    __slots__ = ("_rest", "_started")

    def __init__(self) -> None:
        self._rest = b""
        self._started = False

    def feed(self, octets: bytes) -> bytes:
        """Take a piece and return what is ready."""
        self._rest += octets
        if len(self._rest) <= _BATCH:
            return b""
        end = (len(self._rest) - 1) // _GROUP * _GROUP
        ready, self._rest = self._rest[:end], self._rest[end:]
        return self._lines(ready)

    def close(self) -> bytes:
        """Return the last lines."""
        return self._lines(self._rest) if self._rest else b""

    def _lines(self, octets: bytes) -> bytes:
        before = b"\r\n" if self._started else b""
        self._started = True
        return before + base64.encodebytes(octets)[:-1].replace(b"\n", b"\r\n")


class Escaped:
    """
    For what should be 7-bit and is quoted-printable or read by nobody: offending octets become ``=XX``.

    A line that is too long becomes several, parted by soft line breaks.
    """

    __slots__ = ("_between", "_lines", "_long")

    def __init__(self) -> None:
        self._lines = _Lines(LINE_LIMIT)
        self._between = b"=\r\n"
        self._long = False

    def feed(self, octets: bytes) -> bytes:
        """Take a piece and return what is ready."""
        return b"".join([self._line(line, ends) for line, ends in self._lines.feed(octets)])

    def close(self) -> bytes:
        """Return the last line."""
        *pieces, last = _cut(self._lines.close(), LINE_LIMIT)
        lines = [*(self._line(piece, False) for piece in pieces), self._line(last, True)]
        return b"".join(lines).removesuffix(b"\r\n")

    def _line(self, line: bytes, ends: bool) -> bytes:
        continued, self._long = self._long, not ends
        if ends and not continued and _NOT_SEVEN_BIT.search(line) is None:
            return line + b"\r\n"
        first, *more = [self._clean(piece) for piece in _cut(line, _SHORT)]
        pieces = [self._guarded(first) if continued else first, *map(self._guarded, more)]
        return self._between.join(pieces) + (b"\r\n" if ends else self._between)

    def _clean(self, piece: bytes) -> bytes:
        return _NOT_SEVEN_BIT.sub(lambda match: b"=%02X" % ord(match[0]), piece)

    def _guarded(self, piece: bytes) -> bytes:
        """Let it not be taken for the delimiter of a part."""
        return b"=2D" + piece[1:] if piece.startswith(b"--") else piece


class Cleansed(Escaped):
    """For base64: what is not of its alphabet goes, as every decoder passes it over (RFC 2045 section 6.8)."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self._between = b"\r\n"

    def _clean(self, piece: bytes) -> bytes:
        return _NOT_SEVEN_BIT.sub(b"", piece)

    def _guarded(self, piece: bytes) -> bytes:
        return piece.lstrip(b"-")
