"""Lock files as other programs that know maildirs take them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mailfw.disk import Disk
from mailfw.stores.index.ledger import SourceBusy

#: How long to wait for a lock.  Longer, and a few locked mailboxes would hold every thread of the store.
PATIENCE = 5.0

#: A lock untouched for so long was left by a program that died (Dovecot's MAILDIR_UIDLIST_LOCK_STALE_TIMEOUT).
STALE = 120.0

#: How often, in seconds, the time of a file is set that locks are links to: theirs is the same.
TOUCHED = 10.0

#: What a file is called that locks are links to, before the host and the process it names.
DRAFT = "mailfw-lock."

_NEVER = (-TOUCHED, 0)
_HOST = socket.gethostname().replace("/", "\\057") or "localhost"
_held: set[str] = set()
#: When the time of a draft was set last, and which file it is.
_drafts: dict[str, tuple[float, int]] = {}


@contextmanager
def dotlock(
    disk: Disk,
    path: str,
    patience: float | None = None,
    drafts: str | None = None,
    moved: Callable[[], str] | None = None,
) -> Iterator[None]:
    """
    Hold the lock file `path`.  Blocks; raises `SourceBusy` when that takes longer than `patience`, `PATIENCE` if None.

    A lock is a second link to a file in `drafts`, a directory of the same file system, kept for the next lock.
    Threads of one account must not compete for a lock.  Where the directory of the lock may get another name meanwhile,
    `moved` looks for the lock's path.
    """
    until = time.monotonic() + (PATIENCE if patience is None else patience)
    draft = f"{drafts or os.path.dirname(path)}/{DRAFT}{_HOST}.{os.getpid()}"  # noqa: PTH120 -- asked for each batch
    while not _take(disk, path, draft):
        if _is_abandoned(path):
            with suppress(FileNotFoundError):
                disk.unlink(path)
        elif time.monotonic() >= until:
            raise SourceBusy(path)
        else:
            time.sleep(0.01)
    _held.add(path)
    try:
        yield
    finally:
        _held.discard(path)
        # What was done under the lock is done: one that cannot be removed is taken for abandoned.
        with suppress(OSError, SourceBusy):
            if not _let_go(disk, path, draft) and moved is not None:
                _let_go(disk, moved(), draft)


def _let_go(disk: Disk, path: str, draft: str) -> bool:
    """Remove a lock, if it is ours: another program's may be where ours was."""
    with suppress(FileNotFoundError):
        if os.stat(path).st_ino == _drafts.get(draft, _NEVER)[1]:  # noqa: PTH116 -- asked for each batch
            disk.unlink(path)
            return True
    return False


def _take(disk: Disk, path: str, draft: str) -> bool:
    """Link a file with our number to the lock's name: a lock says from its first moment whose it is."""
    try:
        if time.monotonic() - _drafts.get(draft, _NEVER)[0] > TOUCHED:
            _refresh(disk, draft)
        try:
            disk.link(draft, path)
        except FileNotFoundError:  # swept, or the account was removed and made again
            if os.path.lexists(draft):
                raise  # the directory of the lock is gone
            _make(disk, draft)
            disk.link(draft, path)
    except FileExistsError:
        return False
    return True


def _refresh(disk: Disk, draft: str) -> None:
    """See to it that no lock of ours looks as if it had been left long ago."""
    if draft not in _drafts:
        _make(disk, draft)
        return
    with suppress(FileNotFoundError):
        os.utime(draft)
        _drafts[draft] = (time.monotonic(), _drafts[draft][1])


def _make(disk: Disk, draft: str) -> None:
    _drafts.pop(draft, None)  # if this fails, there is none
    with suppress(FileNotFoundError):  # of a process with our number that died
        disk.unlink(draft)
    descriptor = disk.create(draft)
    try:
        disk.write(descriptor, f"{os.getpid()}:{_HOST}".encode())
        # A lock may be there after a power failure, and without its octets nobody could tell that it was left.
        disk.sync(descriptor)
        inode = os.fstat(descriptor).st_ino
    finally:
        disk.close(descriptor)
    _drafts[draft] = (time.monotonic(), inode)


def _is_abandoned(path: str) -> bool:
    """Whether the holder is a process of this host that has ended, or was one with our number before us."""
    try:
        holder, age = Path(path).read_bytes(), time.time() - Path(path).stat().st_mtime
    except FileNotFoundError:
        return False
    if age > STALE:
        return True
    process, _, host = holder.decode("ascii", "replace").partition(":")
    if host.strip() != _HOST or not process.isdigit():
        return False
    if int(process) == os.getpid():
        return path not in _held
    return not _is_running(int(process))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
