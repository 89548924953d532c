"""Object ids and previews (RFC 8474, RFC 8970), and how much of a large message is read."""

from __future__ import annotations

import re
from unittest import mock

from mailfw.imap.responses import object_name
from mailfw.stores.kept import KeptContent
from tests.imap.test_fetch import FetchCase

FIRST = b"Message-ID: <a@x>\r\nSubject: Lunch\r\n\r\nShall we meet at noon?\r\n"
ANSWER = b"Message-ID: <b@x>\r\nIn-Reply-To: <a@x>\r\nSubject: Re: Lunch\r\n\r\nYes.\r\n"
OTHER = b"Message-ID: <c@x>\r\nSubject: Other\r\n\r\n"
KOREAN = "점심은 어때요?"


class Ids(FetchCase):
    def ids(self, number: int, what: bytes) -> bytes:
        answer = self.ask(self.dialogue, b"f FETCH %d (%b)" % (number, what))
        found = re.fullmatch(
            rb"\* %d FETCH \(%b \(([A-Za-z0-9_-]{1,255})\)\)\r\nf OK Fetched\r\n" % (number, what), answer
        )
        assert found is not None, answer
        return found[1]

    def test_fetch_and_search(self) -> None:
        for octets in (FIRST, ANSWER, OTHER):
            self.deliver(octets)
        self.dialogue = self.open()
        emails = [self.ids(number, b"EMAILID") for number in (1, 2, 3)]
        threads = [self.ids(number, b"THREADID") for number in (1, 2, 3)]
        self.assertEqual(len(set(emails)), 3)
        self.assertEqual(threads[0], threads[1])
        self.assertNotEqual(threads[0], threads[2])
        self.assertEqual(self.ask_lines(self.dialogue, b"s SEARCH EMAILID " + emails[1])[0], b"* SEARCH 2")
        self.assertEqual(self.ask_lines(self.dialogue, b"s SEARCH THREADID " + threads[0])[0], b"* SEARCH 1 2")
        both = b"s SEARCH THREADID " + threads[0] + b" NOT EMAILID " + emails[0] + b" SUBJECT lunch"
        self.assertEqual(self.ask_lines(self.dialogue, both)[0], b"* SEARCH 2")
        self.assertEqual(self.ask_lines(self.dialogue, b"s SEARCH EMAILID nobody")[0], b"* SEARCH")

    def test_mailboxes(self) -> None:
        dialogue = self.open()
        made = re.search(rb"c OK \[(MAILBOXID \([\w-]+\))\]", self.ask(dialogue, b"c CREATE Work"))
        assert made is not None
        self.assertIn(
            b"* STATUS Work (%b MESSAGES 0)" % made[1], self.ask(dialogue, b"s STATUS Work (MAILBOXID MESSAGES)")
        )
        self.ask(dialogue, b"r RENAME Work Office")
        self.assertIn(b"* OK [%b]" % made[1], self.ask(dialogue, b"s SELECT Office"))

    def test_ids_of_any_store(self) -> None:
        self.assertEqual(object_name("T0-_z"), "T0-_z")
        for strange in ("", "a b", "한글", "x" * 256, "a\0b"):
            self.assertRegex(object_name(strange), r"\AX[0-9a-f]{32}\Z")


class Previews(FetchCase):
    def test_preview(self) -> None:
        self.deliver(FIRST)
        dialogue = self.open()
        for what in (b"PREVIEW", b"(PREVIEW)", b"(PREVIEW (LAZY))", b"PREVIEW (lazy)"):
            self.assertEqual(self.fetch(dialogue, what), b'PREVIEW "Shall we meet at noon?"', what)
        self.assertEqual(
            self.fetch(dialogue, b"(UID PREVIEW (LAZY) FLAGS)")[:38], b'UID 1 PREVIEW "Shall we meet at noon?"'
        )
        for wrong in (b"PREVIEW (EAGER)", b"PREVIEW ()", b"(PREVIEW(LAZY))"):
            self.assertTrue(self.ask(dialogue, b"f FETCH 1 " + wrong).startswith(b"f BAD "), wrong)

    def test_other_letters_and_nothing(self) -> None:
        self.deliver(b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + KOREAN.encode())
        octets = KOREAN.encode()
        self.assertEqual(self.fetch(self.open(), b"PREVIEW"), b"PREVIEW {%d}\r\n%b" % (len(octets), octets))

    def test_nothing(self) -> None:
        self.deliver(OTHER)
        self.assertEqual(self.fetch(self.open(), b"PREVIEW"), b'PREVIEW ""')


class OctetsRead(FetchCase):
    """A large message costs what is asked of it."""

    def test_parts_of_a_large_message(self) -> None:
        large = b"QUJD\r\n" * 1_400_000
        self.deliver(
            b"Subject: large\r\nX-Other: y\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            b"--b\r\n\r\nHello\r\n--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            + large
            + b"\r\n--b--\r\n"
        )
        dialogue = self.open()
        read: list[int] = []
        whole = KeptContent.read

        async def counting(content: KeptContent, offset: int, length: int) -> bytes:
            octets = await whole(content, offset, length)
            read.append(len(octets))
            return octets

        costs = (
            (b"BODY.PEEK[2]<5000001.6>", 6),
            (b"BODY.PEEK[2]<4000000.100000>", 100_000),
            (b"BODY.PEEK[1]", 7),
            (b"BODY.PEEK[2.MIME]", 200),
            (b"BODY.PEEK[HEADER]", 200),
            (b"BODY.PEEK[HEADER.FIELDS (X-OTHER)]", 200),
            (b"BODY.PEEK[]<0.1000>", 1000),
            (b"(PREVIEW ENVELOPE BODYSTRUCTURE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])", 0),
        )
        with mock.patch.object(KeptContent, "read", counting):
            for what, most in costs:
                read.clear()
                self.fetch(dialogue, what)
                self.assertLessEqual(sum(read), most, what)
            read.clear()
            self.fetch(dialogue, b"BODY.PEEK[2]")
            self.assertEqual(sum(read), len(large))
            self.assertLessEqual(max(read), 256 * 1024)
