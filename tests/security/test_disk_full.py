"""A disk that fills up, and one message that is larger than all memory should be: a server in a process of its own."""

from __future__ import annotations

import re
import shutil
import smtplib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.interop.server import DOMAIN, RunningServer

SENDER, ANN = "eve@elsewhere.example", f"ann@{DOMAIN}"
LETTER = b"Subject: hello\r\n\r\n" + b"0123456789abcdef" * 4 + b"\r\n"


class FullTests(SynchronousTestCase):
    """RFC 3463 section 3.4 (X.3.1): the disk is a small one of its own."""

    def setUp(self) -> None:
        self.disk = Path(self.mktemp()).absolute()
        self.disk.mkdir()
        mount = shutil.which("mount")
        options = ["-t", "tmpfs", "-o", "size=48m", "tmpfs", str(self.disk)]
        if mount is None or subprocess.run([mount, *options], capture_output=True, check=False).returncode:
            raise SkipTest("only root may mount a disk, and not everywhere")
        self.addCleanup(lambda: subprocess.run(["umount", "-l", str(self.disk)], check=True))
        self.server = RunningServer("ann", settings=(f'data="{self.disk / "data"}"',))
        self.addCleanup(self.server.remove)

    def send(self) -> int:
        """Send a letter, and return the code of the last answer."""
        with smtplib.SMTP("127.0.0.1", self.server.ports["smtp"], timeout=30) as client:
            client.ehlo()
            client.mail(SENDER)
            client.rcpt(ANN)
            code = client.docmd("DATA")[0]
            if code != 354:
                return code
            client.send(LETTER + b".\r\n")
            return client.getreply()[0]

    def delivered(self) -> int:
        return sum(1 for _ in (self.disk / "data").rglob("new/*"))

    def test_full_and_free_again(self) -> None:
        self.server.console("user", "add", f"bob@{DOMAIN}", given="x")
        self.assertEqual([self.send() for _ in range(3)], [250] * 3)
        filler = self.disk / "filler"
        with filler.open("wb") as file:
            while shutil.disk_usage(self.disk).free > 1024 * 1024:
                file.write(bytes(512 * 1024))
                file.flush()
        time.sleep(1.5)  # what is known of the disk is good for a second
        self.assertEqual([self.send() for _ in range(3)], [452] * 3)
        filler.unlink()
        time.sleep(1.5)
        self.assertEqual([self.send() for _ in range(3)], [250] * 3)
        until = time.monotonic() + 20
        while self.delivered() < 6 and time.monotonic() < until:
            time.sleep(0.1)
        self.assertEqual(self.delivered(), 6)
        self.assertNotIn("Traceback", self.server.log())


class LargeMessageTests(SynchronousTestCase):
    def test_memory_stays_what_it_was(self) -> None:
        """256 MB pass through, by DATA and by BDAT, and no more than a few are ever in memory."""
        server = RunningServer("ann", settings=("limits.message_size=300000000",))
        self.addCleanup(server.remove)
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=60) as client:
            client.sendmail(SENDER, [ANN], LETTER)
        before = peak(server)
        for transfer in (self.by_data, self.by_chunks):
            with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=120) as client:
                client.ehlo()
                client.mail(SENDER)
                client.rcpt(ANN)
                assert client.sock is not None
                transfer(client, client.sock)
                self.assertEqual(client.getreply()[0], 250)
        self.assertLess(peak(server) - before, 30_000)

    def pieces(self) -> Iterator[bytes]:
        line = b"x" * 998 + b"\r\n"
        yield b"Subject: large\r\n\r\n"
        for _ in range(128):
            yield line * 1000

    def by_data(self, client: smtplib.SMTP, wire: socket.socket) -> None:
        self.assertEqual(client.docmd("DATA")[0], 354)
        for piece in self.pieces():
            wire.sendall(piece)
        wire.sendall(b".\r\n")

    def by_chunks(self, client: smtplib.SMTP, wire: socket.socket) -> None:
        for piece in self.pieces():
            wire.sendall(b"BDAT %d\r\n" % len(piece) + piece)
            self.assertEqual(client.getreply()[0], 250)
        wire.sendall(b"BDAT 0 LAST\r\n")


def peak(server: RunningServer) -> int:
    """Return the most memory that a server has had, in KiB."""
    assert server.process is not None
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text())
    assert found is not None
    return int(found[1])
