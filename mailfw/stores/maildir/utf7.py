"""The modified UTF-7 of mailbox names, as Maildir++ has it in the names of folders (RFC 3501 section 5.1.3)."""

from __future__ import annotations

import base64
import binascii
import re

#: Printable US-ASCII except "&" stands for itself.
_SHIFTED = re.compile(r"[^\x20-\x25\x27-\x7e]+")
_ENCODED = re.compile(r"&([A-Za-z0-9+,]*)-")


def encode(name: str) -> str:
    """Return a name in US-ASCII."""
    return _SHIFTED.sub(_shift, name.replace("&", "\0")).replace("\0", "&-") if "\0" not in name else _refuse(name)


def _refuse(name: str) -> str:
    raise ValueError(f"NUL in {name!r}")


def _shift(run: re.Match[str]) -> str:
    return "\0".join(_base64(part) for part in run[0].split("\0"))


def _base64(text: str) -> str:
    if not text:
        return ""
    octets = text.encode("utf-16-be")
    return "&" + base64.b64encode(octets).decode("ascii").rstrip("=").replace("/", ",") + "-"


def decode(name: str) -> str:
    """Return what a name stands for.  Raises `ValueError` for what `encode` would not have written."""
    text = _ENCODED.sub(_unshift, name)
    if encode(text) != name:
        raise ValueError(f"not modified UTF-7: {name!r}")
    return text


def _unshift(run: re.Match[str]) -> str:
    if not run[1]:
        return "&"
    encoded = run[1].replace(",", "/")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError(f"not modified UTF-7: {run[0]!r}")
