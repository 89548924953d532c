"""The server is killed while it relays: what it accepted reaches the next host at least once."""

from __future__ import annotations

import re
import smtplib
import threading
import time
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from mailfw.testing.peer import Peer
from tests.interop.server import PASSWORD, RunningServer, insecure

ROUNDS = 20
#: Seconds in which the rest of the queue must be out at the end.
PATIENCE = 60.0


class KilledRelayTests(SynchronousTestCase):
    """Twenty times, at a moment nobody chose."""

    def setUp(self) -> None:
        self.peer = Peer()
        self.peer.__enter__()
        self.addCleanup(self.peer.__exit__, None, None, None)
        self.server = RunningServer(
            "ann",
            settings=(f'relay="smtp://127.0.0.1:{self.peer.port}"', "queue.first_pause=1", "delivery.avoid_time=0.5"),
        )
        self.addCleanup(self.server.remove)
        self.accepted: list[str] = []
        self.lock = threading.Lock()

    def submit(self, prefix: str) -> None:
        number = 0
        try:
            client = smtplib.SMTP("127.0.0.1", self.server.ports["submission"], timeout=10)
            client.starttls(context=insecure())
            client.login(f"ann@{self.server.domain}", PASSWORD)
            while True:
                name = f"{prefix}-{number}"
                body = f"Subject: {name}\r\n\r\n{'0123456789abcdef' * 100}\r\nend of {name}\r\n"
                client.sendmail(f"ann@{self.server.domain}", ["bob@elsewhere.example"], body)
                with self.lock:
                    self.accepted.append(name)
                number += 1
        except (OSError, smtplib.SMTPException):
            return

    def arrived(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for message in list(self.peer.messages):
            subject = re.search(rb"Subject: (\S+)\r\n", message.content)
            assert subject is not None
            name = subject[1].decode()
            self.assertTrue(message.content.endswith(f"end of {name}\r\n".encode()), f"{name} is not whole")
            found[name] += 1
        return found

    def test_every_accepted_message_is_relayed(self) -> None:
        for turn in range(ROUNDS):
            threads = [threading.Thread(target=self.submit, args=(f"relay-{turn}-{n}",)) for n in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(0.3 + 0.037 * turn)
            self.server.kill()
            for thread in threads:
                thread.join()
            self.server.start()
        until = time.monotonic() + PATIENCE
        while set(self.accepted) - set(self.arrived()) and time.monotonic() < until:
            time.sleep(0.2)
        found = self.arrived()
        doubled = sum(count - 1 for count in found.values())
        print(f"{len(self.accepted)} accepted, {len(found)} arrived, {doubled} of them again")  # noqa: T201  # for the record
        self.assertEqual(sorted(set(self.accepted) - set(found)), [])
        self.assertGreater(len(self.accepted), 10 * ROUNDS, "Too little happened for this to prove anything")
        self.assertLessEqual(doubled, ROUNDS * 40, "More came twice than can have been under way")
        self.assertEqual(self.peer.faults, [])
