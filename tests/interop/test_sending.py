"""Mail goes in: swaks, curl and smtplib on every port that takes mail."""

from __future__ import annotations

import imaplib
import smtplib
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.server import DOMAIN, PASSWORD, RunningServer, insecure, require, shared


class SendingTests(SynchronousTestCase):
    """Each client's ordinary way to hand over a message."""

    def setUp(self) -> None:
        self.server = shared(type(self), lambda: RunningServer("ann", "bob", plaintext=False))

    def inbox(self, name: str) -> list[bytes]:
        with imaplib.IMAP4_SSL("127.0.0.1", self.server.ports["imaps"], ssl_context=insecure()) as client:
            client.login(f"{name}@{DOMAIN}", PASSWORD)
            client.select("INBOX", readonly=True)
            _, data = client.fetch("1:*", "(BODY.PEEK[])")
            return [item[1] for item in data if isinstance(item, tuple)]

    def holds(self, name: str, words: bytes) -> bytes:
        until = time.monotonic() + 20  # mail is in the queue when 250 is said, and in the mailbox soon after
        while not (found := [content for content in self.inbox(name) if words in content]) and time.monotonic() < until:
            time.sleep(0.05)
        self.assertEqual(len(found), 1, f"{words!r} arrived {len(found)} times")
        return found[0]

    def test_swaks_sends_through_smtp(self) -> None:
        content = self._swaks("--port", str(self.server.ports["smtp"]), "--header", "Subject: swaks on 25")
        self.assertIn(b"Return-Path: <ann@elsewhere.example>\r\n", content)
        self.assertIn(f"Delivered-To: bob@{DOMAIN}".encode(), content)
        self.assertRegex(
            content, rb"Received: from swaks\.example \(.*127\.0\.0\.1.*\)\r\n\s+by mail\.interop\.example"
        )

    def test_swaks_sends_through_smtp_with_starttls(self) -> None:
        self._swaks("--port", str(self.server.ports["smtp"]), "--tls", "--header", "Subject: swaks tls on 25")

    def test_swaks_sends_through_submission_with_starttls_and_auth(self) -> None:
        content = self._swaks(
            "--port", str(self.server.ports["submission"]), "--tls",
            "--from", f"ann@{DOMAIN}", "--auth", "PLAIN", "--auth-user", f"ann@{DOMAIN}", "--auth-password", PASSWORD,
            "--header", "Subject: swaks on 587",
        )  # fmt: skip
        self.assertIn(b"with ESMTPSA", content)

    def test_swaks_sends_through_submissions_with_login(self) -> None:
        self._swaks(
            "--port", str(self.server.ports["submissions"]), "--tls-on-connect",
            "--from", f"ann@{DOMAIN}", "--auth", "LOGIN", "--auth-user", f"ann@{DOMAIN}", "--auth-password", PASSWORD,
            "--header", "Subject: swaks on 465",
        )  # fmt: skip

    def test_swaks_sends_through_lmtp(self) -> None:
        self._swaks("--protocol", "LMTP", "--port", str(self.server.ports["lmtp"]), "--header", "Subject: swaks lmtp")

    def _swaks(self, *options: str) -> bytes:
        subject = options[-1].encode()
        self.server.run(
            require("swaks"), "--server", "127.0.0.1", "--helo", "swaks.example", "--from", "ann@elsewhere.example",
            "--to", f"bob@{DOMAIN}", *options,
        )  # fmt: skip
        return self.holds("bob", subject + b"\r\n")

    def test_curl_sends_through_submission(self) -> None:
        message = b"From: ann\r\nTo: bob\r\nSubject: curl on 587\r\n\r\nHello\r\n.\r\n..dots\r\n"
        self.server.run(
            require("curl"), "--silent", "--show-error", "--ssl-reqd", "--insecure",
            f"smtp://127.0.0.1:{self.server.ports['submission']}", "--user", f"ann@{DOMAIN}:{PASSWORD}",
            "--mail-from", f"ann@{DOMAIN}", "--mail-rcpt", f"bob@{DOMAIN}", "--upload-file", "-",
            given=message,
        )  # fmt: skip
        self.assertIn(b"Hello\r\n.\r\n..dots\r\n", self.holds("bob", b"Subject: curl on 587"))

    def test_smtplib_is_refused_relaying_and_wrong_passwords(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.ports["smtp"]) as client:
            client.ehlo("x.example")
            client.mail("a@elsewhere.example")
            self.assertEqual(client.rcpt("b@elsewhere.example")[0], 550)
        with smtplib.SMTP("127.0.0.1", self.server.ports["submission"]) as client:
            self.assertEqual(client.docmd("AUTH", "PLAIN AGFubgBhbm4=")[0] // 100, 5)
            client.starttls(context=insecure())
            with self.assertRaises(smtplib.SMTPAuthenticationError) as wrong:
                client.login(f"ann@{DOMAIN}", "wrong")
            self.assertEqual(wrong.exception.smtp_code, 535)
            self.assertEqual(client.mail("ann@interop.example")[0], 530)

    def test_smtplib_sends_an_emoji_and_a_korean_address(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.ports["smtp"]) as client:
            client.sendmail(
                "사용자@예시.example",
                [f"bob@{DOMAIN}"],
                "From: 사용자@예시.example\r\nSubject: 안녕 🎉\r\n\r\nx\r\n".encode(),
                mail_options=["SMTPUTF8", "BODY=8BITMIME"],
            )
        self.assertIn("Return-Path: <사용자@예시.example>".encode(), self.holds("bob", "안녕 🎉".encode()))
