"""Message files as `IContent`: with CRLF line ends, whatever program wrote them."""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_right
from contextlib import suppress

from zope.interface import implementer

from mailfw.interfaces import IContent
from mailfw.stores.maildir.at_hand import read_at_hand
from mailfw.stores.maildir.names import has_crlf
from mailfw.stores.threads import Threads

#: A message no larger is read when it is opened, and its file closed again.
SMALL = 64 * 1024

#: What is read at once of a larger one.
CHUNK = 256 * 1024


def open_message(path: str) -> int:
    """
    Open a file that another program may have put there: no links, nothing but a regular file.

    Raises `FileNotFoundError` for what is no message.
    """
    try:
        # A FIFO would let us wait for ever without O_NONBLOCK.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise FileNotFoundError(path)
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return descriptor


def with_crlf(octets: bytes) -> bytes:
    """Return octets with every bare LF turned to CRLF."""
    if b"\r\n" in octets:  # by two replacements, which are several times as fast as a pattern
        octets = octets.replace(b"\r\n", b"\n")
    return octets.replace(b"\n", b"\r\n")


class Octets:
    """
    The octets of an open file, with every bare LF turned to CRLF if `converts`.  Blocks; closes a file it cannot read.

    For a file that is converted the marks say, for each chunk, at which octet of the result it begins.
    """

    def __init__(self, descriptor: int, converts: bool) -> None:
        self._descriptor = descriptor
        self._converts = converts
        self._length = os.fstat(descriptor).st_size
        self._marks = [0]
        try:
            self.size = self._measure() if converts else self._length
        except BaseException:
            self.close()
            raise

    def _measure(self) -> int:
        for start in range(0, self._length, CHUNK):
            self._marks.append(self._marks[-1] + len(self._chunk(start)))
        return self._marks[-1]

    def _chunk(self, start: int) -> bytes:
        """Return one chunk converted; the octet before it says whether its first LF is bare."""
        before = os.pread(self._descriptor, 1, start - 1) if start else b""
        converted = with_crlf(before + os.pread(self._descriptor, CHUNK, start))
        # A bare LF as the octet before has become two.
        return converted[len(before) + (before == b"\n") :]

    def read(self, offset: int, length: int) -> bytes:
        """Return octets from `offset`, fewer only at the end."""
        if not self._converts:
            return self._read_through(offset, length)
        end = min(offset + length, self.size)
        pieces = []
        index = bisect_right(self._marks, offset) - 1
        while offset < end:
            piece = self._chunk(index * CHUNK)[offset - self._marks[index] :][: end - offset]
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            index += 1
        return b"".join(pieces)

    def _read_through(self, offset: int, length: int) -> bytes:
        octets = os.pread(self._descriptor, length, offset)
        while octets and len(octets) < length and offset + len(octets) < self._length:
            octets += os.pread(self._descriptor, length - len(octets), offset + len(octets))
        return octets

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            os.close(self._descriptor)


def message_at_hand(path: str, base: str) -> bytes | None:
    """Return a small message that is in memory, without waiting; None says nothing of it."""
    octets = read_at_hand(path)
    if octets is None or has_crlf(base, len(octets)):
        return octets
    return with_crlf(octets)


def read_if_small(octets: Octets) -> Octets | bytes:
    """Return what a small file holds, and close it; a large one as it is."""
    if octets.size > SMALL:
        return octets
    try:
        return octets.read(0, octets.size)
    finally:
        octets.close()


@implementer(IContent)
class FileContent:
    """A message read from its file, which may have another name by now, or none."""

    def __init__(self, threads: Threads, octets: Octets) -> None:
        self._threads = threads
        self._octets: Octets | None = octets
        self.size = octets.size

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, fewer only at the end."""
        assert self._octets is not None, "closed"
        return await self._threads.run(self._octets.read, offset, length)

    async def close(self) -> None:
        """Close the file."""
        octets, self._octets = self._octets, None
        if octets is not None:
            octets.close()

    def __del__(self) -> None:
        if self._octets is not None:
            self._octets.close()
