"""The modified UTF-7 of mailbox names, in IMAP and in the names of Maildir++ folders (RFC 3501 section 5.1.3)."""

from __future__ import annotations

import binascii
import functools
import re

# The Base64 of RFC 2045 with "," for "/", between "&" and "-"
_SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")
_UNSHIFTED = re.compile(r"[^\x20-\x7e]+|&")


@functools.lru_cache(maxsize=1024)
def encode(name: str) -> str:
    """Write a name in US-ASCII.  What UTF-16 cannot hold (lone surrogates) becomes a question mark."""
    return _UNSHIFTED.sub(_shift, name)


def _shift(found: re.Match[str]) -> str:
    if found[0] == "&":
        return "&-"
    octets = binascii.b2a_base64(found[0].encode("utf-16-be", "replace"), newline=False)
    return f"&{octets.decode('ascii').rstrip('=').replace('/', ',')}-"


def decode(name: str) -> str:
    """
    Read a name, strictly: one name has one spelling, or two clients would see two mailboxes where there is one.

    Raises `ValueError` for whatever `encode` would not have written.
    """
    if not name.isascii():
        raise ValueError(f"8-bit characters in {name!r}")
    text = _SHIFTED.sub(_unshift, name)
    if encode(text) != name:
        raise ValueError(f"not modified UTF-7: {name!r}")
    return text


def _unshift(found: re.Match[str]) -> str:
    if not found[1]:
        return "&"
    padded = found[1].replace(",", "/") + "=" * (-len(found[1]) % 4)
    try:
        return binascii.a2b_base64(padded, strict_mode=True).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError(f"not modified UTF-7: {found[0]!r}") from None
