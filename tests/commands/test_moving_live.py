"""`mailfw backup`, `restore` and `migrate` beside a server that runs, with workers and without."""

from __future__ import annotations

import imaplib
import smtplib
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.commands.test_moving import Case
from tests.running import BIN, RunningServer, listen_anywhere

ANN = "ann@example.org"
SECRET = "secret word"


class LiveTests(Case):
    workers: tuple[str, ...] = ()

    def setUp(self) -> None:
        super().setUp()
        self.settings = (*self.settings, "--set=allow_plaintext_auth=true", "--set=queue.first_pause=1")
        for name in ("ann", "bob"):
            self.mailfw("user", "add", name, typed=f"{SECRET}\n")
        self.server = RunningServer(self.folder, *self.workers, *self.settings, *listen_anywhere("smtp", "imap"))
        self.addCleanup(self.server.stop)

    def session(self, name: str = ANN) -> imaplib.IMAP4:
        session = imaplib.IMAP4("127.0.0.1", self.server.ports["imap"])
        session.login(name, SECRET)
        return session

    def fill(self, count: int, name: str = ANN, mailbox: str = "INBOX") -> None:
        session = self.session(name)
        session.create(mailbox)
        for number in range(count):
            answer = session.append(
                mailbox, "(\\Seen $Work)", "", f"Subject: {number}\r\n\r\n{'x' * 3000}\r\n".encode()
            )
            self.assertEqual(answer[0], "OK")
        session.append(mailbox, "", "", b"Subject: large\r\n\r\n" + b"0123456789abcde\r\n" * 20_000)
        session.logout()

    def listing(self, name: str = ANN, mailbox: str = "INBOX") -> tuple[bytes, list[bytes]]:
        """Return UIDVALIDITY, and UID and flags of every message."""
        session = self.session(name)
        session.select(mailbox, readonly=True)
        [validity] = session.response("UIDVALIDITY")[1]
        found = session.fetch("1:*", "(UID FLAGS RFC822.SIZE)")[1]
        session.logout()
        return validity or b"", [
            each.replace(b"\\Recent ", b"").replace(b" \\Recent", b"") for each in found if isinstance(each, bytes)
        ]

    def deliver(self, recipient: str, subject: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.ports["smtp"], timeout=60) as client:
            client.sendmail("bo@example.net", [recipient], f"Subject: {subject}\r\n\r\nx\r\n")

    @contextmanager
    def mail_arriving(self) -> Iterator[list[int]]:
        """Have mail come as long as this lasts; the list counts."""
        count, ends = [0], threading.Event()

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", self.server.ports["smtp"], timeout=60) as client:
                while not ends.is_set():
                    client.sendmail("bo@example.net", [ANN], f"Subject: new {count[0]}\r\n\r\nx\r\n")
                    count[0] += 1
                    time.sleep(0.01)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield count
        finally:
            ends.set()
            thread.join()

    def test_a_backup_while_mail_comes(self) -> None:
        self.fill(50)
        self.fill(20, mailbox="Work")
        with self.mail_arriving() as count:
            done = self.mailfw("backup", "ann", str(self.folder / "saved"))
        self.assertIn("ann@example.org: 7 mailboxes", done.stdout)
        self.assertGreater(count[0], 0)
        until = time.monotonic() + 30
        while len(self.listing()[1]) < 51 + count[0] and time.monotonic() < until:
            time.sleep(0.1)
        self.mailfw("backup", "ann", str(self.folder / "saved"))
        self.mailfw("backup", "--verify", str(self.folder / "saved"))
        before = {box: self.listing(mailbox=box) for box in ("INBOX", "Work")}
        self.mailfw("restore", "--account", "bob", str(self.folder / "saved"))
        after = {box: self.listing("bob@example.org", box) for box in ("INBOX", "Work")}
        self.assertEqual(after, before)

    def test_deliveries_wait_for_a_restore(self) -> None:
        """Mail for the account is kept and comes afterwards, behind what was restored."""
        self.fill(150)
        before = self.listing()
        self.mailfw("backup", "ann", str(self.folder / "saved"))
        command = [str(BIN / "mailfw"), *self.settings, "restore", "--account", "bob", str(self.folder / "saved")]
        restoring = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        root = self.data / "mail/example.org/bob"
        while not [*root.glob("cur/*"), *root.glob("new/*")] and restoring.poll() is None:
            time.sleep(0.005)
        while restoring.poll() is None:
            self.deliver("bob@example.org", "late")
            time.sleep(0.05)
        output = restoring.communicate()[0]
        self.assertEqual(restoring.returncode, 0, output.decode())
        self.deliver("bob@example.org", "later")
        until = time.monotonic() + 60
        validity, found = self.listing("bob@example.org")
        self.assertEqual(validity, before[0])
        self.assertEqual(found[: len(before[1])], before[1])
        while not self._is_drained() and time.monotonic() < until:
            time.sleep(0.2)
        self.assertTrue(self._is_drained())
        self.assertGreater(len(self.listing("bob@example.org")[1]), len(before[1]))

    def _is_drained(self) -> bool:
        return not self.mailfw("queue", "list", "--json").stdout.strip()

    def test_a_command_that_is_killed_lets_go(self) -> None:
        """What a killed restore has put on hold is delivered again, and the next restore goes on."""
        self.fill(150)
        self.mailfw("backup", "ann", str(self.folder / "saved"))
        command = [str(BIN / "mailfw"), *self.settings, "restore", "--account", "bob", str(self.folder / "saved")]
        for _ in range(2):
            restoring = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(1.2)
            restoring.kill()
            restoring.wait()
        done = self.mailfw(*command[1 + len(self.settings) :])
        self.assertIn("151 messages", done.stdout)
        self.assertEqual(self.listing("bob@example.org"), self.listing())
        self.deliver("bob@example.org", "afterwards")
        self.wait_for_messages("bob@example.org", 152)

    def wait_for_messages(self, name: str, count: int) -> None:
        until = time.monotonic() + 30
        while len(self.listing(name)[1]) < count:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.1)

    def test_into_another_store_and_from_it(self) -> None:
        self.fill(30)
        elsewhere = f"maildir:path={self.folder / 'elsewhere'}"
        self.assertIn("31 new", self.mailfw("migrate", "ann", f"--to={elsewhere}").stdout)
        (self.folder / "elsewhere/example.org/ann").rename(self.folder / "elsewhere/example.org/bob")
        self.assertIn("31 new", self.mailfw("migrate", "bob", f"--from={elsewhere}").stdout)
        self.assertEqual(self.listing("bob@example.org"), self.listing())

    def test_the_server_stops_on_the_way(self) -> None:
        self.fill(150)
        command = [str(BIN / "mailfw"), *self.settings, "backup", "ann", str(self.folder / "saved")]
        saving = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not list(Path(self.folder / "saved").glob("INBOX/*.eml")) and saving.poll() is None:
            time.sleep(0.005)
        self.server.stop()
        _, said = saving.communicate(timeout=60)
        if saving.returncode:
            self.assertIn("type the command again", said)
        self.assertIn("151 messages", self.mailfw("backup", "ann", str(self.folder / "saved")).stdout)
        self.mailfw("backup", "--verify", str(self.folder / "saved"))

    def test_what_needs_a_server_that_is_stopped(self) -> None:
        self.assertIn("stop the server first", self.mailfw("store", "rebuild", "ann", code=1).stderr)


class LiveWithWorkersTests(LiveTests):
    workers = ("--workers", "2")
