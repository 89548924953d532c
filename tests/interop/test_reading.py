"""Mail comes out: imaplib, poplib, curl, mutt and fetchmail read what was sent."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import imaplib
import poplib
import random
import re
from email.message import EmailMessage

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.server import DOMAIN, PASSWORD, RunningServer, insecure, require, shared

KOREAN_FOLDER = "받은 편지"


def mutf7(name: str) -> str:
    """Encode a mailbox name as RFC 3501 section 5.1.3 says, independently of our own code, and quote it."""

    def encode(found: re.Match[str]) -> str:
        return f"&{base64.b64encode(found[0].encode('utf-16-be')).rstrip(b'=').replace(b'/', b',').decode()}-"

    return re.sub(r"[^\x20-\x7e]+", encode, name)


def quoted(name: str) -> str:
    """Return the name as imaplib wants it: quoted by the caller."""
    return f'"{mutf7(name)}"'


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

    def test_mutt_reads_and_saves(self) -> None:
        mutt = require("mutt")
        saved, rc = self.server.home / "saved.mbox", self.server.home / ".muttrc"
        rc.write_text(
            f"set imap_user='ann@{DOMAIN}'\nset imap_pass='{PASSWORD}'\n"
            f"set ssl_force_tls=yes\nset ssl_verify_host=no\nset certificate_file={self.server.certificate}\n"
            "set confirmappend=no\nset confirmcreate=no\nset sleep_time=0\nset quit=yes\nset move=no\n"
            f"set copy=no\nset charset=utf-8\nset folder={self.server.home}\n"
        )
        copy = [(b"Msgs:3", b"T"), (b"Tag messages matching", b"~A\r"), (b"Tag:3", b";C"), (b"Copy tagged", b"\x15")]
        self.server.run_in_terminal(
            *(mutt, "-F", str(rc), "-f", f"imap://127.0.0.1:{self.server.ports['imap']}/INBOX"),
            script=[*copy, (b"", f"{saved}\rq".encode())],
        )
        self.assertEqual(saved.read_bytes().count(b"\nSubject: "), 3)

    def test_fetchmail_takes_all_by_pop3_and_keeps(self) -> None:
        mail = self.server.home / "fetched"
        mail.mkdir()
        rc = self.server.home / ".fetchmailrc"
        rc.write_text(
            f"poll 127.0.0.1 protocol POP3 port {self.server.ports['pop3']} uidl\n"
            f"  user 'ann@{DOMAIN}' password '{PASSWORD}' sslproto '' keep\n"
            f"  mda \"/bin/sh -c 'cat > {mail}/$$'\"\n"
        )
        rc.chmod(0o600)
        self.server.run(require("fetchmail"), "--fetchmailrc", str(rc), "--pidfile", str(self.server.home / "fm.pid"))
        self.assertEqual(len(list(mail.iterdir())), 3)
