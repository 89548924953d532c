"""
Bodies too large for a database, in files beside it.  Everything here blocks.

A file is written and synced under its name in ``tmp/``, gets a second name in its place before the commit that mentions
it, and loses the first when the commit is done or has failed.  What a dying process leaves in ``tmp/`` says which files
may have been meant for a commit that never came, so that the next one need not look at all the others: the first name
is on stable storage before there is a second, and outlives it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from zope.interface import implementer

from mailfw.disk import Disk
from mailfw.interfaces import IContent
from mailfw.mail.summary import Summariser, Summary
from mailfw.stores.threads import Threads


class Draft:
    """One file while it is written: `name` is what the database will call it."""

    def __init__(self, disk: Disk, path: Path, name: str, summarises: bool) -> None:
        self._disk = disk
        self._path = path
        self.name = name
        self._descriptor: int | None = None
        self._summariser = Summariser() if summarises else None

    def write(self, octets: bytes) -> None:
        """Write the next piece."""
        if self._descriptor is None:
            self._disk.make_directory(self._path.parent)
            self._descriptor = self._disk.create(self._path)
        self._disk.write(self._descriptor, octets)
        if self._summariser is not None:
            self._summariser.feed(octets)

    def finish(self) -> Summary | None:
        """Wait until the file is on stable storage, and return the summary if one was to be made."""
        assert self._descriptor is not None
        self._disk.sync(self._descriptor)
        self.close()
        return self._summariser.finish() if self._summariser is not None else None

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._disk.close(descriptor)


class LargeBodies:
    """The files below one directory; `is_kept` asks the database whether a body is in a file."""

    def __init__(self, disk: Disk, directory: Path, is_kept: Callable[[str], bool]) -> None:
        self._disk = disk
        self._directory = directory
        self._is_kept = is_kept

    def draft(self, name: str, summarises: bool) -> Draft:
        """Return a file to be written."""
        return Draft(self._disk, self._staged(name), name, summarises)

    def _staged(self, name: str) -> Path:
        return self._directory / "tmp" / name

    def path(self, name: str) -> Path:
        """Return where a file is: in one of 256 directories, by the digits behind the first letter."""
        return self._directory / name[1:3] / name

    def place(self, names: Iterable[str]) -> None:
        """Give files that are written the names under which they are found; these are on stable storage then."""
        paths = {name: self.path(name) for name in names}
        self._disk.sync_directory(self._directory / "tmp")
        for name, path in paths.items():
            self._disk.make_directory(path.parent)
            with suppress(FileExistsError):  # a second attempt
                self._disk.link(self._staged(name), path)
        for directory in {path.parent for path in paths.values()}:
            self._disk.sync_directory(directory)

    def settle(self, name: str) -> None:
        """Remove what was staged, and the file as well if the database has no body in it."""
        if not self._is_kept(name):
            self.remove([name])
        self._unlink(self._staged(name))

    def settle_all(self) -> None:
        """Settle what was staged when another process ended."""
        directory = self._directory / "tmp"
        if directory.is_dir():
            for name in self._disk.names(directory):
                self.settle(name)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files for good."""
        paths = [self.path(name) for name in names]
        for directory in {path.parent for path in paths if self._unlink(path)}:
            self._disk.sync_directory(directory)

    def _unlink(self, path: Path) -> bool:
        try:
            self._disk.unlink(path)
        except FileNotFoundError:
            return False
        return True

    def open(self, name: str) -> int:
        """Open a file.  Raises `KeyError` if it is gone."""
        try:
            return self._disk.open(self.path(name))
        except FileNotFoundError:
            raise KeyError(name)


@implementer(IContent)
class LargeContent:
    """A body read from its file, which stays until this is closed even if it is removed."""

    def __init__(self, threads: Threads, disk: Disk, descriptor: int) -> None:
        self._threads = threads
        self._disk = disk
        self._descriptor: int | None = descriptor
        self.size = disk.size(descriptor)

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, fewer only at the end."""
        assert self._descriptor is not None, "closed"
        return await self._threads.run(self._disk.read, self._descriptor, length, offset)

    async def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._disk.close(descriptor)

    def __del__(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
