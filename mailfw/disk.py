"""The one door to files: every change that a disk sees goes through `Disk`, where a test can let it fail."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from mailfw.interfaces import IContent
from mailfw.mail.failure import NoSpace

P = ParamSpec("P")
T = TypeVar("T")

#: What a full disk, a user's quota of blocks, and a file too large for it are reported as.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

#: Files that are synced one by one, which takes no longer than all that others have written meanwhile.
FEW = 4

#: Seconds that one call may take, for each file that waits for it, before it is avoided for `RESPITE`: others write so
#: much to the disk that waiting for our own files alone is quicker.
SLOW, RESPITE = 0.05, 60.0

#: A file's name; text and `pathlib.Path` will both do.
Name = str | os.PathLike[str]


def is_full(error: BaseException) -> bool:
    """Whether an error says that nothing more can be stored."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in FULL


def takes_nothing(error: BaseException) -> bool:
    """Whether an error says that nothing can be written now, as it may be again: reading may go on."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _FAILING_DATABASE
    return isinstance(error, NoSpace) or (isinstance(error, OSError) and error.errno in FULL | _FAILING)


_FAILING = frozenset({errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})
_FAILING_DATABASE = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
)


@contextmanager
def full_is_no_space() -> Iterator[None]:
    """Turn the errors of a full disk, SQLite's too, into `NoSpace`; every other error stays a fault."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if is_full(error):
            raise NoSpace("The disk is full") from error
        raise


class Disk:
    """
    Files: each method is one system call, or one file written whole.

    They block, and are called through `run` or a worker.  A failed `sync` means that octets of the file may be lost;
    nobody may sync again and believe it.  `mailfw.testing.disk.FaultyDisk` stands in for it.
    """

    def __init__(self, reactor: Any = None) -> None:
        self._reactor = reactor  # for `run` and `worker` alone
        self._file_systems = FileSystems()

    async def run(self, work: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
        """Do `work` in a thread.  Raises `NoSpace` in place of the system's words for it."""
        with full_is_no_space():
            done: T = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work, *args, **options)
        return done

    def worker(self, name: str) -> Worker:
        """Return a thread for work that is done in order."""
        return Thread(self._reactor, name)

    # ------------------------------------------------------------ files

    def create(self, path: Name) -> int:
        """Open a file that must not exist for writing and reading."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def open(self, path: Name) -> int:
        """Open a file for reading."""
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def append(self, path: Name) -> int:
        """Open a file that exists for writing at its end."""
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)

    def write(self, descriptor: int, octets: bytes) -> None:
        """Write all of it."""
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def read(self, descriptor: int, length: int, offset: int) -> bytes:
        """Read without moving anything, fewer octets only at the end."""
        octets = os.pread(descriptor, length, offset)
        while len(octets) < length and (more := os.pread(descriptor, length - len(octets), offset + len(octets))):
            octets += more
        return octets

    def allocate(self, descriptor: int, size: int) -> None:
        """Take room for so many octets, which are 0."""
        os.posix_fallocate(descriptor, 0, size)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file back to a size, and go on writing there."""
        os.ftruncate(descriptor, size)
        os.lseek(descriptor, size, os.SEEK_SET)

    def date(self, descriptor: int, seconds: int) -> None:
        """Set a file's time of modification."""
        os.utime(descriptor, (seconds, seconds))

    def sync(self, descriptor: int) -> None:
        """Wait until a file's octets and dates are on stable storage."""
        os.fsync(descriptor)

    def sync_octets(self, descriptor: int) -> None:
        """Wait until a file's octets can be read again after a power failure; its dates may be older."""
        os.fdatasync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a file."""
        os.close(descriptor)

    def duplicate(self, descriptor: int) -> int:
        """Open an open file once more; both have to be closed."""
        return os.dup(descriptor)

    def size(self, descriptor: int) -> int:
        """Return the octets in a file."""
        return os.fstat(descriptor).st_size

    # ------------------------------------------------------------ names

    def rename(self, old: Name, new: Name) -> None:
        """Move a file, over another if there is one."""
        os.rename(old, new)  # noqa: PTH104 -- one system call, and no Path made for each message

    def link(self, old: Name, new: Name) -> None:
        """Give a file a second name, which must not exist."""
        os.link(old, new, follow_symlinks=False)

    def unlink(self, path: Name) -> None:
        """Remove a name."""
        os.unlink(path)  # noqa: PTH108 -- as above

    def mkdir(self, path: Name) -> None:
        """Make a directory."""
        os.mkdir(path, 0o700)  # noqa: PTH102 -- as above

    def names(self, directory: Name) -> list[str]:
        """Return what a directory holds, in order."""
        return sorted(os.listdir(directory))  # noqa: PTH208 -- as above

    def sync_directory(self, path: Name) -> None:
        """Wait until the names in a directory are on stable storage."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free(self, directory: Name) -> int | None:
        """Return the octets we may still store, None where the file system does not say."""
        system = os.statvfs(directory)
        return system.f_bavail * system.f_frsize if system.f_blocks else None

    # ------------------------------------------------------------ several calls

    def make_directory(self, path: Name) -> None:
        """Make a directory that only we may look into, and those above it, durably, unless it is there."""
        if os.path.isdir(path):  # noqa: PTH112 -- as above
            return
        above = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 -- as above
        self.make_directory(above)
        with suppress(FileExistsError):
            self.mkdir(path)
        self.sync_directory(above)

    def replace_file(self, path: Name, octets: bytes, draft: Name, after: int = 0) -> None:
        """
        Write a whole file through `draft` beside it, synced, with a time of modification above `after` (ns).

        The directory is left to be synced by the caller.
        """
        descriptor = self.create(draft)
        try:
            self.write(descriptor, octets)
            if os.fstat(descriptor).st_mtime_ns <= after:
                self.date(descriptor, after // 1_000_000_000 + 1)
            self.sync(descriptor)
        finally:
            self.close(descriptor)
        self.rename(draft, path)

    def sync_all(self, paths: Collection[str], trees: Collection[str]) -> None:
        """
        Wait until files, and the names in directories, are on stable storage; many cost hardly more than one.

        Each lies in one of `trees`, none of which is in more than one file system.
        """
        if self._file_systems.can_sync(len(paths)):
            self._file_systems.sync(trees, len(paths))
            return
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def release(self) -> None:
        """Let go of what is kept open between calls."""
        self._file_systems.close()

    # ------------------------------------------------------------ databases

    def connect(self, path: Name) -> sqlite3.Connection:
        """Open a database, for one thread at a time; nothing is begun or committed but by who says so."""
        return sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)

    def commit(self, connection: sqlite3.Connection) -> None:
        """Make what was changed in a database one step; SQLite writes and syncs as its pragmas say."""
        connection.execute("COMMIT")


# ---------------------------------------------------------------- file systems


class FileSystems:
    """Syncs file systems by ``syncfs``, where it tells of failures: on Linux from 5.8 on."""

    def __init__(self) -> None:
        self._syncfs = find_syncfs()
        self._lock = threading.Lock()
        self._descriptors: dict[int, int] = {}
        self._avoided_until = 0.0

    def can_sync(self, files: int) -> bool:
        """Whether it is the best way to sync so many files now."""
        return self._syncfs is not None and files > FEW and time.monotonic() >= self._avoided_until

    def sync(self, trees: Collection[str], files: int) -> None:
        """Wait until all that was written to the file systems that have these directories is on stable storage."""
        assert self._syncfs is not None
        began = time.monotonic()
        for device, tree in {os.stat(tree).st_dev: tree for tree in trees}.items():  # noqa: PTH116 -- one call
            self._syncfs(self._descriptor(device, tree))
        ended = time.monotonic()
        if ended - began > SLOW * files:
            self._avoided_until = ended + RESPITE

    def _descriptor(self, device: int, tree: str) -> int:
        """Return an open file of a device; as it stays open, it is told of every failure that comes after."""
        with self._lock:
            if device not in self._descriptors:
                self._descriptors[device] = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            return self._descriptors[device]

    def close(self) -> None:
        """Let go of files."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


def find_syncfs() -> Callable[[int], None] | None:
    """Return ``syncfs``, which raises `OSError`; None where it is missing, or does not tell of failures."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if os.uname().sysname != "Linux" or release is None or (int(release[1]), int(release[2])) < (5, 8):
        return None
    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None
    function.argtypes, function.restype = [ctypes.c_int], ctypes.c_int

    def syncfs(descriptor: int) -> None:
        if function(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return syncfs


# ---------------------------------------------------------------- threads


class Worker(Protocol):
    """Does one piece of work after the other, in the order in which they are given."""

    def submit(self, work: Callable[[], T], tell: Callable[[T], None]) -> None:
        """Do `work`, which must not raise, in the thread, and `tell` its result in the reactor's."""

    def stop(self) -> None:
        """Take no more work; what was given is done."""


class Thread:
    """A thread of our own: it waits for nobody else's work, as one of a pool would."""

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, work: Callable[[], T], tell: Callable[[T], None]) -> None:
        """Give the thread something to do."""
        self._jobs.put((work, tell))

    def stop(self) -> None:
        """Let the thread end."""
        self._jobs.put(None)

    def _work(self) -> None:
        while job := self._jobs.get():
            work, tell = job
            self._reactor.callFromThread(tell, work())


@implementer(IContent)
class FileContent:
    """The octets of an open file from `start` on, behind `prefix`; the file is closed with this."""

    __slots__ = ("_descriptor", "_disk", "_prefix", "_start", "size")

    def __init__(self, disk: Disk, descriptor: int, size: int, start: int = 0, prefix: bytes = b"") -> None:
        self._disk = disk
        self._descriptor: int | None = descriptor
        self._start = start
        self._prefix = prefix
        self.size = size

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, fewer only at the end."""
        if offset + length <= len(self._prefix):
            return self.read_now(offset, length)
        return await self._disk.run(self.read_now, offset, length)

    def read_now(self, offset: int, length: int) -> bytes:
        """Do what `read` does, in any thread but the reactor's."""
        assert self._descriptor is not None, "read after close"
        before = self._prefix[offset : offset + length] if length > 0 else b""
        length = min(length, self.size - offset) - len(before)
        if length <= 0:
            return before
        return before + self._disk.read(
            self._descriptor, length, self._start + offset + len(before) - len(self._prefix)
        )

    async def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._disk.close(descriptor)
