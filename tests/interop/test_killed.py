"""The server is killed in the middle of deliveries and APPENDs: what was acknowledged is there, once and whole."""

from __future__ import annotations

import imaplib
import re
import smtplib
import socket
import threading
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.server import DOMAIN, PASSWORD, RunningServer

ROUNDS = 20
PATIENCE = 20.0  # seconds for the queue to empty
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
        self.read = 0
        self.uids: dict[str, list[int]] = {}
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
            self.check()
        self.assertGreater(len(self.acknowledged), 20 * ROUNDS, "Too little happened for this to prove anything")

    def check(self) -> None:
        """Compare the mailbox with what was acknowledged, once the queue has emptied; UIDs told before must stand."""
        with imaplib.IMAP4("127.0.0.1", self.server.ports["imap"]) as client:
            client.login(f"ann@{DOMAIN}", PASSWORD)
            client.select("INBOX", readonly=True)
            until = time.monotonic() + PATIENCE
            while self.fetch(client).keys() < set(self.acknowledged) and time.monotonic() < until:
                time.sleep(0.1)
                client.noop()
            time.sleep(0.2)  # a copy too many may be on its way
            client.noop()
            found = self.fetch(client)
            held = client.uid("SEARCH", "ALL")[1][0].split()
        self.assertEqual(sorted(int(uid) for uid in held), sorted(uid for uids in found.values() for uid in uids))
        self.assertEqual([name for name in self.acknowledged if len(found.get(name, [])) != 1], [])
        self.assertEqual(set(found) - self.attempted, set())
        self.assertEqual([name for name, uids in found.items() if len(uids) != 1], [])

    def fetch(self, client: imaplib.IMAP4) -> dict[str, list[int]]:
        """Read what is new; return the UIDs of each name."""
        data = client.uid("FETCH", f"{self.read + 1}:*", "(UID BODY.PEEK[])")[1]
        for item in data:
            if not isinstance(item, tuple):
                continue
            subject = re.search(rb"Subject: (\S+)\r\n", item[1])
            found = re.search(rb"UID (\d+)", item[0])
            assert subject is not None and found is not None
            name, uid = subject[1].decode(), int(found[1])
            self.assertTrue(item[1].endswith(message(name)), f"{name} is not whole")
            if uid > self.read:  # RFC 9051 section 6.4.9: n:* has the last message even if its UID is below n
                self.read = uid
                self.uids.setdefault(name, []).append(uid)
        return self.uids
