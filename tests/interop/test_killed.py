"""The server is killed in the middle of deliveries and APPENDs: what was acknowledged is there, once and whole."""

from __future__ import annotations

import imaplib
import re
import smtplib
import socket
import threading
import time
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.server import DOMAIN, PASSWORD, RunningServer

ROUNDS = 20
BODY = b"0123456789abcdef" * 4 + b"\r\n"


def message(name: str) -> bytes:
    """Make a message whose end says that it is whole."""
    return f"Subject: {name}\r\n\r\n".encode() + BODY * 40 + f"end of {name}\r\n".encode()


class KilledTests(SynchronousTestCase):
    """Twenty times, at a moment nobody chose."""

    def setUp(self) -> None:
        self.server = RunningServer("ann")
        self.addCleanup(self.server.remove)
        self.acknowledged: list[str] = []
        self.attempted: set[str] = set()
        self.lock = threading.Lock()

    def note(self, name: str) -> None:
        with self.lock:
            self.acknowledged.append(name)

    def deliver(self, prefix: str) -> None:
        number = 0
        try:
            client = smtplib.SMTP("127.0.0.1", self.server.ports["smtp"], timeout=10)
            while True:
                name = f"{prefix}-{number}"
                self.attempted.add(name)
                client.sendmail("x@elsewhere.example", [f"ann@{DOMAIN}"], message(name))
                self.note(name)
                number += 1
        except (OSError, smtplib.SMTPException):
            return

    def append(self, prefix: str) -> None:
        number = 0
        try:
            client = imaplib.IMAP4("127.0.0.1", self.server.ports["imap"], timeout=10)
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # it writes in small pieces
            client.login(f"ann@{DOMAIN}", PASSWORD)
            while True:
                name = f"{prefix}-{number}"
                self.attempted.add(name)
                if client.append("INBOX", "", None, message(name))[0] == "OK":
                    self.note(name)
                number += 1
        except (OSError, imaplib.IMAP4.error):
            return

    def test_nothing_acknowledged_is_lost_or_doubled(self) -> None:
        uids: dict[str, int] = {}
        for turn in range(ROUNDS):
            threads = [threading.Thread(target=self.deliver, args=(f"smtp-{turn}-{n}",)) for n in range(4)]
            threads += [threading.Thread(target=self.append, args=(f"imap-{turn}-{n}",)) for n in range(2)]
            for thread in threads:
                thread.start()
            time.sleep(0.25 + 0.037 * turn)
            self.server.kill()
            for thread in threads:
                thread.join()
            self.server.start()
            uids = self.check(uids)
        self.assertGreater(len(self.acknowledged), 20 * ROUNDS, "Too little happened for this to prove anything")

    def check(self, before: dict[str, int]) -> dict[str, int]:
        """Compare the mailbox with what was acknowledged; UIDs told before must stand."""
        with imaplib.IMAP4("127.0.0.1", self.server.ports["imap"]) as client:
            client.login(f"ann@{DOMAIN}", PASSWORD)
            client.select("INBOX", readonly=True)
            data = client.uid("FETCH", "1:*", "(UID BODY.PEEK[])")[1]
        found: Counter[str] = Counter()
        uids: dict[str, int] = {}
        for item in data:
            if not isinstance(item, tuple):
                continue
            subject = re.search(rb"Subject: (\S+)\r\n", item[1])
            uid = re.search(rb"UID (\d+)", item[0])
            assert subject is not None and uid is not None
            name = subject[1].decode()
            found[name] += 1
            uids[name] = int(uid[1])
            self.assertTrue(item[1].endswith(message(name)), f"{name} is not whole")
        self.assertEqual([name for name in self.acknowledged if found[name] != 1], [])
        self.assertEqual(set(found) - self.attempted, set())
        self.assertEqual([name for name in found if found[name] != 1], [])
        self.assertEqual([name for name, uid in before.items() if uids.get(name) != uid], [])
        return uids
