"""What the ordinary scenarios of clients have in common: Ann's mail, and an independent client's look at it."""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import hashlib
import imaplib
import random
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesHeaderParser

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.server import DOMAIN, PASSWORD, RunningServer

ANN = f"ann@{DOMAIN}"
#: What a client makes, and what is in it: names that need modified UTF-7, a space, and a character that it escapes.
KOREAN_FOLDER = "보관 편지"
NESTED_FOLDER = "Work & Play/2026년"
#: What the three messages say.
SUBJECTS = ("주간 회의 보고서", "🎉🎂 party", "Re: lunch")
TEXT = "오늘 회의는 세 시입니다.\n"
ATTACHMENT = random.Random(7).randbytes(300_000)
ATTACHMENT_NAME = "큰 파일.zip"
#: What a client puts among the drafts, what arrives while it waits, and the folders that are there before it comes.
DRAFT = b"Subject: draft\r\n\r\nnot yet\r\n"
NEWS = b"Subject: news\r\n\r\nnow\r\n"
SPECIAL = {"Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"}


def mutf7(name: str) -> str:
    """Encode a mailbox name as RFC 3501 section 5.1.3 says, independently of our own code."""

    def encode(found: re.Match[str]) -> str:
        return f"&{base64.b64encode(found[0].encode('utf-16-be')).rstrip(b'=').replace(b'/', b',').decode()}-"

    return re.sub(r"[^\x20-\x7e]+", encode, name.replace("&", "&-"))


def from_mutf7(name: str) -> str:
    """Decode a mailbox name as RFC 3501 section 5.1.3 says, independently of our own code."""

    def decode(found: re.Match[str]) -> str:
        word = found[1].replace(",", "/")
        return base64.b64decode(word + "=" * (-len(word) % 4)).decode("utf-16-be") if word else "&"

    return re.sub(r"&([^-]*)-", decode, name)


def quoted(name: str) -> str:
    """Return the name as imaplib wants it: quoted by the caller."""
    return f'"{mutf7(name)}"'


def letters() -> list[bytes]:
    """Make three messages: Korean with an attachment, one with an emoji for a subject, and an answer."""
    korean, emoji, answer = EmailMessage(), EmailMessage(), EmailMessage()
    korean["From"] = "김철수 <chulsoo@elsewhere.example>"
    korean.set_content(TEXT)
    korean.add_attachment(ATTACHMENT, maintype="application", subtype="zip", filename=ATTACHMENT_NAME)
    emoji["From"] = "bob@elsewhere.example"
    emoji.set_content("come\n")
    answer["From"] = "carol@elsewhere.example"
    answer["In-Reply-To"] = "<lunch@elsewhere.example>"
    answer.set_content("From noon on?\n.\nyes\n")
    for number, (message, subject) in enumerate(zip((korean, emoji, answer), SUBJECTS, strict=True)):
        message["To"] = ANN
        message["Subject"] = subject
        message["Date"] = f"Fri, 20 Nov 2026 10:0{number}:00 +0900"
        message["Message-ID"] = f"<{number}@elsewhere.example>"
    return [message.as_bytes(policy=email.policy.SMTP) for message in (korean, emoji, answer)]


def subject_of(octets: bytes) -> str:
    """Return a message's subject, decoded."""
    return str(BytesHeaderParser(policy=email.policy.default).parsebytes(octets)["Subject"])


def has_attachment(octets: bytes) -> bool:
    """Tell whether a message is the one with the attachment, whole, in whatever line ends a client keeps it."""
    message = email.message_from_bytes(octets, policy=email.policy.default)
    for part in message.iter_attachments():
        is_whole = hashlib.sha256(part.get_content()).digest() == hashlib.sha256(ATTACHMENT).digest()
        return is_whole and part.get_filename() == ATTACHMENT_NAME
    return False


@dataclass(frozen=True)
class Kept:
    """A message as the independent client sees it; `flags` without ``\\Recent`` and in order."""

    uid: int
    flags: str
    octets: bytes

    @property
    def subject(self) -> str:
        return subject_of(self.octets)


class ClientCase(SynchronousTestCase):
    """A server with three messages for Ann."""

    workers = 0
    settings: tuple[str, ...] = ()

    def setUp(self) -> None:
        self.server = RunningServer("ann", settings=self.settings, arguments=("--workers", str(self.workers)))
        self.addCleanup(self.server.remove)
        self.letters = letters()
        for letter in self.letters:
            self.server.send("ann", letter)

    @contextlib.contextmanager
    def independent(self) -> Iterator[imaplib.IMAP4]:
        """Log in with a client that no scenario is about."""
        client = imaplib.IMAP4("127.0.0.1", self.server.ports["imap"], timeout=60)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # it writes in small pieces
        client.login(ANN, PASSWORD)
        with client:
            yield client

    def look(self, folder: str = "INBOX") -> list[Kept]:
        """Return what is in a folder, changing nothing."""
        with self.independent() as client:
            said, count = client.select(quoted(folder), readonly=True)
            self.assertEqual(said, "OK", count)
            if count == [b"0"]:
                return []
            answers = client.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])")[1]
        return [self._kept(head, octets) for head, octets in (each for each in answers if isinstance(each, tuple))]

    @staticmethod
    def _kept(head: bytes, octets: bytes) -> Kept:
        words = head.decode()
        uid = re.search(r"UID (\d+)", words)
        flags = re.search(r"FLAGS \(([^)]*)\)", words)
        assert uid and flags, words
        return Kept(int(uid[1]), " ".join(sorted({*flags[1].split()} - {"\\Recent"})), octets)

    def flags(self, folder: str = "INBOX") -> list[str]:
        """Return the flags of a folder's messages, without backslashes."""
        return [kept.flags.replace("\\", "") for kept in self.look(folder)]

    def subjects(self, folder: str = "INBOX") -> list[str]:
        """Return the subjects of a folder's messages."""
        return [kept.subject for kept in self.look(folder)]

    def folders(self) -> set[str]:
        """Return the names of all folders."""
        with self.independent() as client:
            lines = [line.decode() for line in client.list()[1] if isinstance(line, bytes)]
        return {from_mutf7(line.partition(' "/" ')[2].strip('"')) for line in lines}

    def check(
        self, folder: str = KOREAN_FOLDER, flags: str = "\\Flagged \\Seen", draft: str = "\\Draft \\Seen"
    ) -> None:
        """
        Look at all that came of a day's work, which is the same with every client.

        It made a folder and read; it flagged the first message, copied the second there and deleted it, moved the third
        there; it put a draft among the drafts; and it waited for news.
        """
        self.assertEqual(self.folders(), {*SPECIAL, folder} | {folder.rpartition("/")[0]} - {""})
        inbox = self.look()
        self.assertEqual([kept.subject for kept in inbox], [SUBJECTS[0], "news"])
        self.assertEqual(inbox[0].flags, flags)
        self.assertTrue(has_attachment(inbox[0].octets))
        there = self.look(folder)
        self.assertEqual([kept.subject for kept in there], [SUBJECTS[1], SUBJECTS[2]])
        for kept, sent in zip(there, self.letters[1:], strict=True):
            self.assertTrue(kept.octets.endswith(sent), "its octets are not what was sent")
        [kept_draft] = self.look("Drafts")
        self.assertEqual((kept_draft.subject, kept_draft.flags), ("draft", draft))
        self.assertIn(b"\r\n\r\nnot yet\r\n", kept_draft.octets)
        self.assertEqual(self.look("Trash"), [])
