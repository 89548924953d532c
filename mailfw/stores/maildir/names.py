"""The names of message files: what they say, and how they are made."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator

from mailfw.mail.mailbox import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN

#: The letters of the flags, by https://cr.yp.to/proto/maildir.html.
LETTERS = {DRAFT: "D", FLAGGED: "F", ANSWERED: "R", SEEN: "S", DELETED: "T"}
FLAG_OF = {letter: flag for flag, letter in LETTERS.items()}

#: Between what is unique in a name and its flags.
INFO = ":2,"

_TOKEN = re.compile(r"\d+\.M\d+P\d+Q\d+T([0-9a-f]{32})\.")
_SIZES = re.compile(r",([SW])=(\d+)")
_EMAIL_ID = re.compile(r"M[0-9a-f]{32}")


def base_of(name: str) -> str:
    """Return the part of a file's name that never changes."""
    return name.partition(":")[0]


def letters_of(name: str) -> str:
    """Return the letters of a file's name, those we have no flag for among them."""
    _, marked, info = name.partition(INFO)
    return info.partition(",")[0] if marked else ""


def with_letters(name: str, letters: Iterable[str]) -> str:
    """Return the name with these letters instead; what follows a comma behind them is other programs' and stays."""
    base, _, info = name.partition(INFO)
    _, comma, others = info.partition(",")
    return base_of(base) + INFO + "".join(sorted(set(letters))) + comma + others


def claimed_sizes(base: str) -> tuple[int | None, int | None]:
    """Return what a name says of the file's octets, and of its octets with CRLF line ends."""
    found = {letter: int(digits[:18]) for letter, digits in _SIZES.findall(base)}
    return found.get("S"), found.get("W")


def has_crlf(base: str, size: int) -> bool:
    """
    Whether a name says of a file that has this size that all its lines end with CRLF.

    Both sizes are the same, and true: every line ends so, or came to us without.
    """
    return base.endswith(f",S={size},W={size}") or claimed_sizes(base) == (size, size)


def is_message(name: str) -> bool:
    """Whether a file of this name is a message that ``dovecot-uidlist`` and SQLite can name."""
    return not name.startswith(".") and "\n" not in name and not name.startswith(":") and _is_unicode(name)


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def mark_of(base: str) -> str | None:
    """Return the mark of the token a message was delivered with, if it was with one."""
    found = _TOKEN.match(base)
    return found[1] if found else None


def saved_at(base: str, now: int) -> int:
    """
    Return the second in which a name was made, by https://cr.yp.to/proto/maildir.html when the message was delivered.

    Names of programs that do otherwise, or whose clock was ahead, count as made `now`.
    """
    seconds, dot, _ = base.partition(".")
    made = int(seconds) if dot and seconds.isascii() and seconds.isdigit() and len(seconds) <= 10 else 0
    return made if 0 < made <= now else now


def email_id_of(guid: str) -> str:
    """Return the email id for a GUID: a copy we made has its original's email id for a GUID already."""
    if _EMAIL_ID.fullmatch(guid):
        return guid
    return "M" + hashlib.sha256(guid.encode()).hexdigest()[:32]


class NameMaker:
    """Makes names that no other process of any host makes: a second, a fraction of it, process, count and host."""

    def __init__(self) -> None:
        self._count: Iterator[int] = itertools.count(1)
        # The host is escaped as https://cr.yp.to/proto/maildir.html says, and the comma that sizes begin with too.
        self._host = (
            socket.gethostname().replace("/", "\\057").replace(":", "\\072").replace(",", "\\054") or "localhost"
        )

    def make(self, mark: str | None = None) -> str:
        """Return a new name, without sizes; names sort as they were made, which is how files without UIDs get them."""
        now = time.time_ns() // 1000
        delivery = f"M{now % 1_000_000:06}P{os.getpid()}Q{next(self._count)}" + (f"T{mark}" if mark else "")
        return f"{now // 1_000_000}.{delivery}.{self._host}"


def with_sizes(name: str, size: int) -> str:
    """Return a new name that says how large the file is; what we write is served as it is, so both sizes are one."""
    return f"{name},S={size},W={size}"
