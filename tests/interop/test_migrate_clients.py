"""Clients of a Dovecot whose mail has been moved into a running mailfw notice nothing but another address."""

from __future__ import annotations

import poplib
import shutil
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop import dovecot
from tests.interop.dovecot import Dovecot
from tests.interop.mbsync import configuration
from tests.interop.server import DOMAIN, PASSWORD, RunningServer, require
from tests.running import free_port

COUNT = 300
FOLDERS = ("INBOX", "Work/2026", "받은 편지함", "Sent Items")

_POP3 = """\
protocols = imap pop3
service pop3-login {{
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
"""


def flags_of(number: int) -> list[str]:
    return ["\\Seen", "Work"][: number % 3]


class MovedClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.mbsync = require("mbsync")
        self.home = Path(tempfile.mkdtemp(prefix="mailfw-moved-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        self.pop3 = free_port()
        self.origin = Dovecot(self.home / "dovecot", settings=_POP3.format(port=self.pop3))
        self.addCleanup(self.origin.stop)
        self.near = self.home / "near"
        self.near.mkdir()
        self.fill()

    def fill(self) -> None:
        """Give Ann mail, with gaps among the UIDs and behind the last."""
        client = self.origin.client("ann")
        for folder in FOLDERS:
            if not client.folder_exists(folder):
                client.create_folder(folder)
            client.subscribe_folder(folder)
            for start in range(0, COUNT, 100):
                messages: list[dict[str, object]] = [
                    {"msg": f"Subject: {folder} {number}\r\n\r\nx\r\n".encode(), "flags": flags_of(number)}
                    for number in range(start, start + 100)
                ]
                client.multiappend(folder, messages)
            client.select_folder(folder)
            client.delete_messages([1, 2, 50, 51, 52, COUNT // 2, COUNT])
            client.expunge()
            client.unselect_folder()
        client.logout()

    def sync(self, port: int, user: str, password: str) -> str:
        """Synchronise, and return what mbsync says of changes on each side."""
        (self.home / "mbsyncrc").write_text(configuration(port, user, password, self.near))
        command = [self.mbsync, "-c", str(self.home / "mbsyncrc"), "-a", "-V"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def files(self) -> dict[str, bytes]:
        """Return all that mbsync has of messages."""
        found = [each for each in self.near.rglob("*") if each.is_file() and each.parent.name in ("new", "cur")]
        return {str(each.relative_to(self.near)): each.read_bytes() for each in found}

    def unique_ids(self, port: int, user: str, password: str) -> list[bytes]:
        client = poplib.POP3("127.0.0.1", port, timeout=60)
        client.user(user)
        client.pass_(password)
        found: list[bytes] = client.uidl()[1]
        client.quit()
        return found

    def test_nothing_is_transferred(self) -> None:
        """By mbsync, and by POP3 the unique ids are the same; what changes afterwards is all that travels."""
        self.sync(self.origin.port, "ann", dovecot.PASSWORD)
        before, ids = self.files(), self.unique_ids(self.pop3, "ann", dovecot.PASSWORD)
        self.assertEqual(len(before), len(FOLDERS) * (COUNT - 7))
        server = RunningServer("ann", "bob", settings=())
        self.addCleanup(server.remove)
        (self.home / "password").write_text(f"{dovecot.PASSWORD}\n")
        arguments = [f"--from=imap://ann@127.0.0.1:{self.origin.port}", f"--ca={self.origin.home}/certificate.pem"]
        said = server.console("migrate", "ann", *arguments, f"--password-file={self.home}/password")
        self.assertIn(f"{len(before)} new, {len(before)} verified", said)
        after = self.sync(server.ports["imap"], f"ann@{DOMAIN}", PASSWORD)
        self.assertEqual(self.files(), before, after)
        self.assertEqual(self.unique_ids(server.ports["pop3"], f"ann@{DOMAIN}", PASSWORD), ids)
        server.send("ann", b"Subject: new\r\n\r\nx\r\n")
        self.sync(server.ports["imap"], f"ann@{DOMAIN}", PASSWORD)
        new = self.files()
        self.assertEqual(len(new), len(before) + 1)
        self.assertLessEqual(before.items(), new.items())
