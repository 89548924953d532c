"""
A machine that fails the server while mail comes in, is appended, flagged and moved.

A disk that is full, or of which nothing more is written; no descriptor left; a clock that is set.  Nobody who is told
OK loses anything, nothing is there twice, and whatever needs none of it is served all the while.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.interop.deeds import PATIENCE, Deeds
from tests.interop.server import RunningServer, require

#: What an hour is to a clock that is set.
HOUR = 3600


class HostileCase(SynchronousTestCase):
    """A server with a store, and clients who work."""

    def open(self, plugin: str, *settings: str, environment: dict[str, str] | None = None) -> Deeds:
        with_environment(environment or {}, lambda: self._open(plugin, settings))
        return self.deeds

    def _open(self, plugin: str, settings: tuple[str, ...]) -> None:
        self.server = RunningServer("ann", settings=(f'store.plugin="{plugin}"', *settings))
        self.addCleanup(self.server.remove)
        self.deeds = Deeds(self.server)

    def check(self) -> None:
        faults = self.deeds.faults()
        if faults:
            self.fail(f"{len(faults)} of {len(self.deeds.acknowledged)}: {faults[:9]}\n{self.server.log()}")

    def hasten(self) -> None:
        """Let the queue try again what it would try in a minute."""
        self.server.console("queue", "retry", "--all", "--yes")

    def is_served(self) -> None:
        """Somebody logs in and reads, and looks for new mail."""
        client = self.deeds.login()
        try:
            self.assertEqual(client.select("INBOX")[0], "OK")
            self.assertEqual(client.fetch("1", "(FLAGS BODY.PEEK[])")[0], "OK")
            self.assertEqual(client.noop()[0], "OK")
        finally:
            client.shutdown()


def with_environment(more: dict[str, str], do: Callable[[], None]) -> None:
    """Do something that starts a process."""
    before = dict(os.environ)
    os.environ.update(more)
    try:
        do()
    finally:
        os.environ.clear()
        os.environ.update(before)


# ---------------------------------------------------------------- disks


class FullDiskTests(HostileCase):
    """The disk is a small one; the tests of the stores let every single operation fail where none can be mounted."""

    def test_maildir(self) -> None:
        self.go_through("maildir")

    def test_sqlite(self) -> None:
        self.go_through("sqlite")

    def go_through(self, plugin: str) -> None:
        disk = mounted(self, "-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs")
        deeds = self.open(plugin, f'data="{disk / "data"}"')
        deeds.begin()
        deeds.wait_for(60)
        deeds.wait_for_mail()
        for _ in range(2):
            fill(disk / "filler")
            time.sleep(1.5)  # what is known of the disk is good for a second
            refused = deeds.refused
            self.is_served()
            time.sleep(1.0)
            self.assertGreater(deeds.refused, refused + 5)
            (disk / "filler").unlink()
            deeds.wait_for(40)
        deeds.end()
        self.hasten()
        self.check()


def mounted(case: SynchronousTestCase, *how: str) -> Path:
    """Mount a disk for a test, or skip it."""
    disk = Path(case.mktemp()).absolute()
    disk.mkdir(parents=True)
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, *how, str(disk)], capture_output=True, check=False).returncode:
        raise SkipTest("only root may mount a disk, and not everywhere")
    case.addCleanup(lambda: subprocess.run(["umount", "-l", str(disk)], check=True))
    return disk


def fill(path: Path) -> None:
    """Leave no room, not even for a line."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(512))


class BrokenDiskTests(HostileCase):
    """ext4 takes no more writes after an error of its disk; after a repair the server goes on from what is there."""

    def test_maildir(self) -> None:
        self.go_through("maildir")

    def test_sqlite(self) -> None:
        self.go_through("sqlite")

    def go_through(self, plugin: str) -> None:
        image = Path(self.mktemp()).absolute()
        with image.open("wb") as file:
            file.truncate(128 * 1024 * 1024)
        subprocess.run([require("mkfs.ext4"), "-q", "-F", str(image)], check=True)
        disk = mounted(self, "-o", "loop", str(image))
        deeds = self.open(plugin, f'data="{disk / "data"}"')
        deeds.begin()
        deeds.wait_for(60)
        deeds.wait_for_mail()
        # Nobody is told anything in the moment in which the disk breaks: what counts is what was said before and after.
        deeds.end()
        subprocess.run(["mount", "-o", "remount,abort", str(disk)], check=False, capture_output=True)
        with self.assertRaises(OSError):
            (disk / "written").write_bytes(b"x")
        deeds.begin()
        time.sleep(0.5)
        refused = deeds.refused
        self.is_served()
        time.sleep(1.0)
        self.assertGreater(deeds.refused, refused)
        deeds.end()
        deeds.server.kill()
        subprocess.run(["umount", str(disk)], check=True)
        subprocess.run([require("fsck.ext4"), "-p", "-f", str(image)], check=False, capture_output=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(disk)], check=True)
        deeds.server.start()
        deeds.begin()
        deeds.wait_for(20)
        deeds.end()
        self.hasten()
        self.check()


# ---------------------------------------------------------------- descriptors


class DescriptorTests(HostileCase):
    """Idle connections have taken every descriptor that the server may have."""

    def test_maildir(self) -> None:
        self.go_through("maildir")

    def test_sqlite(self) -> None:
        self.go_through("sqlite")

    def go_through(self, plugin: str) -> None:
        deeds = self.open(plugin, "limits.connections_per_address=10000")
        assert deeds.server.process is not None
        process = deeds.server.process.pid
        deeds.begin()
        deeds.wait_for(20)
        deeds.wait_for_mail()
        used = len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208 -- a count
        resource.prlimit(process, resource.RLIMIT_NOFILE, (used + 40, used + 40))
        idle = [socket.create_connection(("127.0.0.1", deeds.server.ports["imap"]), 5) for _ in range(120)]
        time.sleep(0.5)
        self.assertGreaterEqual(len(os.listdir(f"/proc/{process}/fd")), used + 38)  # noqa: PTH208
        deeds.end()
        self.rest(process)
        deeds.begin()
        time.sleep(2.0)
        for each in idle:
            each.close()
        deeds.wait_for(40)
        deeds.end()
        self.hasten()
        self.check()

    def rest(self, process: int) -> None:
        """Wait until the process has next to nothing to do: what came before is delivered first."""
        until = time.monotonic() + PATIENCE
        while True:
            began = processor_time(process)
            time.sleep(2.0)
            if processor_time(process) - began < 0.5:
                return
            self.assertLess(time.monotonic(), until, "it spins")


def processor_time(process: int) -> float:
    """Return the seconds that a process has worked."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---------------------------------------------------------------- the clock


class ClockTests(HostileCase):
    """Somebody sets the machine's clock, hours and days to and fro."""

    def test_maildir(self) -> None:
        self.go_through("maildir")

    def test_sqlite(self) -> None:
        self.go_through("sqlite")

    def set_clock(self, hours: float) -> None:
        draft = self.offset.with_suffix(".new")
        draft.write_text(f"{hours * HOUR:+.0f}")
        draft.replace(self.offset)

    def go_through(self, plugin: str) -> None:
        require("faketime")
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        self.offset = Path(self.mktemp()).absolute()
        self.set_clock(0)
        # Files keep the dates that the system gives them.
        environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        deeds = self.open(plugin, environment=environment)
        status = self.status()
        deeds.begin()
        deeds.wait_for(30)
        for hours in (3, -3, 40, -40, 0):
            self.set_clock(hours)
            deeds.wait_for(30)
            self.is_served()
            after = self.status()
            self.assertEqual(after["UIDVALIDITY"], status["UIDVALIDITY"])
            self.assertGreater(after["UIDNEXT"], status["UIDNEXT"])
            status = after
        self.set_clock(5)
        deeds.server.kill()
        deeds.end()
        with_environment(environment, deeds.server.start)
        deeds.begin()
        deeds.wait_for(30)
        deeds.end()
        self.check()
        self.assertEqual(self.status()["UIDVALIDITY"], status["UIDVALIDITY"])
        self.assertNotIn("Traceback", (deeds.server.home / "log").read_text(errors="replace"))

    def status(self) -> dict[str, int]:
        client = self.deeds.login()
        try:
            words = client.status("INBOX", "(UIDVALIDITY UIDNEXT)")[1][0]
        finally:
            client.shutdown()
        return {name.decode(): int(value) for name, value in re.findall(rb"([A-Z]+) (\d+)", words)}
