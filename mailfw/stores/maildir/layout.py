"""
How a maildir's folders lie in its root, by Maildir++: ``.Work.2026`` is ``("Work", "2026")``, the root the inbox.

Each name is escaped as Dovecot's listescape plug-in does it (``\\2e`` for a dot), then put in modified UTF-7.
Folders whose names begin with two dots are ours, on their way in or out.
"""

from __future__ import annotations

import re

from mailfw.mail import utf7
from mailfw.mail.failure import NameRefused
from mailfw.mail.mailbox import INBOX, Path

#: Made aside and renamed into place, or renamed away before they are emptied.
ASIDE = "..mailfw-"

#: NAME_MAX of Linux's file systems, in octets.
NAME_LIMIT = 255

_DANGEROUS = re.compile(r"[./\\]|^~")
_ESCAPED = re.compile(r"\\(2e|5c|7e)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def directory_of(path: Path) -> str:
    """Return the name of a folder's directory.  Raises `NameRefused`."""
    for name in path:
        if not name or _CONTROL.search(name) or "/" in name:
            raise NameRefused(f"{name!r} cannot be the name of a mailbox here")
    directory = "." + ".".join(utf7.encode(_DANGEROUS.sub(_escape, name)) for name in path)
    if not path or len(directory) > NAME_LIMIT:
        raise NameRefused("the name of a mailbox, with all above it, is too long or empty")
    return directory


def _escape(character: re.Match[str]) -> str:
    return f"\\{ord(character[0]):02x}"


def path_of(directory: str) -> Path | None:
    """Return the path that a directory's name stands for; None for one that `directory_of` would not give."""
    try:
        names = [utf7.decode(name) for name in directory[1:].split(".")]
        path = tuple(_ESCAPED.sub(lambda code: chr(int(code[1], 16)), name) for name in names)
        return path if directory_of(path) == directory and not is_inbox(path) else None
    except (ValueError, NameRefused):
        return None


def is_inbox(path: Path) -> bool:
    """Whether a path is the inbox, whose name is so in any case (RFC 3501 section 5.1)."""
    return len(path) == 1 and path[0].casefold() == INBOX[0].casefold()
