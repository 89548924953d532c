"""Files that the system has in memory, read without ever waiting for a disk: openat2(2) and preadv2(2) of Linux."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

#: The number of openat2(2), the same on all machines that Python runs on but Alpha.
_OPENAT2 = 437
#: "Relative to the working directory", and "fail where the name is not in memory": linux/fcntl.h, linux/openat2.h.
_AT_FDCWD, _RESOLVE_CACHED = -100, 0x20

#: What is copied at once by the reactor's thread, while everybody else waits.
LIMIT = 256 * 1024


class _How(ctypes.Structure):
    """``struct open_how``."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


#: No links, and no waiting for whoever writes to a FIFO.
_TO_READ = _How(os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0, _RESOLVE_CACHED)
#: Not to be read, but for its dates.
_TO_LOOK = _How(getattr(os, "O_PATH", 0) | os.O_CLOEXEC, 0, _RESOLVE_CACHED)
_HOW_SIZE = ctypes.c_size_t(ctypes.sizeof(_How))
#: How `os.fsencode` writes names, which itself takes longer.
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def _opener() -> Callable[[bytes, _How], int] | None:
    """Return what opens a file whose name is in memory, or returns -1; None where the system has no such thing."""
    if not hasattr(os, "preadv") or not hasattr(os, "RWF_NOWAIT") or os.uname().machine == "alpha":
        return None
    try:
        # With Python's lock held: giving it up for a call that never waits may cost more than the call.
        call = ctypes.PyDLL(None).syscall
    except (OSError, AttributeError):
        return None

    def opened(path: bytes, how: _How) -> int:
        descriptor: int = call(_OPENAT2, _AT_FDCWD, path, ctypes.byref(how), _HOW_SIZE)
        return descriptor

    descriptor = opened(b"/", _TO_LOOK)
    if descriptor < 0:
        return None
    os.close(descriptor)
    return opened


_open = _opener()


#: Read into and used again, by as many threads as read at once: making them anew takes longer than most files do.
_buffers: list[bytearray] = []


def read_at_hand(path: str) -> bytes | None:
    """Return all octets of a regular file no larger than `LIMIT`; None where that would take longer, or cannot be."""
    descriptor = _open(path.encode(_ENCODING, _ERRORS), _TO_READ) if _open is not None else -1
    if descriptor < 0:
        return None
    buffer = _buffers.pop() if _buffers else bytearray(LIMIT + 1)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)  # what is no file has no end, or nothing or more up to there
        if size > LIMIT or os.preadv(descriptor, [buffer], 0, os.RWF_NOWAIT) != size:
            return None
        return bytes(memoryview(buffer)[:size])
    except OSError:  # not in memory, or on a file system that cannot tell
        return None
    finally:
        os.close(descriptor)
        _buffers.append(buffer)


def look_at_hand(path: str) -> os.stat_result | None:
    """Return what `os.stat` does where that is in memory; None where it is not, or cannot be."""
    descriptor = _open(path.encode(_ENCODING, _ERRORS), _TO_LOOK) if _open is not None else -1
    if descriptor < 0:
        return None
    try:
        return os.fstat(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
