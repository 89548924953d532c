from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.failure import NoSpace
from mailfw.queue.disk import Disk
from mailfw.queue.drafts import IN_MEMORY, DraftRoom
from mailfw.testing.dialogue import run_now
from tests.accounts.pretend import PretendReactor
from tests.queue.fixture import fail_now


class NarrowDisk(Disk):
    """A disk on which so many octets are free, and that counts how often it is asked."""

    room: int | None = 10**9
    looked = 0
    error: OSError | None = None

    def free(self, directory: Path) -> int | None:
        self.looked += 1
        return self.room

    def write(self, descriptor: int, octets: bytes) -> None:
        if self.error is not None:
            raise self.error
        super().write(descriptor, octets)


class DraftTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = PretendReactor()
        self.disk = NarrowDisk(self.reactor)
        self.directory = Path(self.mktemp())
        self.room = self.make_room()

    def make_room(self) -> DraftRoom:
        return DraftRoom(directory=self.directory, disk=self.disk, clock=self.reactor)

    def open(self, size_hint: int = 0) -> Any:
        return run_now(self, self.room.open(size_hint))

    def test_small_ones_touch_neither_disk_nor_threads(self) -> None:
        draft = self.open()
        run_now(self, draft.write(b"x" * IN_MEMORY))
        self.assertEqual(run_now(self, draft.read(0, 10**6)), b"x" * IN_MEMORY)
        self.assertEqual(self.reactor.threads.done, 0)
        run_now(self, draft.close())

    def test_large_ones_are_not_in_memory(self) -> None:
        draft = self.open()
        piece = b"0123456789abcdef" * 1024
        for _ in range(256):
            run_now(self, draft.write(piece))
            self.assertLessEqual(len(draft._tail), IN_MEMORY)
        self.assertEqual(draft.size, 256 * len(piece))
        self.assertLess(self.reactor.threads.done, 256 * len(piece) / IN_MEMORY + 2)
        self.assertEqual(run_now(self, draft.read(255 * len(piece) - 3, 6)), b"def012")
        self.assertEqual(run_now(self, draft.read(draft.size - 3, 10)), b"def")
        run_now(self, draft.close())
        run_now(self, draft.close())

    @given(st.lists(st.integers(0, 100_000), max_size=5), st.integers(0, 400_000), st.integers(0, 400_000))
    def test_reads_what_was_written(self, sizes: list[int], offset: int, length: int) -> None:
        octets = os.urandom(1000) * 500
        draft = self.open()
        written = 0
        for size in sizes:
            run_now(self, draft.write(octets[written : written + size]))
            written += size
        written = min(written, len(octets))
        self.assertEqual(run_now(self, draft.read(offset, length)), octets[:written][offset : offset + length])
        run_now(self, draft.close())

    def test_nothing_is_left_in_the_directory(self) -> None:
        draft = self.open()
        run_now(self, draft.write(b"x" * 200_000))
        self.assertEqual(list(self.directory.iterdir()), [])
        run_now(self, draft.close())

    def test_leftovers_are_removed(self) -> None:
        (self.directory / "tmpabc").write_bytes(b"x")
        self.make_room()
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_room_is_asked_for(self) -> None:
        self.disk.room = 3_000_000
        self.open(1_000_000)
        fail_now(self, NoSpace, self.room.open(2_000_000))
        self.assertEqual(self.disk.looked, 1)
        self.reactor.advance(1)
        self.disk.room = 100_000
        fail_now(self, NoSpace, self.room.open(0))
        self.reactor.advance(1)
        self.disk.room = None
        self.open(10**12)

    def test_a_full_disk(self) -> None:
        for number in (errno.ENOSPC, errno.EDQUOT):
            self.disk.error = OSError(number, "full")
            draft = self.open()
            fail_now(self, NoSpace, draft.write(b"x" * 100_000))
            run_now(self, draft.close())
        self.disk.error = OSError(errno.EIO, "broken")
        draft = self.open()
        fail_now(self, OSError, draft.write(b"x" * 100_000))
        run_now(self, draft.close())
