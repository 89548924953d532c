"""Messages while they arrive: in memory while small, then in a file; and how any content becomes something to keep."""

from __future__ import annotations

import errno
import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zope.interface import implementer

from mailfw.disk import Disk
from mailfw.interfaces import IDraft
from mailfw.mail.content import Content, Prefixed
from mailfw.mail.failure import NoSpace
from mailfw.spools.log.names import discard

#: Octets of one message that are held in memory; a file is written in pieces of at least this size.
IN_MEMORY = 64 * 1024
#: Octets that stay free on the disk, for what was promised already: outcomes, reports, flags.
RESERVE = 16 * 1024 * 1024
#: Seconds for which the answer to "how much is free?" holds.
_FREE_FOR = 1.0


@dataclass(frozen=True, slots=True)
class Material:
    """
    What is to be kept of a message: octets, then, where there is a `file`, what it holds from `start` on.

    `draft` was made for it, and is to be closed when the file has another name.
    """

    octets: bytes
    file: Path | None = None
    start: int | None = None
    draft: Draft | None = None


class DraftRoom:
    """Makes room for messages in a directory of its own, and refuses them before the disk is full."""

    def __init__(self, *, directory: Path, disk: Disk, clock: Any, reserve: int = RESERVE) -> None:
        self._directory = directory
        self._disk = disk
        self._clock = clock
        self._reserve = reserve
        self._numbers = itertools.count()
        self._free: int | None = None
        self._looked = float("-inf")

    async def open(self, size_hint: int) -> Draft:
        """
        Return an empty draft.

        Raises `NoSpace` where there is not half as much again free as the message will take, since it is stored
        before the draft can go (Postfix's rule for queue_minfree).
        """
        now = self._clock.seconds()
        if now - self._looked >= _FREE_FOR:
            self._looked = now
            self._free = await self._disk.run(self._disk.free, self._directory)
        if self._free is not None and self._free < self._reserve + size_hint + size_hint // 2:
            raise NoSpace("The disk is nearly full")
        return self.draft()

    def draft(self) -> Draft:
        """Return an empty draft, whatever room there is."""
        return Draft(self._directory / str(next(self._numbers)), self._disk)

    async def material(self, content: Content) -> Material:
        """Return what is to be kept of a content; a file is on stable storage when this returns, its name is not."""
        prefix, content, start = _unwrap(content)
        if isinstance(content, Draft):
            return await content.material(prefix, start)
        if len(prefix) + content.size - start <= IN_MEMORY:
            return Material(prefix + await _read(content, start, content.size))
        draft = self.draft()
        try:
            for offset in range(start, content.size, IN_MEMORY):
                await draft.write(await _read(content, offset, min(offset + IN_MEMORY, content.size)))
            return replace(await draft.material(prefix, 0), draft=draft)
        except BaseException:
            await draft.close()
            raise


def _unwrap(content: Content) -> tuple[bytes, Content, int]:
    """Return what comes first, and the content in which it goes on, from where."""
    prefix, start = b"", 0
    while isinstance(content, Prefixed):
        prefix += content.prefix[start:]
        start = content.start + max(0, start - len(content.prefix))
        content = content.content
    return prefix, content, start


async def _read(content: Content, start: int, end: int) -> bytes:
    octets = await content.read(start, end - start) if end > start else b""
    if len(octets) < end - start:
        raise OSError(errno.EIO, "The message ends too early")
    return octets


@implementer(IDraft)
class Draft:
    """One message; writes and reads must not overlap."""

    __slots__ = ("_descriptor", "_disk", "_is_sound", "_is_synced", "_path", "_tail", "_written", "size")

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._tail = bytearray()
        self._written = 0
        self._descriptor: int | None = None
        self._is_sound = True
        self._is_synced = False
        self.size = 0

    async def write(self, octets: bytes) -> None:
        """Append; most calls only fill the buffer."""
        self._tail += octets
        self.size += len(octets)
        if len(self._tail) > IN_MEMORY:
            await self._flush()

    async def _flush(self) -> None:
        if not self._is_sound:
            raise OSError(errno.EIO, "The message could not be written whole")
        tail, self._tail = bytes(self._tail), bytearray()
        await self._disk.run(self._put, tail)
        self._written += len(tail)

    def _put(self, octets: bytes) -> None:
        """Write to the file, in a thread."""
        self._is_sound = self._is_synced = False
        if self._descriptor is None:
            self._descriptor = self._disk.create(self._path)
        self._disk.write(self._descriptor, octets)
        self._is_sound = True

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, fewer only at the end."""
        if offset >= self._written:
            return self.read_now(offset, length)
        return await self._disk.run(self.read_now, offset, length)

    def read_now(self, offset: int, length: int) -> bytes:
        """Do what `read` does, in any thread."""
        length = max(0, min(length, self.size - offset))
        if offset >= self._written:
            return bytes(self._tail[offset - self._written : offset - self._written + length])
        assert self._descriptor is not None, "read after close"
        part = min(length, self._written - offset)
        return self._disk.read(self._descriptor, part, offset) + bytes(self._tail[: length - part])

    async def material(self, prefix: bytes, start: int) -> Material:
        """Return what is to be kept, without what comes before `start`."""
        if not self._is_sound:
            raise OSError(errno.EIO, "The message could not be written whole")
        if self._descriptor is None:
            return Material(prefix + self._tail[start:])
        if not self._is_synced:
            await self._disk.run(self._sync)
        return Material(prefix, self._path, start)

    def _sync(self) -> None:
        """Bring the file to stable storage, in a thread."""
        assert self._descriptor is not None
        self._is_sound = False  # and if this fails, a second sync would say nothing
        if self._tail:
            self._disk.write(self._descriptor, bytes(self._tail))
            self._written += len(self._tail)
            self._tail = bytearray()
        self._disk.sync_octets(self._descriptor)
        self._is_sound = self._is_synced = True

    async def close(self) -> None:
        """Forget the message."""
        descriptor, self._descriptor = self._descriptor, None
        self._tail = bytearray()
        if descriptor is not None:
            await self._disk.run(self._remove, descriptor)  # freeing the blocks of a large file takes time

    def _remove(self, descriptor: int) -> None:
        self._disk.close(descriptor)
        discard(self._disk, self._path)
