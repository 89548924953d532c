"""Every operation of the queue on files: the one door to the threads, and the one place a test can break."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from mailfw.interfaces import IContent
from mailfw.mail.failure import NoSpace

P = ParamSpec("P")
T = TypeVar("T")

#: What the system says when nothing more can be stored.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Disk:
    """
    Files as the queue needs them: every method blocks, and is called through `run`.

    A failed `sync` means that the file's octets may be lost; nobody may sync again and believe it.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    async def run(self, work: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
        """Do `work` in a thread.  Raises `NoSpace` in place of the system's words for it."""
        try:
            done: T = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work, *args, **options)
        except OSError as error:
            if error.errno in _FULL:
                raise NoSpace(str(error)) from error
            raise
        return done

    def make_directories(self, *directories: Path) -> None:
        """Make directories that only we may look into."""
        for directory in directories:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self, directory: Path) -> list[str]:
        """Return what a directory holds, in order."""
        return sorted(path.name for path in directory.iterdir())

    def create(self, path: Path) -> int:
        """Open a file for writing, empty."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def create_nameless(self, directory: Path) -> int:
        """Open a file for writing and reading that is gone as soon as it is closed, or we die."""
        descriptor, name = tempfile.mkstemp(dir=directory)
        Path(name).unlink()
        return descriptor

    def open(self, path: Path) -> int:
        """Open a file for reading."""
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def write(self, descriptor: int, octets: bytes) -> None:
        """Append all of it."""
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def read(self, descriptor: int, length: int, offset: int) -> bytes:
        """Read without moving anything."""
        return os.pread(descriptor, length, offset)

    def read_file(self, path: Path) -> bytes:
        """Read a small file whole."""
        return path.read_bytes()

    def sync(self, descriptor: int) -> None:
        """Bring a file's octets to stable storage."""
        os.fsync(descriptor)

    def sync_directory(self, directory: Path) -> None:
        """Bring the names in a directory to stable storage."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name in one step, replacing what had it."""
        old.replace(new)

    def unlink(self, path: Path) -> None:
        """Remove a name, if it is there."""
        path.unlink(missing_ok=True)

    def close(self, descriptor: int) -> None:
        """Let go of a file."""
        os.close(descriptor)

    def size(self, descriptor: int) -> int:
        """Return the octets in a file."""
        return os.fstat(descriptor).st_size

    def free(self, directory: Path) -> int | None:
        """Return the octets we may still store, None where the file system does not say."""
        system = os.statvfs(directory)
        return system.f_bavail * system.f_frsize if system.f_blocks else None

    @contextlib.contextmanager
    def creating(self, path: Path) -> Iterator[int]:
        """Open a new file and close it at the end."""
        descriptor = self.create(path)
        try:
            yield descriptor
        finally:
            self.close(descriptor)


@implementer(IContent)
class FileContent:
    """The octets of an open file, which is closed with this."""

    def __init__(self, disk: Disk, descriptor: int, size: int) -> None:
        self._disk = disk
        self._descriptor: int | None = descriptor
        self.size = size

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, fewer only at the end."""
        assert self._descriptor is not None, "read after close"
        length = max(0, min(length, self.size - offset))
        return await self._disk.run(self._disk.read, self._descriptor, length, offset)

    async def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._disk.close(descriptor)
