"""Mailbox names: between the octets of a command and paths, through modified UTF-7 (RFC 3501 section 5.1.3)."""

from __future__ import annotations

import re
import unicodedata

from mailfw.mail import utf7
from mailfw.mail.mailbox import Path

DELIMITER = "/"

# RFC 3501 sets no limits.  A component must fit a file name (255 octets, POSIX NAME_MAX, in whichever of UTF-8
# and modified UTF-7 is longer); the whole must fit a path (PATH_MAX 4096) with room for where the store is.
_COMPONENT_LIMIT = 255
_DEPTH_LIMIT = 100
_NAME_LIMIT = 2000

# 8-bit only where the client may send UTF-8; nothing else below a space, and no DEL
_EIGHT_BIT = re.compile(rb"[\x20-\x7e\x80-\xff]*")
_PRINTABLE = re.compile(rb"[\x20-\x7e]*")
# Control characters of C0 and C1, and the separators that would break a line elsewhere
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class BadName(Exception):
    """Not a mailbox name; the text says why."""


def decode(octets: bytes, utf8: bool = False) -> str:
    """
    Read a name in modified UTF-7, strictly: what could be written otherwise must be; or in UTF-8.

    With `utf8` an ``&`` is itself, as RFC 9051 section 5.1 has it, and the name is put into NFC (RFC 6855 section 3
    wants Net-Unicode, which should be: RFC 5198 section 2).  The inbox comes back in upper case, also as the
    first of several names.
    """
    if octets[:5].upper() == b"INBOX" and octets[5:6] in (b"", b"/"):
        octets = b"INBOX" + octets[5:]
    if utf8:
        return _from_utf8(octets)
    if _PRINTABLE.fullmatch(octets) is None:
        raise BadName("A mailbox name must be in modified UTF-7, without 8-bit or control characters")
    try:
        return utf7.decode(octets.decode("ascii"))
    except ValueError:
        raise BadName("A mailbox name that is not in correct modified UTF-7") from None


def _from_utf8(octets: bytes) -> str:
    try:
        if _EIGHT_BIT.fullmatch(octets) is not None:
            return unicodedata.normalize("NFC", octets.decode("utf-8"))
    except UnicodeDecodeError:
        pass
    raise BadName("A mailbox name must be in UTF-8, without control characters")


def pattern(octets: bytes, utf8: bool = False) -> str:
    """
    Read a name with wildcards: what is not UTF-8 is not decoded.

    A wildcard may stand in the middle of what modified UTF-7 has shifted.
    """
    if utf8:
        return _from_utf8(octets)
    if _PRINTABLE.fullmatch(octets) is None:
        raise BadName("A pattern must be in modified UTF-7, without 8-bit or control characters")
    return octets.decode("ascii")


def encode(name: str) -> bytes:
    """Write a name in modified UTF-7.  A name that UTF-16 cannot hold is written as far as it can be."""
    return utf7.encode(name).encode("ascii")


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
