"""The operations of a disk that a maildir is made of, in one place so that a test can let each of them fail."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mailfw.mail.failure import NoSpace

#: What a full disk, a user's quota of blocks, and a file too large for it are reported as.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def full_is_no_space() -> Iterator[None]:
    """Turn the errors of a full disk into `NoSpace`; every other error stays a fault."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise NoSpace("the disk is full") from error
        raise


class Disk:
    """
    Changes files: each method is one system call, or one file written whole.

    `mailfw.testing.disk.FaultyDisk` stands in for it.
    """

    def create(self, path: str) -> int:
        """Open a file that must not exist for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def append(self, path: str) -> int:
        """Open a file that exists for writing at its end."""
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)

    def write(self, descriptor: int, octets: bytes) -> None:
        """Write all of it."""
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file back to a size."""
        os.ftruncate(descriptor, size)

    def date(self, descriptor: int, seconds: int) -> None:
        """Set a file's time of modification."""
        os.utime(descriptor, (seconds, seconds))

    def sync(self, descriptor: int) -> None:
        """Wait until a file's octets and dates are on stable storage."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a file."""
        os.close(descriptor)

    def rename(self, old: str, new: str) -> None:
        """Move a file, over another if there is one."""
        os.rename(old, new)  # noqa: PTH104 -- one system call, and no Path made for each message

    def link(self, old: str, new: str) -> None:
        """Give a file a second name, which must not exist."""
        os.link(old, new, follow_symlinks=False)

    def unlink(self, path: str) -> None:
        """Remove a name."""
        os.unlink(path)  # noqa: PTH108 -- as above

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        os.mkdir(path, 0o700)  # noqa: PTH102 -- as above

    def sync_directory(self, path: str) -> None:
        """Wait until the names in a directory are on stable storage."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def replace_file(self, path: str, octets: bytes, draft: str, after: int = 0) -> None:
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
