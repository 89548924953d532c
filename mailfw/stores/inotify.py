"""Hearing of changes in directories from Linux, with one descriptor for all of them: inotify(7)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from zope.interface import implementer

_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED, _ONLYDIR = 0x4000, 0x8000, 0x0100_0000
#: What happens to names; a message's octets never change.
_NAMES = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLYDIR

#: struct inotify_event without the name
_EVENT = struct.Struct("=iIII")

#: Octets that are read at once: of some thousand events.
_READ = 512 * 1024

#: Seconds between two reads.  Whoever renames ten thousand files would else wake the reactor for each of them.
_PAUSE = 0.02

#: What is told instead of a watch when events were lost: anything may have changed.
EVERYTHING = -1


@implementer(IReadDescriptor)
class Inotify:
    """
    Calls ``heard(watch)`` in the reactor's thread when names in a directory have changed, a few times for one change.

    `gone` is called with a watch that has ended with its directory.  Raises `OSError` where there is no inotify, or
    the user has too many.
    """

    def __init__(self, reactor: Any, heard: Callable[[int], None], gone: Callable[[int], None]) -> None:
        if not IReactorFDSet.providedBy(reactor) or os.uname().sysname != "Linux":
            raise OSError("there is no inotify here")
        self._reactor: Any = reactor
        self._heard = heard
        self._gone = gone
        self._pause: Any = None
        self._library = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._called(self._library.inotify_init1, os.O_NONBLOCK | os.O_CLOEXEC)
        reactor.addReader(self)

    def _called(self, function: Any, *arguments: object) -> int:
        result: int = function(*arguments)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    def add(self, path: str) -> int:
        """Watch a directory, from any thread; may block.  Raises `OSError`, ``ENOSPC`` for too many watches."""
        descriptor, octets = ctypes.c_int(self._descriptor), ctypes.c_char_p(os.fsencode(path))
        return self._called(self._library.inotify_add_watch, descriptor, octets, ctypes.c_uint32(_NAMES))

    def remove(self, watch: int) -> None:
        """Watch no more."""
        with suppress(OSError):  # it has ended by itself
            self._called(self._library.inotify_rm_watch, ctypes.c_int(self._descriptor), ctypes.c_int(watch))

    def close(self) -> None:
        """Hear nothing more."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1

    # ------------------------------------------------------------ for the reactor

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Return a name for the log."""
        return "inotify"

    def doRead(self) -> None:
        """Hear what there is, and nothing more for a moment."""
        try:
            octets = os.read(self._descriptor, _READ)
        except BlockingIOError:
            return
        self._reactor.removeReader(self)
        self._pause = self._reactor.callLater(_PAUSE, self._go_on)
        offset = 0
        told = set()
        while offset + _EVENT.size <= len(octets):
            watch, mask, _, length = _EVENT.unpack_from(octets, offset)
            offset += _EVENT.size + length
            if mask & _IGNORED:
                self._gone(watch)
            else:
                told.add(EVERYTHING if mask & _OVERFLOW else watch)
        for watch in told:
            self._heard(watch)

    def _go_on(self) -> None:
        self._pause = None
        self._reactor.addReader(self)

    def connectionLost(self, reason: Any) -> None:
        """Close, when the reactor stops or reading fails."""
        self.close()


#: File systems that others write to without our hearing of it.
_REMOTE = frozenset({"9p", "afs", "ceph", "cifs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"})


def is_remote(path: str) -> bool:
    """Whether other machines may change what is here, or that cannot be known.  Blocks."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return True
    here = os.path.realpath(path) + "/"
    kinds: dict[str, str] = {}
    for mount in mounts:
        # proc_pid_mountinfo(5): … (5) mount point … (7) optional fields, "-", (9) type; spaces are written \\040
        left, _, right = mount.partition(" - ")
        point = left.split(" ")[4].replace("\\040", " ").rstrip("/") + "/"
        if here.startswith(point):
            kinds[point] = right.split(" ")[0]
    kind = kinds[max(kinds, key=len)] if kinds else "fuse"
    return kind in _REMOTE or kind.startswith("fuse")
