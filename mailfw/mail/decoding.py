"""Content transfer encodings undone piece by piece, as far as they can be: RFC 2045 section 6, and uuencode."""

from __future__ import annotations

import binascii
import re
from typing import Protocol


class Decoder(Protocol):
    """Takes octets in any pieces; never raises on any, and holds no more than a line."""

    def feed(self, octets: bytes) -> bytes:
        """Take the next piece, and return what is decoded."""

    def close(self) -> bytes:
        """Return the rest."""


class Identity:
    """What was never encoded."""

    def feed(self, octets: bytes) -> bytes:
        """Return it."""
        return octets

    def close(self) -> bytes:
        """Return nothing."""
        return b""


# RFC 2045 section 6.8: all characters outside the alphabet must be ignored
_FOREIGN = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))


class Base64:
    """What is outside the alphabet is passed over, and ``=`` ends a run of characters wherever it stands."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, octets: bytes) -> bytes:
        """Decode what is complete."""
        *ended, last = (self._rest + octets.translate(None, _FOREIGN)).split(b"=")
        whole = len(last) & ~3
        self._rest = last[whole:]
        decoded = binascii.a2b_base64(last[:whole])
        return b"".join([*[_run(each) for each in ended if len(each) > 1], decoded]) if ended else decoded

    def close(self) -> bytes:
        """Decode characters that lack their ``=``."""
        rest, self._rest = self._rest, b""
        return _run(rest)


def _run(characters: bytes) -> bytes:
    """Decode a run that ends in the middle of four; a single character left over says nothing."""
    if len(characters) % 4 == 1:
        characters = characters[:-1]
    return binascii.a2b_base64(characters + b"==")


class QuotedPrintable:
    """An ``=`` that begins nothing stays as it is (RFC 2045 section 6.7, the notes on robustness)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, octets: bytes) -> bytes:
        """Decode all but what may be half of something."""
        octets = self._rest + octets
        at = octets.rfind(b"=", max(0, len(octets) - 2))
        octets, self._rest = (octets, b"") if at < 0 else (octets[:at], octets[at:])
        return _unquoted(octets)

    def close(self) -> bytes:
        """Decode the rest."""
        rest, self._rest = self._rest, b""
        return _unquoted(rest)


# hex-octet := "=" 2(DIGIT / "A" / "B" / "C" / "D" / "E" / "F"), or a soft line break
_ESCAPE = re.compile(rb"=(?!\r?\n|[0-9A-Fa-f]{2})")


def _unquoted(octets: bytes) -> bytes:
    return binascii.a2b_qp(_ESCAPE.sub(b"=3D", octets))


# A length, and characters of six bits each
_UU = re.compile(rb"[\x20-\x60]+")
#: Octets of a line of uuencode, which has 61 characters; what is longer is none.
_LINE = 1024


class UUEncoded:
    """Lines from ``begin`` to ``end``; what is around them is passed over, and so is a line that cannot be read."""

    def __init__(self) -> None:
        self._rest = b""
        self._inside = False

    def feed(self, octets: bytes) -> bytes:
        """Decode all whole lines."""
        *lines, rest = (self._rest + octets).split(b"\n")
        self._rest = rest[: _LINE + 1]
        return b"".join(map(self._line, lines))

    def close(self) -> bytes:
        """Decode a last line without an end."""
        return self._line(self._rest)

    def _line(self, line: bytes) -> bytes:
        if len(line) > _LINE:
            return b""
        if not self._inside:
            self._inside = line.startswith(b"begin ")
            return b""
        if line.rstrip() == b"end":
            self._inside = False
            return b""
        if _UU.match(line) is None:
            return b""
        try:
            return binascii.a2b_uu(line.rstrip(b"\r"))
        except binascii.Error:
            return _forgiving(line)


def _forgiving(line: bytes) -> bytes:
    """Decode a line that has something behind its octets, as some encoders write a checksum there."""
    count = (line[0] - 32) & 63
    try:
        return binascii.a2b_uu(line[: 1 + (count * 4 + 5) // 3])
    except binascii.Error:
        return b""


_DECODERS: dict[str, type[Decoder]] = {
    **dict.fromkeys(("", "7bit", "8bit", "binary"), Identity),
    "base64": Base64,
    "quoted-printable": QuotedPrintable,
    **dict.fromkeys(("x-uuencode", "x-uue", "uuencode"), UUEncoded),
}


def decoder(encoding: str) -> Decoder | None:
    """Return what undoes an encoding, named in lower case; None where that is not known."""
    made = _DECODERS.get(encoding)
    return made() if made is not None else None
