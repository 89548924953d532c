"""Header fields with raw 8-bit text, as fields that every server takes: RFC 2047, RFC 2231, and short lines."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes

from mailfw.mail.transfer import LINE_LIMIT
from mailfw.mail.words import encode_word

# A run of words with 8-bit octets; specials of RFC 5322 section 3.2.3 and white space end a word.
_PLAIN = rb"[^\s\0-\x1f\"(),:;<>@\[\]\\\x80-\xff]"
_ANY = rb"[^\s\0-\x1f\"(),:;<>@\[\]\\]"
_WORD = rb"(?<!%b)%b*+[\x80-\xff]%b*+" % (_ANY, _PLAIN, _ANY)
_RUN = re.compile(rb"%b(?:[ \t\r\n]++%b)*" % (_WORD, _WORD))
# quoted-string, or one that is not closed                                            RFC 5322 section 3.2.4
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*+)(?:"|\Z)', re.DOTALL)
_PAIR = re.compile(rb"\\(.)", re.DOTALL)
# parameter := attribute "=" value                                                    RFC 2045 section 5.1
_PARAMETER = re.compile(
    rb';([ \t\r\n]*+)([!#$&+.^_`{|}~0-9A-Za-z-]++)\*?[ \t]*+=[ \t]*+("(?:[^"\\]|\\.)*+(?:"|\Z)|[^;"]*+)', re.DOTALL
)
_FOLD = re.compile(rb"\r?\n")
_BARE = re.compile(rb"\r|\n|\0")
#: Fields whose values have parameters.
_WITH_PARAMETERS = (b"content-type", b"content-disposition")
#: Octets of one encoded word.
_PIECE = 45
#: Where a line that is too long is cut if there is nothing better.
_CUT = LINE_LIMIT - 8


def plain_field(raw: bytes) -> bytes:
    """
    Return one raw field, folds and line end included, in 7 bits and lines of at most 998 octets.

    A field that is so already comes back octet for octet.
    """
    raw = _with_line_ends(raw)
    if not raw.isascii():
        name, _, value = raw.partition(b":")
        if name.rstrip(b" \t").lower() in _WITH_PARAMETERS:
            raw = name + b":" + _PARAMETER.sub(_parameter, value)
        raw = _RUN.sub(_run, _QUOTED.sub(_quoted, raw))
    return raw if _is_short(raw) else _shortened(raw)


def _with_line_ends(raw: bytes) -> bytes:
    """Bring a field's line ends into the one form; a NUL, and a CR or LF that is no line end, become spaces."""
    if b"\0" not in raw and raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n"):
        return raw
    lines = re.split(rb"\r?\n", raw.removesuffix(b"\n").removesuffix(b"\r"))
    return b"\r\n".join(_BARE.sub(b" ", line) for line in lines) + b"\r\n"


def _run(match: re.Match[bytes]) -> bytes:
    return _words(_FOLD.sub(b"", match[0]))


def _quoted(match: re.Match[bytes]) -> bytes:
    """Write a quoted string as encoded words, which must not be in quotes (RFC 2047 section 5)."""
    return match[0] if match[1].isascii() else _words(_FOLD.sub(b"", _PAIR.sub(rb"\1", match[1])))


def _words(octets: bytes) -> bytes:
    charset = _charset(octets)
    pieces: list[bytes] = []
    while octets:
        end = min(_PIECE, len(octets))
        while charset == "utf-8" and end < len(octets) and octets[end] & 0xC0 == 0x80:
            end -= 1  # a character stays in one word, RFC 2047 section 5
        pieces.append(octets[:end])
        octets = octets[end:]
    return b"\r\n ".join(encode_word(piece, charset).encode("ascii") for piece in pieces)


def _charset(octets: bytes) -> str:
    """Name what it seems to be; RFC 1428 has a name for what nobody knows."""
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return "unknown-8bit"
    return "utf-8"


def _parameter(match: re.Match[bytes]) -> bytes:
    """Write a parameter as RFC 2231 section 4 does."""
    space, name, value = match[1], match[2], match[3]
    if value.isascii():
        return match[0]
    inner = value.rstrip(b" \t\r\n")
    after = value[len(inner) :]
    if inner.startswith(b'"'):
        inner = _PAIR.sub(rb"\1", inner[1:].removesuffix(b'"'))
    inner = _FOLD.sub(b"", inner)
    digits = quote_from_bytes(inner, safe="")
    return space.join((b";", name)) + f"*={_charset(inner)}''{digits}".encode("ascii") + after


def _is_short(raw: bytes) -> bool:
    return len(raw) <= LINE_LIMIT or all(len(line) <= LINE_LIMIT for line in raw.split(b"\r\n"))


def _shortened(raw: bytes) -> bytes:
    """Fold lines that are too long where they have a space, or else anywhere: that is better than no delivery."""
    lines: list[bytes] = []
    for line in raw.split(b"\r\n"):
        while len(line) > LINE_LIMIT:
            at = line.rfind(b" ", 1, _CUT)
            if at > 1 and line[:at].strip():
                lines.append(line[:at])
                line = line[at:]
            else:
                lines.append(line[:_CUT])
                line = b" " + line[_CUT:]
        lines.append(line)
    return b"\r\n".join(lines)
