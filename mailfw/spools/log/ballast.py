"""Room that is set aside while there is some, so that a spool can be opened when the disk is full."""

from __future__ import annotations

from pathlib import Path

from twisted.logger import Logger

from mailfw.disk import Disk
from mailfw.spools.log.names import discard

log = Logger()

#: It is only set aside where so many times as much is free.
_PLENTY = 4


class Ballast:
    """A file of `size` octets that means nothing; every method blocks."""

    def __init__(self, disk: Disk, path: Path, size: int) -> None:
        self._disk = disk
        self._path = path
        self._size = size

    def keep(self) -> None:
        """Set the room aside, if that is not done and there is plenty; that it cannot be is no failure."""
        free = self._disk.free(self._path.parent)
        if not self._size or self._path.exists() or free is None or free < _PLENTY * self._size:
            return
        try:
            descriptor = self._disk.create(self._path)
            try:
                self._disk.allocate(descriptor, self._size)
            finally:
                self._disk.close(descriptor)
        except OSError as error:
            log.info("No room is set aside for a full disk: {reason}", reason=str(error))
            discard(self._disk, self._path)

    def give_up(self) -> bool:
        """Make the room free; return whether there was any."""
        if not self._path.exists():
            return False
        self._disk.unlink(self._path)
        log.warn("The disk is full: the room that the queue had set aside is used now")  # noqa: G010  # Twisted's
        return True
