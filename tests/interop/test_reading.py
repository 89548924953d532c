"""Mail comes out: imaplib, poplib and curl read what was sent."""

from __future__ import annotations

import email
import email.policy
import hashlib
import imaplib
import poplib
import random
from email.message import EmailMessage

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.clients import mutf7, quoted
from tests.interop.server import DOMAIN, PASSWORD, RunningServer, insecure, require, shared

KOREAN_FOLDER = "받은 편지"


class ReadingTests(SynchronousTestCase):
    """Three messages: Korean headers, an emoji subject, and a 20 MB attachment."""

    def setUp(self) -> None:
        self.attachment = random.Random(7).randbytes(20_000_000)
        self.server = shared(type(self), self.make_server)

    def make_server(self) -> RunningServer:
        server = RunningServer("ann")
        korean = EmailMessage()
        korean["From"] = "김철수 <chulsoo@elsewhere.example>"
        korean["To"] = f"ann@{DOMAIN}"
        korean["Subject"] = "주간 회의 보고서"
        korean.set_content("오늘 회의는 세 시입니다.\n")
        emoji = EmailMessage()
        emoji["From"] = "bob@elsewhere.example"
        emoji["Subject"] = "🎉🎂 party"
        emoji.set_content("come\n")
        large = EmailMessage()
        large["From"] = "carol@elsewhere.example"
        large["Subject"] = "large"
        large.set_content("see attachment\n")
        large.add_attachment(self.attachment, maintype="application", subtype="zip", filename="큰 파일.zip")
        for message in (korean, emoji, large):
            server.send("ann", message.as_bytes(policy=email.policy.SMTP))
        return server

    def check_large(self, content: bytes) -> None:
        message = email.message_from_bytes(content, policy=email.policy.default)
        part = next(iter(message.iter_attachments()))
        self.assertEqual(part.get_filename(), "큰 파일.zip")
        self.assertEqual(hashlib.sha256(part.get_content()).digest(), hashlib.sha256(self.attachment).digest())

    @staticmethod
    def search(client: imaplib.IMAP4, key: str, words: str) -> list[bytes]:
        client.literal = words.encode()  # type: ignore[assignment]  # bytes, in truth
        return client.search("UTF-8", key)[1]

    def test_imaplib(self) -> None:
        with imaplib.IMAP4("127.0.0.1", self.server.ports["imap"]) as client:
            client.starttls(insecure())
            client.login(f"ann@{DOMAIN}", PASSWORD)
            client.create(quoted(KOREAN_FOLDER))
            self.assertIn(
                mutf7(KOREAN_FOLDER).encode(), b"\n".join(line for line in client.list()[1] if isinstance(line, bytes))
            )
            client.select("INBOX")
            self.assertEqual(self.search(client, "SUBJECT", "보고서"), [b"1"])
            self.assertEqual(self.search(client, "BODY", "회의는"), [b"1"])
            self.assertEqual(self.search(client, "SUBJECT", "🎂"), [b"2"])
            answer = client.fetch("2", "(ENVELOPE BODYSTRUCTURE)")[1][0]
            self.assertIn(b"=?utf-8?", answer)
            content = client.fetch("3", "(BODY.PEEK[])")[1][0]
            assert isinstance(content, tuple)
            self.check_large(content[1])
            part = client.fetch("3", "(BODY.PEEK[2]<1000000.100>)")[1][0]
            assert isinstance(part, tuple)
            self.assertEqual(len(part[1]), 100)
            client.copy("1", quoted(KOREAN_FOLDER))
            client.select(quoted(KOREAN_FOLDER))
            self.assertEqual(client.search(None, "ALL")[1], [b"1"])

    def test_poplib(self) -> None:
        client = poplib.POP3("127.0.0.1", self.server.ports["pop3"])
        client.stls(insecure())
        client.user(f"ann@{DOMAIN}")
        client.pass_(PASSWORD)
        self.assertEqual(client.stat()[0], 3)
        self.assertEqual(len(set(client.uidl()[1])), 3)
        poplib._MAXLINE = 1 << 20  # type: ignore[attr-defined]  # the standard library's bound is for replies
        self.check_large(b"\r\n".join(client.retr(3)[1]))
        head = b"\n".join(client.top(1, 0)[1])
        self.assertIn(b"Subject: =?utf-8?", head)
        client.quit()

    def test_curl_over_imaps_and_pop3s(self) -> None:
        user = ("--user", f"ann@{DOMAIN}:{PASSWORD}", "--insecure", "--silent", "--show-error")
        curl = require("curl")
        self.check_large(
            self.server.run(curl, *user, f"imaps://127.0.0.1:{self.server.ports['imaps']}/INBOX;MAILINDEX=3")
        )
        self.check_large(self.server.run(curl, *user, f"pop3s://127.0.0.1:{self.server.ports['pop3s']}/3"))
