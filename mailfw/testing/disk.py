"""A disk that fails when a test wants it to, for all that changes files through a `Disk`."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from mailfw.disk import Disk, Name, full_is_no_space

P = ParamSpec("P")
T = TypeVar("T")


class Crashed(Exception):
    """The process died here: nothing after this happens to the disk."""


class Inline:
    """A worker without a thread: work is done when it is given, or while its disk is on hold, when that ends."""

    def __init__(self, disk: FaultyDisk) -> None:
        self._disk = disk

    def submit(self, work: Callable[[], T], tell: Callable[[T], None]) -> None:
        """Do the work, now or later."""
        if self._disk.held is None:
            tell(work())
        else:
            self._disk.held.append(lambda: tell(work()))

    def stop(self) -> None:
        """Do nothing."""


class FaultyDisk(Disk):
    """
    Counts operations, breaks at one of them, and can forget what was not synced; it needs no reactor, nor threads.

    `crash_at` is the number of the operation (from 1) that is never done, nor any after it.  `fail_at` is that of one
    that fails once, with `error`.  `is_full` lets everything that needs room fail, with `refusal`.  `attic` is a
    directory on the same file system for what `lose_power` may have to restore.

    A database's commit is one step that is done or not; between the two operations it counts for, it is done.
    """

    def __init__(
        self, attic: Path, crash_at: int | None = None, fail_at: int | None = None, error: int = errno.EIO
    ) -> None:
        super().__init__(None)
        self.operations = 0
        self.crash_at = crash_at
        self.fail_at = fail_at
        self.error = error
        self.is_full = False
        self.refusal = errno.ENOSPC
        self.held: list[Callable[[], None]] | None = None
        attic.mkdir(parents=True, exist_ok=True)
        self._attic = Path(tempfile.mkdtemp(dir=attic))
        self._kept = itertools.count()
        self._lock = threading.RLock()
        self._paths: dict[int, str] = {}
        self._unsynced: dict[str, int] = {}
        self._undo: list[tuple[str, Callable[[], object]]] = []
        self._databases: list[sqlite3.Connection] = []

    @property
    def has_crashed(self) -> bool:
        """Whether the process died."""
        return self.crash_at is not None and self.operations >= self.crash_at

    def _step(self, needs_room: bool = False) -> None:
        with self._lock:
            if not self.has_crashed:
                self.operations += 1
            if self.has_crashed:
                raise Crashed
        if self.operations == self.fail_at:
            raise OSError(self.error, os.strerror(self.error))
        if needs_room and self.is_full:
            raise OSError(self.refusal, os.strerror(self.refusal))

    # ------------------------------------------------------------ threads

    async def run(self, work: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
        """Do `work` at once."""
        with full_is_no_space():
            return work(*args, **options)

    def worker(self, name: str) -> Inline:
        """Return a worker without a thread."""
        return Inline(self)

    def hold(self) -> None:
        """Let workers wait, so that what is asked for comes together."""
        self.held = []

    def let_go(self) -> None:
        """Let workers do what has come together, and what that leads to."""
        held, self.held = self.held or [], None
        for work in held:
            work()

    # ------------------------------------------------------------ after a crash

    def lose_power(self, data: str = "dropped", names: str = "lost") -> None:
        """
        Make of the disk what a power failure may have left.

        Of octets that were not synced nothing is left (``dropped``), or half of them (``torn``), or they are there
        but for a hole (``garbled``).  Changes of a directory that was not synced after them are undone, newest first
        (``lost``), or every second one is (``even``, ``odd``), or none (``kept``).
        """
        for path, size in self._unsynced.items():
            with suppress(FileNotFoundError):
                _lose(path, size, data)
        undone = {"lost": self._undo, "even": self._undo[::2], "odd": self._undo[1::2], "kept": []}[names]
        for _, undo in reversed(undone):
            with suppress(FileNotFoundError):
                undo()
        self._undo, self._unsynced = [], {}

    def bury(self) -> None:
        """Let go of all that a dead process had open."""
        for descriptor in list(self._paths):
            with suppress(OSError):
                os.close(descriptor)
        for database in self._databases:
            with suppress(sqlite3.ProgrammingError):  # closed already
                database.rollback()
            database.close()
        self._paths, self._databases = {}, []

    def _undoable(self, path: Name, undo: Callable[[], object]) -> None:
        with self._lock:
            self._undo.append((str(Path(path).parent), undo))

    def _keep(self, path: Name) -> str | None:
        """Keep a second name for what is about to be lost."""
        kept = str(self._attic / str(next(self._kept)))
        with suppress(FileNotFoundError):
            os.link(path, kept, follow_symlinks=False)
            return kept
        return None

    # ------------------------------------------------------------ files

    def create(self, path: Name) -> int:
        """Open a new file."""
        self._step(needs_room=True)
        descriptor = super().create(path)
        self._paths[descriptor] = str(path)
        self._unsynced[str(path)] = 0
        self._undoable(path, Path(path).unlink)
        return descriptor

    def open(self, path: Name) -> int:
        """Open a file for reading."""
        self._step()
        descriptor = super().open(path)
        self._paths[descriptor] = str(path)
        return descriptor

    def append(self, path: Name) -> int:
        """Open a file to write at its end."""
        self._step()
        descriptor = super().append(path)
        self._paths[descriptor] = str(path)
        self._unsynced.setdefault(str(path), os.fstat(descriptor).st_size)
        return descriptor

    def write(self, descriptor: int, octets: bytes) -> None:
        """Write; a process that dies, or a disk that refuses, has written half of it."""
        path = self._paths.get(descriptor, "")
        self._unsynced.setdefault(path, os.fstat(descriptor).st_size)
        before = self.has_crashed
        try:
            self._step(needs_room=True)
        except (Crashed, OSError):
            if not before:
                super().write(descriptor, octets[: len(octets) // 2])
            raise
        super().write(descriptor, octets)

    def allocate(self, descriptor: int, size: int) -> None:
        """Take room, or break."""
        self._step(needs_room=True)
        super().allocate(descriptor, size)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file back."""
        self._step()
        super().truncate(descriptor, size)

    def date(self, descriptor: int, seconds: int) -> None:
        """Set a file's date."""
        self._step()
        super().date(descriptor, seconds)

    def sync(self, descriptor: int) -> None:
        """Sync a file: as long as the test lives, it is enough to note that."""
        self._step()
        self._unsynced.pop(self._paths.get(descriptor, ""), None)

    def sync_octets(self, descriptor: int) -> None:
        """Sync a file."""
        self.sync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a file: even a dying process does."""
        super().close(descriptor)
        self._paths.pop(descriptor, None)

    # ------------------------------------------------------------ names

    def rename(self, old: Name, new: Name) -> None:
        """Rename a file or directory."""
        self._step(needs_room=True)
        replaced = self._keep(new) if Path(new).is_file() else None
        super().rename(old, new)
        if str(old) in self._unsynced:
            self._unsynced[str(new)] = self._unsynced.pop(str(old))

        def undo() -> None:
            Path(new).rename(old)
            if replaced:
                Path(replaced).rename(new)

        self._undoable(new, undo)

    def link(self, old: Name, new: Name) -> None:
        """Give a file a second name."""
        self._step(needs_room=True)
        super().link(old, new)
        if str(old) in self._unsynced:
            self._unsynced[str(new)] = self._unsynced[str(old)]
        self._undoable(new, Path(new).unlink)

    def unlink(self, path: Name) -> None:
        """Remove a name."""
        self._step()
        kept = self._keep(path)
        super().unlink(path)
        if kept:
            self._undoable(path, lambda: os.replace(kept, path))  # noqa: PTH105 -- as it was

    def mkdir(self, path: Name) -> None:
        """Make a directory."""
        self._step(needs_room=True)
        super().mkdir(path)
        self._undoable(path, lambda: shutil.rmtree(path))

    def sync_all(self, paths: Collection[str], trees: Collection[str]) -> None:
        """Sync files and directories with one operation: a process that dies in it has synced none."""
        self._step()
        with self._lock:
            for path in paths:
                self._unsynced.pop(path, None)
            self._undo = [(directory, undo) for directory, undo in self._undo if directory not in paths]

    def sync_directory(self, path: Name) -> None:
        """Sync a directory: what happened in it can no longer be undone."""
        self._step()
        with self._lock:
            self._undo = [(directory, undo) for directory, undo in self._undo if directory != str(path)]

    # ------------------------------------------------------------ databases

    def connect(self, path: Name) -> sqlite3.Connection:
        """Open a database, which is closed with the dead process."""
        database = super().connect(path)
        self._databases.append(database)
        return database

    def commit(self, connection: sqlite3.Connection) -> None:
        """Commit, and perhaps die before anybody hears of it.  What fails, fails as SQLite says it."""
        try:
            self._step(needs_room=True)
        except OSError as error:
            refusal = sqlite3.OperationalError(str(error))
            refusal.sqlite_errorcode = sqlite3.SQLITE_FULL if error.errno == errno.ENOSPC else sqlite3.SQLITE_IOERR
            raise refusal from error
        super().commit(connection)
        if self.fail_at != self.operations + 1:
            self._step()
        else:
            self.operations += 1  # what is done cannot fail


def _lose(path: str, size: int, data: str) -> None:
    """Let a file forget what was written behind `size`."""
    there = Path(path).stat().st_size
    if data == "dropped":
        os.truncate(path, size)
    elif data == "torn":
        os.truncate(path, size + (there - size) // 2)
    else:
        with open(path, "r+b") as file:  # noqa: PTH123 -- by name, as all here
            file.seek(size)
            file.write(bytes((there - size) // 2))
