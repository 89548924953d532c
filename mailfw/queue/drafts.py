"""Messages while they arrive: in memory while small, then in a file without a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zope.interface import implementer

from mailfw.interfaces import IDraft
from mailfw.mail.failure import NoSpace
from mailfw.queue.disk import Disk

#: Octets of one draft that are held in memory; a file is written in pieces of this size.
IN_MEMORY = 64 * 1024
#: Octets that stay free on the disk, for what was promised already: outcomes, reports, flags.
RESERVE = 1024 * 1024
#: Seconds for which the answer to "how much is free?" holds.
_FREE_FOR = 1.0


class DraftRoom:
    """Makes room for messages in a directory of its own, and refuses them before the disk is full."""

    def __init__(self, *, directory: Path, disk: Disk, clock: Any, reserve: int = RESERVE) -> None:
        """Make the directory, and empty it: what a process that died left there was promised to nobody."""
        self._directory = directory
        self._disk = disk
        self._clock = clock
        self._reserve = reserve
        self._free: int | None = None
        self._looked = float("-inf")
        disk.make_directories(directory)
        for name in disk.names(directory):
            disk.unlink(directory / name)

    async def open(self, size_hint: int) -> IDraft:
        """
        Return an empty draft.

        Raises `NoSpace` where there is not half as much again free as the message will take, since it is stored
        before the draft can go (Postfix's rule for queue_minfree).
        """
        free = self._free_now()
        if free is not None and free < self._reserve + size_hint + size_hint // 2:
            raise NoSpace("The disk is nearly full")
        return Draft(self._directory, self._disk)

    def _free_now(self) -> int | None:
        now = self._clock.seconds()
        if now - self._looked >= _FREE_FOR:
            self._looked = now
            self._free = self._disk.free(self._directory)
        return self._free


@implementer(IDraft)
class Draft:
    """One message; writes and reads must not overlap."""

    __slots__ = ("_descriptor", "_directory", "_disk", "_tail", "_written", "size")

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._directory = directory
        self._disk = disk
        self._tail = bytearray()
        self._written = 0
        self._descriptor: int | None = None
        self.size = 0

    async def write(self, octets: bytes) -> None:
        """Append; most calls only fill the buffer."""
        self._tail += octets
        self.size += len(octets)
        if len(self._tail) > IN_MEMORY:
            await self._flush()

    async def _flush(self) -> None:
        tail, self._tail = bytes(self._tail), bytearray()
        await self._disk.run(self._put, tail)
        self._written += len(tail)

    def _put(self, octets: bytes) -> None:
        """Write to the file, in a thread."""
        if self._descriptor is None:
            self._descriptor = self._disk.create_nameless(self._directory)
        self._disk.write(self._descriptor, octets)

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, fewer only at the end."""
        if self._descriptor is None:
            return bytes(self._tail[offset : offset + length])
        if self._tail:
            await self._flush()
        return await self._disk.run(self._disk.read, self._descriptor, max(0, min(length, self.size - offset)), offset)

    async def close(self) -> None:
        """Forget the message."""
        descriptor, self._descriptor = self._descriptor, None
        self._tail = bytearray()
        if descriptor is not None:
            await self._disk.run(self._disk.close, descriptor)  # freeing the blocks of a large file takes time
