"""Text in the parameters of SMTP: xtext (RFC 3461 section 4), and its kin for other alphabets (RFC 6533 section 3)."""

from __future__ import annotations

import re

# xtext = *( xchar / hexchar ); xchar = %x21-2A / %x2C-3C / %x3E-7E           RFC 3461 section 4
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
_NOT_XCHAR = re.compile(rb"[^!-*,-<>-~]")
# utf-8-addr-unitext = 1*(QUCHAR / EmbeddedUnicodeChar)                       RFC 6533 section 3
# QUCHAR = %x21-2a / %x2c-3c / %x3e-5b / %x5d-7e / UTF8-2 / UTF8-3 / UTF8-4; EmbeddedUnicodeChar = "\x{" HEXPOINT "}"
_UNITEXT = re.compile(r"(?:[!-*,-<>-\[\]-~\x80-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})+")
_EMBEDDED = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")
_NOT_QUCHAR = re.compile(r"[\x00- +=\\\x7f]")
# What ends a line for somebody, or names nobody: controls, separators of lines, halves of pairs.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def encode_xtext(text: str) -> str:
    """Write text for a parameter, as UTF-8 where it is not ASCII (RFC 6531 section 3.3 has AUTH so)."""
    return _NOT_XCHAR.sub(lambda found: b"+%02X" % found[0][0], text.encode("utf-8")).decode("ascii")


def decode_xtext(encoded: str) -> str:
    """Read xtext.  Raises `ValueError` for what is none, is no UTF-8, or holds controls."""
    if not _XTEXT.fullmatch(encoded):
        raise ValueError("not xtext")
    octets = _HEXCHAR.sub(lambda found: chr(int(found[1], 16)), encoded).encode("latin-1")
    return _printable(octets.decode("utf-8"))


def encode_unitext(address: str, utf8: bool) -> str:
    """Write an address for ``ORCPT=utf-8;``: as it is with SMTPUTF8, in ASCII without."""
    unwritable = _NOT_QUCHAR if utf8 else _NOT_QCHAR
    return unwritable.sub(lambda found: f"\\x{{{ord(found[0]):02X}}}", address)


def decode_unitext(encoded: str) -> str:
    """Read utf-8-addr-xtext or utf-8-addr-unitext.  Raises `ValueError`."""
    if not _UNITEXT.fullmatch(encoded):
        raise ValueError("not unitext")
    return _printable(_EMBEDDED.sub(lambda found: chr(int(found[1], 16)), encoded))


def _printable(text: str) -> str:
    """Return the text; a decoded value ends up in header fields and logs, which it must not be able to break."""
    if _UNPRINTABLE.search(text):
        raise ValueError("controls")
    return text
