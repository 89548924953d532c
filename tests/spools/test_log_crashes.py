"""Whatever the disk does at whatever moment, nothing that was promised is lost, and nothing half is given out."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from twisted.internet.defer import FirstError
from twisted.trial.unittest import SynchronousTestCase

from mailfw.spools.log import spool
from mailfw.testing.disk import FaultyDisk
from tests.spools.life import Life, live_until


class DiskCase(SynchronousTestCase):
    def setUp(self) -> None:
        memory = Path("/dev/shm")  # what is a disk here is the FaultyDisk: no need to wait for a real one
        where = memory if os.access(memory, os.W_OK) else None
        self.root = Path(tempfile.mkdtemp(prefix="mailfw-", dir=where))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.patch(spool, "SEGMENTS", 2)

    def life(self, crash_at: int | None = None, fail_at: int | None = None, error: int = errno.EIO) -> Life:
        """Live on a new disk."""
        shutil.rmtree(self.root, ignore_errors=True)
        disk = FaultyDisk(self.root / "attic", crash_at, fail_at, error)
        return live_until(self.root / "spool", disk)

    def assert_well(self, life: Life, lost_power: bool, at: int) -> None:
        """Look at what is left."""
        self.assertEqual(life.look(lost_power), {}, f"operation {at}")

    def assert_nothing_set_aside(self, at: int) -> None:
        """A crash alone leaves nothing that the postmaster has to look at."""
        kept = self.root / "spool" / "kept"
        self.assertEqual(list(kept.iterdir()) if kept.exists() else [], [], f"operation {at}")

    def operations(self) -> int:
        """Return how many there are in a whole life."""
        life = self.life()
        self.assertEqual(life.errors, [])
        self.assertEqual(life.look(lost_power=True), {})
        return life.disk.operations


class CrashTests(DiskCase):
    def test_the_process_dies_at_every_operation(self) -> None:
        for at in range(1, self.operations() + 1):
            life = self.life(crash_at=at)
            self.flushLoggedErrors(FirstError)  # of moving many to the backlog
            self.assert_well(life, False, at)
            self.assert_well(life, False, at)  # looking changes nothing
            self.assert_nothing_set_aside(at)

    def power_fails(self, data: str, names: str) -> None:
        for at in range(1, self.operations() + 1):
            life = self.life(crash_at=at)
            self.flushLoggedErrors(FirstError)
            life.disk.lose_power(data, names)
            self.assert_well(life, True, at)
            if data != "garbled":
                self.assert_nothing_set_aside(at)

    def test_the_power_fails_and_all_that_was_not_synced_is_lost(self) -> None:
        self.power_fails("dropped", "lost")

    def test_the_power_fails_and_names_survive_octets(self) -> None:
        self.power_fails("dropped", "kept")

    def test_the_power_fails_and_octets_are_torn_and_some_names_lost(self) -> None:
        self.power_fails("torn", "even")
        self.power_fails("torn", "odd")

    def test_the_power_fails_and_octets_have_a_hole(self) -> None:
        self.power_fails("garbled", "kept")


class RefusalTests(DiskCase):
    def refuse(self, error: int) -> None:
        for at in range(1, self.operations() + 1):
            life = self.life(fail_at=at, error=error)
            self.assertLessEqual(len(life.errors), 4, f"operation {at}")  # those that came together, at most
            self.flushLoggedErrors(FirstError)
            life.disk.lose_power()
            self.assert_well(life, True, at)
            self.assert_nothing_set_aside(at)

    def test_the_disk_is_full_at_every_operation(self) -> None:
        self.refuse(errno.ENOSPC)

    def test_the_disk_is_broken_at_every_operation(self) -> None:
        self.refuse(errno.EIO)

    def test_there_are_no_descriptors_at_any_operation(self) -> None:
        self.refuse(errno.EMFILE)
