"""The server with the SQLite store: mail comes in by SMTP, out by IMAP, and outlives a kill."""

from __future__ import annotations

import imaplib

from tests.running import listen_anywhere
from tests.test_service import ANN, Case

WITH_SQLITE = [*ANN, "--set=store.plugin=sqlite", *listen_anywhere("smtp", "imap")]
LARGE = "Subject: large\r\n\r\n" + ("x" * 70 + "\r\n") * 3000


class SqliteServiceTests(Case):
    def test_mail_goes_in_and_out(self) -> None:
        server = self.start(*WITH_SQLITE)
        self.deliver(server, "ann@localhost")
        self.deliver(server, "ann@localhost", LARGE)
        messages = self.inbox(server, "ann@localhost", "secret", 2)
        self.assertEqual(len(messages), 2)
        self.assertTrue(any(each.endswith(LARGE.encode()) for each in messages))
        imap = imaplib.IMAP4("localhost", server.ports["imap"])
        imap.starttls(self.trust())
        imap.login("ann@localhost", "secret")
        imap.create("Work")
        imap.select()
        self.assertEqual(imap.copy("1:2", "Work")[0], "OK")
        imap.store("1", "+FLAGS", r"(\Deleted)")
        imap.expunge()
        server.process.kill()
        server.process.wait()
        self.assertNotIn("Traceback", server.said)

        again = self.start(*WITH_SQLITE)
        imap = imaplib.IMAP4("localhost", again.ports["imap"])
        imap.starttls(self.trust())
        imap.login("ann@localhost", "secret")
        self.assertEqual(imap.select()[1], [b"1"])
        self.assertEqual(imap.select("Work")[1], [b"2"])
        found = [each[1] for each in imap.fetch("1:*", "BODY.PEEK[]")[1] if isinstance(each, tuple)]
        self.assertEqual(found, messages)
        imap.logout()
        self.assertNotIn("Traceback", again.said)
