"""Where in a directory an account's files are."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from mailfw.mail.failure import NoSuchAccount

#: NAME_MAX of Linux's file systems, in octets.
NAME_LIMIT = 255

#: The directory of the indexes of plug-ins' sources, in the site's data.
INDEX = "index"

#: A separator of paths, a leading dot (those names are for the store's own use), and the sign that escapes them.
_DANGEROUS = re.compile(r"[/%\x00-\x1f\x7f]|^\.")


def account_directory(root: Path, account: str) -> Path:
    """
    Return ``root/domain/local`` for ``local@domain``; no two accounts share one, and none is anywhere else.

    Raises `NoSuchAccount` for a name that is no address or too long.
    """
    local, at, domain = unicodedata.normalize("NFC", account).lower().rpartition("@")
    try:
        names = [_DANGEROUS.sub(_escape, name) for name in (domain, local)]
        usable = all(0 < len(name.encode()) <= NAME_LIMIT for name in names)
    except UnicodeEncodeError:
        usable = False
    if not at or not usable:
        raise NoSuchAccount(f"{account!r} cannot be the name of an account")
    return root.joinpath(*names)


def _escape(character: re.Match[str]) -> str:
    return f"%{ord(character[0]):02x}"
