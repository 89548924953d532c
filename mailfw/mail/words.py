"""Text in header fields: the encoded words of RFC 2047 and the parameters of RFC 2231."""

from __future__ import annotations

import base64
import codecs
import encodings
import pkgutil
import re
from encodings import aliases
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from mailfw.mail.fields import Parameters, to_octets

# encoded-word = "=?" charset "?" encoding "?" encoded-text "?="      RFC 2047 section 2, language of RFC 2231 section 5
# Raw spaces in the text are forgiven, as mailers leave them in Q words.
_WORD = re.compile(rb"=\?([!-)+->@-~]{1,40})(?:\*[!->@-~]{0,40})?\?([QqBb])\?([^?\r\n]*)\?=")
_Q = re.compile(rb"=([0-9A-Fa-f]{2})")

#: What mailers call charsets that Python knows by another name, or that are less than what mailers really send.
_ALIASES = {
    "ks_c_5601-1987": "cp949",
    "ks_c_5601-1989": "cp949",
    "ks_c_5601": "cp949",
    "ksc5601": "cp949",
    "ksc_5601": "cp949",
    "ksc-5601": "cp949",
    "euc-kr": "cp949",
    "euckr": "cp949",
    "x-windows-949": "cp949",
    "windows-949": "cp949",
    "gb2312": "gb18030",
    "gb_2312-80": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "x-sjis": "cp932",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "windows-31j": "cp932",
    "cp-850": "cp850",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "utf8": "utf-8",
    "unicode-1-1-utf-7": "utf-7",
    "x-unknown": "utf-8",
    "unknown-8bit": "utf-8",
    "default": "utf-8",
    "windows-874": "cp874",
    "tis-620": "cp874",
    "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman",
    "big5": "big5hkscs",
    "x-big5": "big5hkscs",
}


def find_codec(charset: str) -> codecs.CodecInfo | None:
    """Return Python's codec for a charset as mail names it, None for one nobody knows."""
    name = charset.strip().strip("'\"").lower()
    return _find_codec(name) if len(name) <= _LONGEST else None


@lru_cache(maxsize=256)
def _find_codec(name: str) -> codecs.CodecInfo | None:
    # Python remembers for good every name that it is asked for.
    name = encodings.normalize_encoding(_ALIASES.get(name, name))
    if name not in _KNOWN and name.replace(".", "_") not in _KNOWN:
        return None
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    # Python also calls things a codec that are none for text: base64, zlib, rot13, and those of names in DNS.
    is_text = getattr(found, "_is_text_encoding", True) and found.name.replace("-", "_") not in _NOT_CHARSETS
    return found if is_text else None


#: Longer than any name of a charset.
_LONGEST = 40
_KNOWN = {*aliases.aliases, *(module.name for module in pkgutil.iter_modules(encodings.__path__))} - {"aliases"}
_NOT_CHARSETS = frozenset(("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"))


def decode_charset(octets: bytes, charset: str) -> str:
    """
    Return octets as text; what is not in the charset becomes U+FFFD.

    Of an unknown charset, and for what says ASCII but is not, UTF-8 is tried and Latin 1 taken.
    """
    if octets.isascii() and not _SHIFTS.search(octets):
        return octets.decode("ascii") if _is_ascii_like(charset) else _decode(octets, charset)
    return _decode(octets, charset)


# ISO 2022 escapes, SO, and the shift characters of UTF-7 and HZ
_SHIFTS = re.compile(rb"[\x0e\x1b+~]")


def _is_ascii_like(charset: str) -> bool:
    return not charset.lower().startswith(("utf-16", "utf-32", "utf16", "utf32", "ucs", "cp037", "cp500", "ibm"))


def _decode(octets: bytes, charset: str) -> str:
    codec = find_codec(charset)
    if codec is None or (codec.name == "utf-8" and _ALIASES.get(charset.lower()) == "utf-8"):
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            if codec is None:
                return octets.decode("latin-1")
    assert codec is not None
    try:
        return codec.decode(octets, "replace")[0]
    except (UnicodeError, ValueError):
        return octets.decode("latin-1")  # a codec that has no way to go on


def decode_words(value: bytes) -> str:
    """
    Return a field value as text, its encoded words decoded.

    Words that only white space parts are joined, also in the middle of a character (RFC 2047 section 6.2 forbids
    to send that, and mailers do).  Words are decoded wherever they stand, in quotes too.
    """
    if b"=?" not in value:
        return decode_charset(value, "utf8")
    pieces: list[str] = []
    charset, pending, position = "", bytearray(), 0
    for match in _WORD.finditer(value):
        between = value[position : match.start()]
        word_charset = match[1].decode("ascii").lower()
        if pending and (between.strip() or word_charset != charset):
            pieces.append(decode_charset(bytes(pending), charset))
            pending.clear()
        if between.strip() or not position:
            pieces.append(decode_charset(between, "utf8"))
        charset = word_charset
        pending += decode_b(match[3]) if match[2] in b"Bb" else _decode_q(match[3])
        position = match.end()
    if pending:
        pieces.append(decode_charset(bytes(pending), charset))
    pieces.append(decode_charset(value[position:], "utf8"))
    return "".join(pieces)


_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


def decode_b(octets: bytes) -> bytes:
    """Return base64 decoded, passing over everything that is not of its alphabet and what is left over."""
    digits = _NOT_BASE64.sub(b"", octets)
    left = len(digits) % 4
    if left == 1:
        digits = digits[:-1]
    return base64.b64decode(digits + b"=" * (-len(digits) % 4))


def _decode_q(octets: bytes) -> bytes:
    octets = octets.replace(b"_", b" ")
    return _Q.sub(lambda match: bytes((int(match[1], 16),)), octets) if b"=" in octets else octets


# ---------------------------------------------------------------- parameters


def decode_parameter(parameters: Parameters, wanted: str) -> str | None:
    """
    Return a parameter's value as text, put together from its sections, None if there is none.

    RFC 2231 comes before a plain value, in which encoded words are decoded, though RFC 2047 section 5 forbids them.
    """
    plain: str | None = None
    sections: dict[int, tuple[str, bool]] = {}
    for name, value in parameters:
        base, star, rest = name.lower().partition("*")
        if base != wanted:
            continue
        if not star:
            plain = value if plain is None else plain
            continue
        number, extended, _ = rest.partition("*")
        if not number:
            sections.setdefault(0, (value, True))
        elif number.isdecimal() and len(number) <= 3:
            sections.setdefault(int(number), (value, bool(extended)))
    if 0 in sections:
        return _join_sections(sections)
    return None if plain is None else decode_words(to_octets(plain))


def _join_sections(sections: dict[int, tuple[str, bool]]) -> str:
    charset, octets = "utf8", bytearray()
    number = 0
    while number in sections:
        value, extended = sections[number]
        if extended and number == 0 and value.count("'") >= 2:
            charset, _, value = value.split("'", 2)
        octets += unquote_to_bytes(to_octets(value)) if extended else to_octets(value)
        number += 1
    return decode_charset(bytes(octets), charset or "utf8")


# ---------------------------------------------------------------- writing

#: Octets of one word, so that it keeps to the 75 characters of RFC 2047 section 2.
_WORD_OCTETS = 45


def encode_words(text: str) -> str:
    """Return text as it can stand in an ASCII field: as encoded words, parted by spaces, unless it is ASCII."""
    if text.isascii():
        return text
    pieces = [b""]
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(pieces[-1]) + len(octets) > _WORD_OCTETS:  # a character stays in one word, RFC 2047 section 5
            pieces.append(b"")
        pieces[-1] += octets
    return " ".join(encode_word(piece, "utf-8") for piece in pieces)


def encode_word(octets: bytes, charset: str) -> str:
    """Write at most 45 octets as one encoded word of kind B (RFC 2047 section 4.1)."""
    return f"=?{charset}?B?{base64.b64encode(octets).decode('ascii')}?="
