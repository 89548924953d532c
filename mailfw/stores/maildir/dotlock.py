"""Lock files as other programs that know maildirs take them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mailfw.stores.index.ledger import SourceBusy
from mailfw.stores.maildir.disk import Disk

#: How long to wait for a lock.  Longer, and a few locked mailboxes would hold every thread of the store.
PATIENCE = 5.0

#: A lock untouched for so long was left by a program that died (Dovecot's MAILDIR_UIDLIST_LOCK_STALE_TIMEOUT).
STALE = 120.0

_HOST = socket.gethostname()
_held: set[str] = set()


@contextmanager
def dotlock(disk: Disk, path: str) -> Iterator[None]:
    """Hold the lock file `path`.  Blocks; raises `SourceBusy`.  Threads of one account must not compete for it."""
    until = time.monotonic() + PATIENCE
    while not _take(disk, path):
        if _is_abandoned(path):
            with suppress(FileNotFoundError):
                disk.unlink(path)
        elif time.monotonic() > until:
            raise SourceBusy(path)
        else:
            time.sleep(0.01)
    _held.add(path)
    try:
        yield
    finally:
        _held.discard(path)
        with suppress(FileNotFoundError):
            disk.unlink(path)


def _take(disk: Disk, path: str) -> bool:
    """Link a file with our number to the lock's name: a lock says from its first moment whose it is."""
    draft = f"{path}.{os.getpid()}"
    try:
        descriptor = disk.create(draft)
    except FileExistsError:  # of a process with our number that died
        disk.unlink(draft)
        descriptor = disk.create(draft)
    try:
        try:
            disk.write(descriptor, f"{os.getpid()}:{_HOST}".encode())
        finally:
            disk.close(descriptor)
        disk.link(draft, path)
    except FileExistsError:
        return False
    finally:
        disk.unlink(draft)
    return True


def _is_abandoned(path: str) -> bool:
    """Whether the holder is a process of this host that has ended, or was one with our number before us."""
    try:
        holder, age = Path(path).read_bytes(), time.time() - Path(path).stat().st_mtime
    except FileNotFoundError:
        return False
    if age > STALE:
        return True
    process, _, host = holder.decode("ascii", "replace").partition(":")
    if host.strip() != socket.gethostname() or not process.isdigit():
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
