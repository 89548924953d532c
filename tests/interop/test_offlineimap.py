"""Two-way synchronisation by offlineimap: messages, flags, deletions and new folders on both sides."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from pathlib import Path

from tests.interop.clients import ANN, KOREAN_FOLDER, SUBJECTS, ClientCase, has_attachment, mutf7, quoted, subject_of
from tests.interop.server import PASSWORD, require
from tests.running import until

COUNT = 60
CONFIGURATION = """\
[general]
accounts = mail
metadata = {home}/metadata
ui = basic
socktimeout = 60
[Account mail]
localrepository = near
remoterepository = far
{account}
[Repository near]
type = Maildir
localfolders = {near}
sep = /
[Repository far]
type = IMAP
remotehost = 127.0.0.1
remoteport = {port}
remoteuser = {user}
remotepass = {password}
ssl = yes
cert_fingerprint = {fingerprint}
maxconnections = 2
{repository}
"""


class OfflineimapTests(ClientCase):
    """It uses TLS from the start and knows the server by its certificate's fingerprint."""

    def setUp(self) -> None:
        self.program = require("offlineimap")
        super().setUp()
        self.near = self.server.home / "near"
        self.configure()
        with self.independent() as client:
            for number in range(COUNT):
                client.append("INBOX", "", "", f"Subject: number {number}\r\n\r\nbody {number}\r\n".encode())

    def configure(self, account: str = "", repository: str = "") -> None:
        certificate = ssl.PEM_cert_to_DER_cert(self.server.certificate.read_text())
        (self.server.home / ".offlineimaprc").write_text(
            CONFIGURATION.format(
                home=self.server.home,
                near=self.near,
                port=self.server.ports["imaps"],
                user=ANN,
                password=PASSWORD,
                fingerprint=hashlib.sha512(certificate).hexdigest(),
                account=account,
                repository=repository,
            )
        )

    def sync(self) -> None:
        self.server.run(self.program, "-o", "-c", str(self.server.home / ".offlineimaprc"))

    def files(self, folder: str = "INBOX") -> dict[str, Path]:
        """Return the files of a folder by subject."""
        found = [file for name in ("cur", "new") for file in (self.near / mutf7(folder) / name).iterdir()]
        return {subject_of(file.read_bytes()): file for file in found}

    def test_two_way(self) -> None:
        self.sync()
        near = self.files()
        self.assertEqual(set(near), {*SUBJECTS, *(f"number {number}" for number in range(COUNT))})
        self.assertTrue(has_attachment(near[SUBJECTS[0]].read_bytes()))
        self.change_both_sides(near)
        self.sync()
        self.agree()
        before = sorted(str(path) for path in self.near.rglob("*"))
        there = (self.look(), self.look(KOREAN_FOLDER), self.look("새 폴더"))
        self.sync()
        self.assertEqual(sorted(str(path) for path in self.near.rglob("*")), before, "A third run changed something")
        self.assertEqual((self.look(), self.look(KOREAN_FOLDER), self.look("새 폴더")), there)

    def change_both_sides(self, near: dict[str, Path]) -> None:
        with self.independent() as client:
            client.select("INBOX")
            client.uid("STORE", "4:13", "+FLAGS", "(\\Flagged)")
            client.uid("STORE", "14:23", "+FLAGS", "(\\Deleted)")
            client.expunge()
            client.create(quoted(KOREAN_FOLDER))
            client.append(quoted(KOREAN_FOLDER), "", "", b"Subject: far\r\n\r\nx\r\n")
        for number in range(30, 40):
            base = near[f"number {number}"].name.partition(":2,")[0]
            near[f"number {number}"].rename(self.near / "INBOX" / "cur" / f"{base}:2,RS")
        for number in range(40, 50):
            near[f"number {number}"].unlink()
        for name in ("cur", "new", "tmp"):
            (self.near / mutf7("새 폴더") / name).mkdir(parents=True)
        (self.near / mutf7("새 폴더") / "new" / "1.1.near").write_bytes(b"Subject: near\n\ny\n")

    def agree(self) -> None:
        near = self.files()
        there = {kept.subject: kept.flags for kept in self.look()}
        self.assertEqual(set(near), set(there))
        gone = {*range(10, 20), *range(40, 50)}
        self.assertEqual(set(there), {*SUBJECTS, *(f"number {n}" for n in range(COUNT) if n not in gone)})
        for number in range(10):
            self.assertIn("F", near[f"number {number}"].name.partition(":2,")[2])
        for number in range(30, 40):
            self.assertEqual(there[f"number {number}"], "\\Answered \\Seen")
        self.assertEqual(list(self.files(KOREAN_FOLDER)), ["far"])
        self.assertEqual(self.subjects("새 폴더"), ["near"])

    def test_it_is_told_what_is_new(self) -> None:
        self.configure("autorefresh = 10", "idlefolders = ['INBOX']\nkeepalive = 30")
        with (self.server.home / "said").open("wb") as said:
            process = subprocess.Popen(
                [self.program, "-c", str(self.server.home / ".offlineimaprc")],
                cwd=self.server.home,
                stdout=said,
                stderr=said,
                env=self.server.environment,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        inbox = self.near / "INBOX"
        until(lambda: inbox.exists() and len(self.files()) == COUNT + len(SUBJECTS), "The mail does not come")
        self.server.send("ann", b"Subject: news\r\n\r\nnow\r\n")
        until(lambda: "news" in self.files(), "The news do not come")
