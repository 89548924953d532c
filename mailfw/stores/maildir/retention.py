"""
What was expunged from a maildir, in a directory that no program shows as a mailbox.

``mailfw-retained/<hour>/<folder>/cur/<name>`` is a message expunged in that hour (since the epoch), by the name that
it had; ``mailfw-retained/<hour>-<random>/<folder>/`` is a folder that was deleted, as it was.  The inbox is the folder
``INBOX``.  Names say flags as in every maildir, by the ``dovecot-keywords`` beside ``cur``.  A message's time of
change is when it was expunged.  Everything here blocks.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path as FilePath

from mailfw.disk import Disk
from mailfw.mail.mailbox import DELETED, INBOX, Path
from mailfw.mail.retained import Retained
from mailfw.stores.maildir import keywords, layout
from mailfw.stores.maildir.admission import Arrival
from mailfw.stores.maildir.content import Octets, open_message
from mailfw.stores.maildir.keywords import Keywords
from mailfw.stores.maildir.names import NameMaker, base_of, claimed_sizes, email_id_of, is_message, letters_of

#: Neither a folder of Maildir++, whose names begin with a dot, nor anything else that a mail program looks for.
NAME = "mailfw-retained"
#: What the inbox is called in it.
_INBOX = "INBOX"
_HOUR = 3600.0
_BATCH = re.compile(r"([0-9]{1,9})(-[0-9a-f]{16})?")
_SUBDIRECTORIES = ("cur", "new")


class Retention:
    """The expunged messages of one account; `root` is its maildir."""

    def __init__(self, disk: Disk, root: str) -> None:
        self._disk = disk
        self._root = root
        self._path = f"{root}/{NAME}"

    # ------------------------------------------------------------ keeping

    def place(self, directory: str, names: Iterable[str]) -> str:
        """Return the directory that messages of a folder, by these names, are to be moved to, made if need be."""
        place = f"{self._path}/{int(time.time() // _HOUR)}/{self._folder(directory)}"
        self._disk.make_directory(f"{place}/cur")
        if any(letter.islower() for name in names for letter in letters_of(name)):
            self._keep_keywords(directory, place)
        return f"{place}/cur"

    def _folder(self, directory: str) -> str:
        return _INBOX if directory == self._root else directory.rpartition("/")[2]

    def _keep_keywords(self, directory: str, place: str) -> None:
        """Keep what the letters mean: files of keywords are replaced, never changed, and letters stay what they are."""
        with suppress(FileNotFoundError):
            self._disk.unlink(f"{place}/{keywords.NAME}")
        with suppress(OSError):  # without, the message comes back without its keywords
            self._disk.link(f"{directory}/{keywords.NAME}", f"{place}/{keywords.NAME}")

    def keep_folder(self, directory: str) -> None:
        """Move a whole folder away, durably."""
        place = f"{self._path}/{int(time.time() // _HOUR)}-{secrets.token_hex(8)}"
        self._disk.make_directory(place)
        self._disk.rename(directory, f"{place}/{self._folder(directory)}")
        self._disk.sync_directory(place)
        self._disk.sync_directory(self._root)

    # ------------------------------------------------------------ looking

    def listing(self) -> Iterator[Retained]:
        """Yield every message."""
        for batch in _names(self._path):
            if _BATCH.fullmatch(batch):
                for folder in _names(f"{self._path}/{batch}"):
                    path = INBOX if folder == _INBOX else layout.path_of(folder)
                    if path is not None:
                        yield from self._folder_listing(f"{batch}/{folder}", path, batch)

    def _folder_listing(self, where: str, path: Path, batch: str) -> Iterator[Retained]:
        meanings = Keywords(self._disk, f"{self._path}/{where}")
        meanings.refresh()
        moved = None
        if "-" in batch:  # the folder was moved as it was, and its messages know nothing of it
            with suppress(FileNotFoundError):
                moved = FilePath(f"{self._path}/{where}").stat().st_ctime
        for subdirectory in _SUBDIRECTORIES:
            for name in _names(f"{self._path}/{where}/{subdirectory}"):
                with suppress(FileNotFoundError):
                    if is_message(name):
                        yield self._message(f"{where}/{subdirectory}/{name}", path, meanings, moved)

    def _message(self, id_: str, path: Path, meanings: Keywords, moved: float | None) -> Retained:
        status = os.lstat(f"{self._path}/{id_}")
        name = id_.rpartition("/")[2]
        return Retained(
            id_,
            path,
            status.st_ctime if moved is None else moved,
            int(status.st_mtime),
            claimed_sizes(base_of(name))[1] or status.st_size,
            meanings.flags(letters_of(name)),
        )

    def open(self, id_: str) -> Octets:
        """Open a message.  Raises `KeyError`."""
        try:
            descriptor = open_message(f"{self._path}/{_checked(id_)}")
        except FileNotFoundError:
            raise KeyError(id_)
        size = os.fstat(descriptor).st_size
        return Octets(descriptor, converts=claimed_sizes(base_of(id_.rpartition("/")[2])) != (size, size))

    # ------------------------------------------------------------ giving back

    def arrivals(self, ids: Sequence[str], make_name: NameMaker) -> list[Arrival]:
        """Return the messages that are here still, on their way into a folder."""
        meanings: dict[str, Keywords] = {}
        return [
            self._arrival(id_, meanings, make_name) for id_ in ids if os.path.lexists(f"{self._path}/{_checked(id_)}")
        ]

    def _arrival(self, id_: str, meanings: dict[str, Keywords], make_name: NameMaker) -> Arrival:
        where, _, name = id_.rpartition("/")
        folder = where.rpartition("/")[0]
        if folder not in meanings:
            meanings[folder] = Keywords(self._disk, f"{self._path}/{folder}")
            meanings[folder].refresh()
        base = base_of(name)
        _, comma, sizes = base.partition(",")
        return Arrival(
            make_name.make() + comma + sizes,
            meanings[folder].flags(letters_of(name)) - {DELETED},
            partial(self._disk.rename, f"{self._path}/{id_}"),
            partial(self._take_back, f"{self._path}/{id_}"),
            {"G": email_id_of(base)},
        )

    def _take_back(self, path: str, restored: str) -> None:
        self._disk.rename(restored, path)

    # ------------------------------------------------------------ forgetting

    def forget(self, before: float) -> Iterator[None]:
        """Remove for good what was expunged before a time, with a pause for the caller after each file."""
        for batch in _names(self._path):
            found = _BATCH.fullmatch(batch)
            if found and (int(found[1]) + 1) * _HOUR <= before:
                yield from _removed(f"{self._path}/{batch}")
        with suppress(OSError):  # there is more in it, or nothing ever was
            FilePath(self._path).rmdir()


def _removed(directory: str) -> Iterator[None]:
    """Remove a directory with all in it; what others remove meanwhile is gone too."""
    for above, directories, files in os.walk(directory, topdown=False):
        for name in files:
            with suppress(FileNotFoundError):
                os.unlink(f"{above}/{name}")  # noqa: PTH108 -- one call for each of very many
            yield
        for name in directories:
            with suppress(OSError):
                FilePath(f"{above}/{name}").rmdir()
    with suppress(OSError):
        FilePath(directory).rmdir()


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 -- as above
    except (FileNotFoundError, NotADirectoryError):
        return []


def _checked(id_: str) -> str:
    """Return an id that is one of ours.  Raises `KeyError`: it may come from anybody."""
    batch, _, rest = id_.partition("/")
    folder, _, rest = rest.partition("/")
    subdirectory, _, name = rest.partition("/")
    known = folder == _INBOX or layout.path_of(folder) is not None
    if not _BATCH.fullmatch(batch) or not known or subdirectory not in _SUBDIRECTORIES or "/" in name or not name:
        raise KeyError(id_)
    return id_


def forget_all(disk: Disk, roots: FilePath, before: float) -> Iterator[None]:
    """Go through all accounts below `roots`, with a pause for the caller after each file and each account."""
    for domain in _names(str(roots)):
        for account in _names(f"{roots}/{domain}"):
            yield from Retention(disk, f"{roots}/{domain}/{account}").forget(before)
            yield
