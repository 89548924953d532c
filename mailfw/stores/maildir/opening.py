"""Messages of an account's folders, opened and summarised wherever the folders are by now.  Everything here blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.logger import Logger

from mailfw.mail.summary import Summariser, Summary, summarise
from mailfw.stores.index.ledger import SourceBusy
from mailfw.stores.maildir.content import CHUNK, Octets, read_if_small
from mailfw.stores.maildir.folder import MaildirFolder
from mailfw.stores.maildir.root import MaildirRoot

log = Logger()
T = TypeVar("T")

#: How often something is tried again in a folder that other programs rename.
MOVES = 5


def within(maildir: MaildirRoot, folder: str, work: Callable[[MaildirFolder], T]) -> T:
    """
    Do something that can be done again in a folder, wherever it moves meanwhile.  Raises `NoSuchMailbox`.

    A folder that is in its place may have been away and come back.
    """
    for attempt in range(1, MOVES + 1):
        found = maildir.folder(folder)
        try:
            return work(found)
        except FileNotFoundError:
            if attempt == MOVES and found.is_in_place():
                raise
    raise SourceBusy(folder)


def opened(maildir: MaildirRoot, folder: str, key: str) -> Octets | bytes:
    """Open a message; a small one is read.  Raises `KeyError` if it is gone."""
    return read_if_small(maildir.folder(folder).open(key))


def all_opened(maildir: MaildirRoot, folder: str, keys: Sequence[str]) -> list[Octets | bytes | None]:
    """Open messages; None for those that are gone."""
    found: list[Octets | bytes | None] = []
    for key in keys:
        try:
            found.append(opened(maildir, folder, key))
        except KeyError:
            found.append(None)
    return found


def summary(maildir: MaildirRoot, folder: str, key: str) -> Summary | None:
    """Summarise a message; None for one that is gone, or cannot be read."""
    try:
        octets = within(maildir, folder, lambda found: found.open(key))
    except KeyError:
        return None
    except PermissionError as error:
        log.warn("a message cannot be read and is left out: {error}", error=error)  # noqa: G010 -- of Twisted
        return None
    small = read_if_small(octets)
    if isinstance(small, bytes):
        return summarise(small)
    summariser = Summariser()
    try:
        for offset in range(0, octets.size, CHUNK):
            summariser.feed(octets.read(offset, CHUNK))
    finally:
        octets.close()
    return summariser.finish()
