"""A disk that fails when a test wants it to: for the maildir store, and all that changes files through a `Disk`."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mailfw.stores.maildir.disk import Disk


class Crashed(Exception):
    """The process died here: nothing after this happens to the disk."""


class FaultyDisk(Disk):
    """
    Counts operations, dies before one of them, and afterwards forgets what was not synced.

    `crash_at` is the number of the operation (from 1) that is never done.  `is_full` lets everything that
    needs room fail.  `attic` is a directory on the same file system for what `lose_power` may have to restore.
    """

    def __init__(self, attic: Path, crash_at: int | None = None) -> None:
        self.operations = 0
        self.crash_at = crash_at
        self.is_full = False
        attic.mkdir(parents=True, exist_ok=True)
        self._attic = Path(tempfile.mkdtemp(dir=attic))
        self._kept = itertools.count()
        self._lock = threading.RLock()
        self._paths: dict[int, str] = {}
        self._unsynced: dict[str, int] = {}
        self._undo: list[tuple[str, Callable[[], None]]] = []

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
        if needs_room and self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")

    def _undoable(self, path: str, undo: Callable[[], None]) -> None:
        with self._lock:
            self._undo.append((str(Path(path).parent), undo))

    def _keep(self, path: str) -> str | None:
        """Keep a second name for what is about to be lost."""
        kept = str(self._attic / str(next(self._kept)))
        with suppress(FileNotFoundError):
            os.link(path, kept, follow_symlinks=False)
            return kept
        return None

    def lose_power(self) -> None:
        """Undo, newest first, every change of a directory that was not synced after it, and cut unsynced files."""
        for path, size in self._unsynced.items():
            with suppress(FileNotFoundError):
                os.truncate(path, size)
        for _, undo in reversed(self._undo):
            with suppress(FileNotFoundError):
                undo()
        self._undo, self._unsynced = [], {}

    # ------------------------------------------------------------ files

    def create(self, path: str) -> int:
        """Open a new file."""
        self._step(needs_room=True)
        descriptor = super().create(path)
        self._paths[descriptor] = path
        self._unsynced[path] = 0
        self._undoable(path, Path(path).unlink)
        return descriptor

    def append(self, path: str) -> int:
        """Open a file to write at its end."""
        self._step()
        descriptor = super().append(path)
        self._paths[descriptor] = path
        self._unsynced.setdefault(path, os.fstat(descriptor).st_size)
        return descriptor

    def write(self, descriptor: int, octets: bytes) -> None:
        """Write; a process that dies, or a disk that is full, has written half of it."""
        try:
            self._step(needs_room=True)
        except (Crashed, OSError):
            if self.operations == self.crash_at or self.is_full:
                super().write(descriptor, octets[: len(octets) // 2])
            raise
        super().write(descriptor, octets)

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

    def close(self, descriptor: int) -> None:
        """Close a file: even a dying process does."""
        super().close(descriptor)
        self._paths.pop(descriptor, None)

    # ------------------------------------------------------------ names

    def rename(self, old: str, new: str) -> None:
        """Rename a file or directory."""
        self._step(needs_room=True)
        replaced = self._keep(new) if Path(new).is_file() else None
        super().rename(old, new)
        if old in self._unsynced:
            self._unsynced[new] = self._unsynced.pop(old)

        def undo() -> None:
            Path(new).rename(old)
            if replaced:
                Path(replaced).rename(new)

        self._undoable(new, undo)

    def link(self, old: str, new: str) -> None:
        """Give a file a second name."""
        self._step(needs_room=True)
        super().link(old, new)
        self._undoable(new, Path(new).unlink)

    def unlink(self, path: str) -> None:
        """Remove a name."""
        self._step()
        kept = self._keep(path)
        super().unlink(path)
        if kept:
            self._undoable(path, lambda: os.replace(kept, path))  # noqa: PTH105 -- returns nothing

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        self._step(needs_room=True)
        super().mkdir(path)
        self._undoable(path, lambda: shutil.rmtree(path))

    def sync_directory(self, path: str) -> None:
        """Sync a directory: what happened in it can no longer be undone."""
        self._step()
        with self._lock:
            self._undo = [(directory, undo) for directory, undo in self._undo if directory != path]
