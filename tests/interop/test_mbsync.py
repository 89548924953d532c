"""Two-way synchronisation by mbsync: 2,000 messages, flags, deletions and new folders on both sides."""

from __future__ import annotations

import imaplib
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.clients import ANN, mutf7, quoted
from tests.interop.mbsync import configuration
from tests.interop.server import PASSWORD, RunningServer, require


class MbsyncTests(SynchronousTestCase):
    """The everyday life of an offline reader."""

    count = 2000
    workers = 0

    def setUp(self) -> None:
        self.mbsync = require("mbsync")
        self.server = RunningServer("ann", arguments=("--workers", str(self.workers)))
        self.addCleanup(self.server.remove)
        self.near = self.server.home / "near"
        self.near.mkdir()
        (self.server.home / ".mbsyncrc").write_text(
            configuration(*(self.server.ports["imap"], ANN, PASSWORD, self.near), certificate=self.server.certificate)
        )

    def sync(self) -> None:
        self.server.run(self.mbsync, "-c", str(self.server.home / ".mbsyncrc"), "-a", "-q")

    def client(self) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.server.ports["imap"])
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # it writes in small pieces
        client.login(ANN, PASSWORD)
        return client

    def files(self, folder: str) -> list[Path]:
        return [file for name in ("cur", "new") for file in (self.near / folder / name).iterdir()]

    def test_two_way(self) -> None:
        with self.client() as client:
            for number in range(self.count):
                message = f"From: a@b.example\r\nSubject: number {number}\r\n\r\nbody {number}\r\n"
                client.append("INBOX", "(\\Seen)" if number % 2 else "", None, message.encode())
        self.sync()
        self.assertEqual(len(self.files("INBOX")), self.count)
        self._change_both_sides()
        self.sync()
        self._agree()
        before = sorted(file.name for file in self.files("INBOX"))
        self.sync()
        self.assertEqual(sorted(file.name for file in self.files("INBOX")), before, "A third run changed something")

    def _change_both_sides(self) -> None:
        with self.client() as client:
            client.select("INBOX")
            client.uid("STORE", "1:100", "+FLAGS", "(\\Flagged)")
            client.uid("STORE", "101:200", "+FLAGS", "(\\Deleted)")
            client.expunge()
            client.create(quoted("한국어 폴더"))
            client.append(quoted("한국어 폴더"), "", None, b"Subject: far\r\n\r\nx\r\n")
        by_number = {self._number(file): file for file in self.files("INBOX")}
        for number in range(300, 400):
            file = by_number[number]
            base, _, flags = file.name.partition(":2,")
            file.rename(self.near / "INBOX" / "cur" / f"{base}:2,{''.join(sorted(set(flags) | {'R'}))}")
        for number in range(400, 500):
            by_number[number].unlink()
        for name in ("cur", "new", "tmp"):
            (self.near / mutf7("새 폴더") / name).mkdir(parents=True)
        (self.near / mutf7("새 폴더") / "new" / "1.1.near").write_bytes(b"Subject: near\n\ny\n")

    @staticmethod
    def _number(file: Path) -> int:
        return int(file.read_bytes().partition(b"Subject: number ")[2].split()[0])

    def _agree(self) -> None:
        self.assertEqual(len(self.files("INBOX")), self.count - 200)
        flagged = [file for file in self.files("INBOX") if "F" in file.name.partition(":2,")[2]]
        self.assertEqual(len(flagged), 100)
        self.assertEqual(len(self.files(mutf7("한국어 폴더"))), 1)
        with self.client() as client:
            self.assertEqual(client.select("INBOX")[1], [str(self.count - 200).encode()])
            answered = client.search(None, "ANSWERED")[1][0].split()
            self.assertEqual(len(answered), 100)
            self.assertEqual(client.select(quoted("새 폴더"))[1], [b"1"])


class MbsyncOfWorkersTests(MbsyncTests):
    count = 600
    workers = 2
