"""A small text file that an administrator, the console command and running servers share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

T = TypeVar("T")

#: Seconds for which a look at the file is good.
PATIENCE = 1.0


class WatchedFile(Generic[T]):
    """
    What a text file says, read again when it has changed.

    `parse` makes a value of the text; a file that is not there has the text ``""``.  A file that is there and
    cannot be read raises `OSError`: no answer is better than a wrong one.
    """

    def __init__(self, path: Path, parse: Callable[[str], T], reactor: Any) -> None:
        self._path = path
        self._parse = parse
        self._reactor = reactor
        self._looked = float("-inf")
        self._read: tuple[tuple[int, ...] | None, T] | None = None
        #: Who waits for the look that is under way; None without one.
        self._look: list[Deferred[None]] | None = None

    async def current(self) -> T:
        """
        Return the value, at most a second old.  The file is read off the reactor.

        One look serves all who wait, and while there are questions it begins before anybody has to.
        """
        age = self._reactor.seconds() - self._looked
        if age >= PATIENCE:
            waiting: Deferred[None] = Deferred()
            if self._look is not None:
                self._look.append(waiting)
            else:
                self._begin([waiting])
            await waiting
        elif age >= PATIENCE / 2 and self._look is None:
            self._begin([])
        assert self._read is not None
        return self._read[1]

    def _begin(self, waiting: list[Deferred[None]]) -> None:
        self._look = waiting
        looking = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self.look)
        looking.addBoth(self._end, waiting, self._reactor.seconds())

    def _end(self, result: object, waiting: list[Deferred[None]], began: float) -> None:
        if self._look is waiting:  # else there was a reason to forget what it may have seen
            self._look = None
            if not isinstance(result, Failure):
                self._looked = began
        for each in waiting:
            if each.called:
                continue  # whoever waited has given up
            if isinstance(result, Failure):
                each.errback(result)
            else:
                each.callback(None)

    def look(self) -> T:
        """Return the value as it is now.  Blocks."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                version = (status.st_mtime_ns, status.st_size, status.st_ino)
                if self._read is None or self._read[0] != version:
                    self._read = (version, self._parse(file.read().decode("utf-8", "surrogateescape")))
        except FileNotFoundError:
            if self._read is None or self._read[0] is not None:
                self._read = (None, self._parse(""))
        return self._read[1]

    def forget(self) -> None:
        """Look again at the next question."""
        self._looked, self._look = float("-inf"), None


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    """
    Replace a file's text durably and at once, while nobody else does; readers see the old text or the new.  Blocks.

    The file is for its owner alone, and the owner stays who it was: the console command may run as root.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path.with_name(path.name + ".lock")):
        try:
            text = path.read_bytes().decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            text = ""
        new = path.with_name(path.name + ".new")
        _write(new, change(text).encode("utf-8", "surrogateescape"), like=path if path.exists() else path.parent)
        new.replace(path)
        _sync_folder(path.parent)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _give(descriptor, path.parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, octets: bytes, like: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        _give(file.fileno(), like)
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())


def _give(descriptor: int, like: Path) -> None:
    """Give an open file to the owner of another; only root can, and nobody else has to."""
    status = like.stat()
    with suppress(PermissionError):
        os.fchown(descriptor, status.st_uid, status.st_gid)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
