"""One account's maildir: its root, which is the inbox, and the folders in it.  Everything here blocks."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path as FilePath

from twisted.logger import Logger

from mailfw.disk import Disk
from mailfw.mail.failure import MailboxExists, NameRefused, NoSuchMailbox
from mailfw.mail.mailbox import INBOX, CreateMailbox, DeleteMailbox, Folder, MailboxEdit, Path, RenameMailbox
from mailfw.stores.maildir import dotlock, layout, subscriptions
from mailfw.stores.maildir.folder import MaildirFolder
from mailfw.stores.maildir.retention import Retention
from mailfw.stores.maildir.uidlist import UidList, listed_names
from mailfw.stores.maildir.uidvalidity import next_uid_validity

log = Logger()

#: This alone is meant to last (`mailfw.stores.maildir.uidvalidity`).
_MARKER = re.compile(r"dovecot-uidvalidity\.[0-9a-f]{8}")

#: A file in ``tmp/`` untouched for so long was left by a delivery that died: 36 hours by
#: https://cr.yp.to/proto/maildir.html.
ABANDONED = 36 * 3600


class MaildirRoot:
    """
    The folders of an account.  Folders are known by the GUID in their UID list, which a rename does not change.

    With `retains` a deleted folder is moved to the `retention`.
    """

    def __init__(self, disk: Disk, root: str, retains: bool = False) -> None:
        self.disk = disk
        self.root = root
        self.retention = Retention(disk, root)
        self._retains = retains
        # Messages are opened and folders looked at while others change: there must be one object for each.
        self._lock = threading.RLock()
        self._by_directory: dict[tuple[str, int], MaildirFolder] = {}
        self._by_key: dict[str, MaildirFolder] = {}
        self._paths: dict[str, Path] = {}

    def exists(self) -> bool:
        """Whether there is a maildir."""
        return FilePath(f"{self.root}/cur").is_dir()

    def prepare(self) -> None:
        """Make the maildir if there is none, and clear away what was left by processes that died."""
        # Parents first, each synced with its name: an account that was made is there after a power failure.
        for parent in [*reversed(FilePath(self.root).parents), FilePath(self.root)]:
            self._make(str(parent))
        self._fill(self.root)
        self._sweep()

    def _make(self, directory: str) -> None:
        if not FilePath(directory).is_dir():
            with suppress(FileExistsError):
                self.disk.mkdir(directory)
            self.disk.sync_directory(str(FilePath(directory).parent))

    def _fill(self, directory: str) -> None:
        """Make what every folder needs; ``cur`` last, since what has one counts as a folder."""
        for name in ("tmp", "new", "cur"):
            self._make(f"{directory}/{name}")

    def _sweep(self) -> None:
        directories = [directory for (directory, _), _ in self._find()]
        doomed = [draft for directory in directories for draft in _abandoned(directory)]
        # A message with a date from long ago, whose admission was cut off when it had its UID, comes in yet.
        listed = {name for directory in directories for name in listed_names(directory)} if doomed else set()
        for draft in doomed:
            if draft.name not in listed:
                with suppress(FileNotFoundError):
                    self.disk.unlink(str(draft))
        for entry in os.scandir(self.root):
            if entry.name.startswith(layout.ASIDE) and entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)

    def remove(self) -> None:
        """Destroy the maildir and all in it; at once for those who look, however long the emptying takes."""
        aside = FilePath(self.root).parent / f".removed-{secrets.token_hex(8)}"
        with suppress(FileNotFoundError):
            self.disk.rename(self.root, str(aside))
            self.disk.sync_directory(str(aside.parent))
            shutil.rmtree(aside)

    # ------------------------------------------------------------ folders

    def folders(self) -> list[Folder]:
        """Return every folder, giving a GUID to those that have none."""
        with self._lock:
            found = dict(self._find())
            self._by_directory = {place: self._at(place) for place in found}
            by_key: dict[str, MaildirFolder] = {}
            paths: dict[str, Path] = {}
            for place, folder in self._by_directory.items():
                try:
                    key = folder.guid()
                    if key in by_key:
                        key = _give_new_guid(folder)
                except FileNotFoundError:
                    if folder.is_in_place():
                        raise
                    continue  # another program has just renamed or removed it
                by_key[key], paths[key] = folder, found[place]
            self._by_key, self._paths = by_key, paths
        return [Folder(key, path) for key, path in paths.items()]

    def _at(self, place: tuple[str, int]) -> MaildirFolder:
        """Return the folder in a place: the same as ever, even if it was somewhere else."""
        directory, inode = place
        if place in self._by_directory:
            return self._by_directory[place]
        for (_, known), folder in self._by_directory.items():
            if known == inode:
                folder.move_to(directory)
                return folder
        with suppress(FileNotFoundError):
            self._fill(directory)
        return MaildirFolder(self.disk, directory, self.new_validity, self.root, self.folders)

    def _find(self) -> Iterator[tuple[tuple[str, int], Path]]:
        """Yield each folder's directory, by name and inode, and what path it stands for."""
        yield (self.root, 0), INBOX
        for entry in sorted(os.scandir(self.root), key=lambda entry: entry.name):
            # A link could lead out of the account, so it is no folder.
            if entry.name[:1] != "." or entry.name[:2] == ".." or not entry.is_dir(follow_symlinks=False):
                continue
            path = layout.path_of(entry.name)
            if path is None:
                log.warn("{path} is no name of a mailbox and is left out", path=entry.path)  # noqa: G010 -- of Twisted
            elif FilePath(f"{entry.path}/cur").is_dir():
                yield (entry.path, entry.inode()), path

    def new_validity(self) -> int:
        """Return a UIDVALIDITY that no folder here has had."""
        return next_uid_validity(self.disk, self.root)

    def folder(self, key: str) -> MaildirFolder:
        """Return a folder by its key, wherever it is by now.  Raises `NoSuchMailbox`."""
        if key not in self._by_key or not self._by_key[key].is_in_place():
            self.folders()
        try:
            return self._by_key[key]
        except KeyError:
            raise NoSuchMailbox("the mailbox is gone")

    def known(self, key: str) -> MaildirFolder | None:
        """Return a folder if it has been looked for already: this alone does not block."""
        return self._by_key.get(key)

    def forget(self, key: str) -> None:
        """Have a folder surveyed from its files the next time."""
        if key in self._by_key:
            self._by_key[key].forget()

    # ------------------------------------------------------------ the tree

    def edit(self, edit: MailboxEdit) -> None:
        """Create, rename or delete."""
        self.folders()
        if isinstance(edit, CreateMailbox):
            self._create(edit.path)
        elif isinstance(edit, RenameMailbox):
            self._rename(edit.path, edit.to)
        elif isinstance(edit, DeleteMailbox):
            self._delete(edit.path)
        self.folders()

    def _create(self, path: Path) -> None:
        directory = self._vacant(path)
        aside = f"{self.root}/{layout.ASIDE}{secrets.token_hex(8)}"
        self.disk.mkdir(aside)
        self._fill(aside)
        self.disk.close(self.disk.create(f"{aside}/maildirfolder"))
        UidList(self.disk, aside).create(self.new_validity())
        try:
            self.disk.rename(aside, directory)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise _taken(error, path)
        self.disk.sync_directory(self.root)

    def _vacant(self, path: Path) -> str:
        """Return the directory for a path where nothing is.  Raises `NameRefused`, `MailboxExists`."""
        directory = f"{self.root}/{layout.directory_of(path)}"
        if layout.is_inbox(path) or path in self._paths.values():
            raise MailboxExists(f"there is a mailbox {'/'.join(path)} already")
        if os.path.lexists(directory):
            raise NameRefused("something else has this name")
        return directory

    def _rename(self, path: Path, to: Path) -> None:
        if layout.is_inbox(path) or to[: len(path)] == path:
            raise NameRefused("this mailbox cannot get this name")
        moves = [
            (self._by_key[key].directory, self._vacant(to + old[len(path) :]))
            for key, old in self._paths.items()
            if old[: len(path)] == path
        ]
        if not moves:
            raise NoSuchMailbox(f"there is no mailbox {'/'.join(path)}")
        self._rename_all(moves, to)
        self.disk.sync_directory(self.root)

    def _rename_all(self, moves: Sequence[tuple[str, str]], to: Path) -> None:
        """Rename directories, all or none as far as that can be done: other programs may be quicker."""
        done: list[tuple[str, str]] = []
        for old, new in moves:
            try:
                self.disk.rename(old, new)
            except OSError as error:
                for before, after in reversed(done):
                    with suppress(OSError):
                        self.disk.rename(after, before)
                raise _taken(error, to)
            done.append((old, new))

    def _delete(self, path: Path) -> None:
        keys = [key for key, old in self._paths.items() if old == path]
        if layout.is_inbox(path):
            raise NameRefused("the inbox cannot be deleted")
        if not keys:
            raise NoSuchMailbox(f"there is no mailbox {'/'.join(path)}")
        directory = self._by_key[keys[0]].directory
        if self._retains:
            with _gone_is_no_such_mailbox():
                self.retention.keep_folder(directory)
            return
        aside = f"{self.root}/{layout.ASIDE}{secrets.token_hex(8)}"
        with _gone_is_no_such_mailbox():
            self.disk.rename(directory, aside)
        self.disk.sync_directory(self.root)
        shutil.rmtree(aside, ignore_errors=True)

    # ------------------------------------------------------------ subscriptions

    def subscriptions(self) -> frozenset[Path]:
        """Return the subscribed paths."""
        return subscriptions.read(self.root)

    def subscribe(self, path: Path, subscribed: bool) -> None:
        """Add a path to the subscriptions, or take it out."""
        subscriptions.change(self.disk, self.root, path, subscribed)


def _taken(error: OSError, path: Path) -> Exception:
    """Return what a failed renaming of folders means where another program has been quicker."""
    if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
        return MailboxExists(f"there is a mailbox {'/'.join(path)} already")
    return NoSuchMailbox("the mailbox is gone") if error.errno == errno.ENOENT else error


@contextmanager
def _gone_is_no_such_mailbox() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NoSuchMailbox("the mailbox is gone")


def _abandoned(directory: str) -> Iterator[FilePath]:
    """Yield what was never finished in a folder: messages, and control files with a process number."""
    oldest = time.time() - ABANDONED
    here = FilePath(directory)
    with suppress(FileNotFoundError):  # another program has just removed or renamed the folder
        for draft in (*here.glob("tmp/*"), *here.glob("dovecot-*.*[0-9]*"), *here.glob(f"{dotlock.DRAFT}*")):
            if _MARKER.fullmatch(draft.name) is None and draft.is_file() and draft.lstat().st_mtime < oldest:
                yield draft


def _give_new_guid(folder: MaildirFolder) -> str:
    """Tell a folder that somebody copied, with its UID list, from the one it was copied from."""
    with folder.uidlist.lock():
        entries = folder.uidlist.read()
        assert folder.uidlist.header is not None
        folder.uidlist.header.guid = ""
        folder.uidlist.replace(entries)
    return folder.guid()
