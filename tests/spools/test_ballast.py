"""A spool is opened though the disk is full: what is kept can be delivered, and nothing new is taken."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.disk import Name
from mailfw.mail.failure import NoSpace
from mailfw.spools.log import LogSpool
from mailfw.testing.contents import MemoryContent
from mailfw.testing.disk import FaultyDisk
from mailfw.testing.spool import queued
from tests.spools.life import run_now

RESERVE = 64 * 1024
BALLAST = RESERVE * 3 // 4
LARGE = b"L" * 100_000


#: What `put` leaves.
ALL = {"1a": b"small", "1b": LARGE, "1c": b"waits", "1d": b"out"}


class SmallDisk(FaultyDisk):
    """Has so much room as the ballast takes, where `is_full`."""

    room: int | None = 10 * RESERVE

    def unlink(self, path: Name) -> None:
        super().unlink(path)
        if Path(path).name == "ballast":
            self.is_full, self.room = False, BALLAST

    def free(self, directory: Name) -> int | None:
        return 0 if self.is_full else self.room


class BallastTests(SynchronousTestCase):
    def setUp(self) -> None:
        root = Path(self.mktemp())
        self.disk = SmallDisk(root / "attic")
        self.path = root / "spool"
        self.ballast = self.path / "ballast"

    def open(self) -> LogSpool:
        spool = LogSpool(directory=self.path, disk=self.disk, clock=Clock(), reserve=RESERVE)
        run_now(spool.open())
        return spool

    def put(self, spool: LogSpool) -> None:
        """Leave messages in the log and the backlog."""
        for name, octets in ALL.items():
            run_now(spool.put(queued(name), MemoryContent(octets)))
        for name in ("1c", "1d"):
            run_now(spool.give_back(queued(name)))
        self.assertIsNotNone(run_now(spool.seize("1d")))

    def contents(self, spool: LogSpool) -> dict[str, bytes]:
        found = {}
        for one in run_now(spool.scan("", 100)):
            content = run_now(spool.content(one.id))
            assert content is not None
            found[one.id] = run_now(content.read(0, content.size))
            run_now(content.close())
        return found

    def test_a_full_disk(self) -> None:
        self.put(self.open())  # and the process dies
        self.assertEqual(self.ballast.stat().st_size, BALLAST)
        self.disk.is_full = True
        spool = self.open()
        self.assertEqual(self.contents(spool), ALL)
        self.assertFalse(self.ballast.exists())
        with self.assertRaises(NoSpace):
            run_now(spool.open_draft(0))
        for name in ALL:  # all can be delivered
            self.assertIsNotNone(run_now(spool.seize(name)))
            run_now(spool.remove(name))
        run_now(spool.close())
        self.disk.room = 10 * RESERVE
        run_now(self.open().close())
        self.assertTrue(self.ballast.exists(), "as soon as there is room again")

    def test_nothing_set_aside(self) -> None:
        """Then it cannot be opened, and nothing is lost by that."""
        self.disk.room = 2 * RESERVE
        self.put(self.open())
        self.assertFalse(self.ballast.exists())
        self.disk.is_full = True
        with self.assertRaises(NoSpace):
            self.open()
        self.disk.is_full = False
        self.assertEqual(self.contents(self.open()), ALL)

    def test_another_failure_is_none_of_this(self) -> None:
        self.put(self.open())
        self.disk.fail_at = self.disk.operations + 1
        with self.assertRaises(OSError):
            self.open()
        self.assertTrue(self.ballast.exists())

    def test_a_disk_that_fills_up_meanwhile(self) -> None:
        class Filling(SmallDisk):
            def allocate(self, descriptor: int, size: int) -> None:
                self.is_full = True
                super().allocate(descriptor, size)

        self.disk = Filling(self.path.parent / "attic")
        self.open()
        self.assertFalse(self.ballast.exists())
