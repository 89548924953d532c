"""A message while it is written: in ``tmp/``, summarised as it passes.  Everything here blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mailfw.disk import Disk, full_is_no_space, is_full
from mailfw.mail.content import BlockingRead, read_whole_now
from mailfw.mail.failure import NoSpace
from mailfw.mail.summary import Summariser, Summary
from mailfw.stores.maildir.content import CHUNK
from mailfw.stores.maildir.names import with_sizes

#: What ext4 can keep, 34 bits; the index keeps every date.
_DATES = (-(2**31), 2**33)


class Draft:
    """One file in ``tmp/``; `base` is what it will be called, known once it is finished."""

    def __init__(self, disk: Disk, root: str, name: str, summarises: bool) -> None:
        self._disk = disk
        self._name = name
        self.root = root
        self.path = f"{root}/tmp/{name}"  # noqa: S108 -- the maildir's own
        self.base = name
        self.is_synced = self.is_placed = False
        self._descriptor: int | None = None
        self._size = 0
        self._summariser = Summariser() if summarises else None

    def write(self, octets: bytes) -> None:
        """Write the next piece.  Raises `NoSpace`, and then there is no file any more."""
        with self._discarded_on_failure():
            if self._descriptor is None:
                self._descriptor = self._disk.create(self.path)
            self._disk.write(self._descriptor, octets)
            self._size += len(octets)
            if self._summariser is not None:
                self._summariser.feed(octets)

    def write_all(self, read_now: BlockingRead, size: int, received: int) -> Summary | None:
        """Write what there is to be read, and finish."""
        for offset in range(0, max(1, size), CHUNK):
            self.write(read_whole_now(read_now, offset, min(CHUNK, size - offset)))
        return self.finish(received)

    def finish(self, received: int) -> Summary | None:
        """Date the file, wait until it is on stable storage, and return the summary if one was to be made."""
        with self._discarded_on_failure():
            assert self._descriptor is not None
            self._disk.date(self._descriptor, _kept_date(received))
            self._disk.sync(self._descriptor)
            self._close()
        self.base = with_sizes(self._name, self._size)
        self.is_synced = True
        return self._summariser.finish() if self._summariser is not None else None

    def write_unsynced(self, octets: bytes, received: int) -> None:
        """Write all of a message and date it; whoever asks sees to the syncing.  Raises `NoSpace`, as `write` does."""
        try:
            descriptor = self._descriptor = self._disk.create(self.path)
            self._disk.write(descriptor, octets)
            self._disk.date(descriptor, _kept_date(received))
            self._close()
        except BaseException as error:
            self.discard()
            if is_full(error):
                raise NoSpace("the disk is full") from error
            raise
        self.base = with_sizes(self._name, len(octets))

    @contextmanager
    def _discarded_on_failure(self) -> Iterator[None]:
        try:
            with full_is_no_space():
                yield
        except BaseException:
            self.discard()
            raise

    def move_to(self, path: str) -> None:
        """Move the finished file into a folder."""
        self._disk.rename(self.path, path)
        self.is_placed = True

    def take_back(self, path: str) -> None:
        """Undo `move_to`."""
        self._disk.rename(path, self.path)
        self.is_placed = False

    def discard(self) -> None:
        """Remove the file, if it is still in ``tmp/``."""
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            self._disk.unlink(self.path)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._disk.close(descriptor)


def _kept_date(received: int) -> int:
    return min(max(received, _DATES[0]), _DATES[1])
