"""The console commands speak with the keeper, and what they do is seen by sessions of workers at once."""

from __future__ import annotations

import re
import smtplib
from functools import partial

from tests.cluster.test_service import ANN, MESSAGE, Case
from tests.running import PATIENCE, run, until


class CommandTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.start(
            '--set=store={plugin="maildir", retention=7}',
            '--set=relay="smtp://127.0.0.1:9"',
            '--set=trust.relay=["127.0.0.0/8"]',
        )

    def console(self, *words: str) -> str:
        done = run("mailfw", "--set=domains=['localhost']", "--set=store={retention=7}", *words, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_what_was_expunged_comes_back_in_front_of_open_sessions(self) -> None:
        readers = [self.imap(self.server) for _ in range(4)]
        self.send(self.server, 1, 2)
        for reader in readers:
            until(partial(self.has, reader, 2), "mail arrives")
        readers[0].store("1", "+FLAGS", "\\Deleted")
        readers[0].expunge()
        for reader in readers:
            until(partial(self.has, reader, 1), "it is gone for all")
        self.assertIn("1 expunged", self.console("mail", "usage", ANN))
        self.console("mail", "undelete", ANN, "--all")
        for reader in readers:
            until(partial(self.has, reader, 2), "it is back for all")

    def test_the_queue(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.ports["smtp"], timeout=PATIENCE) as smtp:
            smtp.sendmail("bob@example.org", ["x@far.example"], MESSAGE % 1)
        until(lambda: "Cannot connect" in self.console("queue", "list"), "it was tried, and waits")
        found = re.search(r"^(\w+) ", self.console("queue", "list"), re.MULTILINE)
        assert found is not None
        self.console("queue", "hold", found[1])
        self.assertIn("HELD", self.console("queue", "list"))
        self.console("queue", "release", found[1])
        tried = self.server.said.count("attempt ")
        self.console("queue", "retry", found[1])
        until(lambda: self.server.said.count("attempt ") > tried, "it is tried again")
        before = self.server.said.count("attempt ")
        with smtplib.SMTP("127.0.0.1", self.server.ports["smtp"], timeout=PATIENCE) as smtp:
            smtp.ehlo()
            self.assertEqual(smtp.docmd("ETRN", "far.example")[0], 250)
        until(lambda: self.server.said.count("attempt ") > before, "and when it is asked for by ETRN")
        self.console("queue", "delete", found[1])
        self.assertNotIn(found[1], self.console("queue", "list"))
