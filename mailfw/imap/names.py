"""Mailbox names: between the octets of a command and paths, through modified UTF-7 (RFC 3501 section 5.1.3)."""

from __future__ import annotations

import binascii
import functools
import re

from mailfw.mail.mailbox import Path

DELIMITER = "/"

# RFC 3501 sets no limits.  A component must fit a file name (255 octets, POSIX NAME_MAX, in whichever of UTF-8
# and modified UTF-7 is longer); the whole must fit a path (PATH_MAX 4096) with room for where the store is.
_COMPONENT_LIMIT = 255
_DEPTH_LIMIT = 100
_NAME_LIMIT = 2000

# The Base64 of RFC 2045 with "," for "/", between "&" and "-"
_SHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")
_UNSHIFTED = re.compile(r"[^\x20-\x7e]+|&")
_PRINTABLE = re.compile(rb"[\x20-\x7e]*")
# Control characters of C0 and C1, and the separators that would break a line elsewhere
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class BadName(Exception):
    """Not a mailbox name; the text says why."""


def decode(octets: bytes) -> str:
    """
    Read a name in modified UTF-7, strictly: what could be written otherwise must be.

    The inbox comes back in upper case, also as the first of several names.
    """
    if octets[:5].upper() == b"INBOX" and octets[5:6] in (b"", b"/"):
        octets = b"INBOX" + octets[5:]
    if _PRINTABLE.fullmatch(octets) is None:
        raise BadName("A mailbox name must be in modified UTF-7, without 8-bit or control characters")
    if b"&" not in octets:
        return octets.decode("ascii")
    name = _decode_shifted(octets)
    # One name has one spelling: otherwise two clients would see two mailboxes where there is one.
    if encode(name) != octets:
        raise BadName("A mailbox name that is not in correct modified UTF-7")
    return name


def _decode_shifted(octets: bytes) -> str:
    pieces = []
    at = 0
    while (shift := octets.find(b"&", at)) >= 0:
        found = _SHIFTED.match(octets, shift)
        if found is None:
            raise BadName("A mailbox name with & that begins no modified UTF-7")
        pieces.append(octets[at:shift].decode("ascii"))
        pieces.append(_decode_base64(found[1]) if found[1] else "&")
        at = found.end()
    pieces.append(octets[at:].decode("ascii"))
    return "".join(pieces)


def _decode_base64(octets: bytes) -> str:
    padded = octets.replace(b",", b"/") + b"=" * (-len(octets) % 4)
    try:
        return binascii.a2b_base64(padded, strict_mode=True).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        raise BadName("A mailbox name with broken modified UTF-7") from None


@functools.lru_cache(maxsize=1024)
def encode(name: str) -> bytes:
    """Write a name in modified UTF-7.  A name that UTF-16 cannot hold is written as far as it can be."""
    return _UNSHIFTED.sub(_encode_shifted, name).encode("ascii")


def _encode_shifted(found: re.Match[str]) -> str:
    if found[0] == "&":
        return "&-"
    octets = binascii.b2a_base64(found[0].encode("utf-16-be", "replace"), newline=False)
    return "&" + octets.rstrip(b"=").replace(b"/", b",").decode("ascii") + "-"


def to_path(name: str) -> Path:
    """
    Split a decoded name into a path that any store can hold.

    Raises `BadName` for what could lead out of a store or cannot be typed by a user: empty, ``.`` and ``..``
    components, control characters, excess.
    """
    path = tuple(name.split(DELIMITER))
    if len(path) > _DEPTH_LIMIT or len(name) > _NAME_LIMIT:
        raise BadName("A mailbox name that is too long")
    for component in path:
        _check(component)
    return path


def _check(component: str) -> None:
    if not component:
        raise BadName("A mailbox name with an empty part")
    if component in (".", ".."):
        raise BadName("A mailbox name cannot have . or .. as a part")
    if _CONTROL.search(component):
        raise BadName("A mailbox name with control characters")
    if max(len(encode(component)), len(component.encode("utf-8", "replace"))) > _COMPONENT_LIMIT:
        raise BadName("A mailbox name with a part that is too long")


def from_path(path: Path) -> str:
    """Join a path into a decoded name."""
    return DELIMITER.join(path)
