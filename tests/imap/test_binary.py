"""FETCH BINARY: parts without their encoding (RFC 3516)."""

import base64
import tracemalloc

from mailfw.testing.dialogue import Dialogue
from tests.imap.test_fetch import FetchCase

PICTURE = bytes(range(256)) * 4


def part(encoding: bytes, body: bytes, kind: bytes = b"application/octet-stream") -> bytes:
    return b"Content-Type: %b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (kind, encoding, body)


def multipart(*parts: bytes) -> bytes:
    inner = b"".join(b"--x\r\n%b\r\n" % each for each in parts)
    return (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" + inner + b"--x--\r\n"
    )


class Binary(FetchCase):
    def read(self, dialogue: Dialogue, what: bytes) -> bytes:
        """Return the answer to a question about one section, without its name."""
        return self.fetch(dialogue, what).partition(b" ")[2]

    def test_encodings(self) -> None:
        embedded = b"Subject: inner\r\n\r\nbody\r\n"
        self.deliver(
            multipart(
                part(b"base64", base64.encodebytes(PICTURE)),
                part(b"quoted-printable", b"a=3D=\r\nb"),
                part(b"8BIT", b"gr\xc3\xbc\xc3\x9fe"),
                part(b"x-uuencode", b"begin 644 x\r\n#86)C\r\n`\r\nend"),
                part(b"7bit", embedded, b"message/rfc822"),
                part(b"base64", b""),
            )
        )
        here = self.open()
        for number, expected in (
            (1, b"~{1024}\r\n" + PICTURE),
            (2, b"{3}\r\na=b"),
            (3, b"{7}\r\ngr\xc3\xbc\xc3\x9fe"),
            (4, b"{3}\r\nabc"),
            (5, b"{%d}\r\n%b" % (len(embedded), embedded)),
            (6, b'""'),
            (7, b"NIL"),
        ):
            self.assertEqual(self.read(here, b"BINARY.PEEK[%d]" % number), expected)
        self.assertEqual(self.read(here, b"BINARY.SIZE[1]"), b"1024")
        self.assertEqual(self.read(here, b"BINARY.SIZE[7]"), b"0")
        self.assertEqual(self.read(here, b"BINARY.PEEK[5.1]"), b"{6}\r\nbody\r\n")
        self.assertEqual(
            self.fetch(here, b"(BINARY.SIZE[2] BINARY.PEEK[2]<1.9> BODY.PEEK[2])"),
            b"BINARY.SIZE[2] 3 BINARY[2]<1> {2}\r\n=b BODY[2] {8}\r\na=3D=\r\nb",
        )

    def test_the_whole_message_is_as_it_is(self) -> None:
        message = part(b"base64", b"aGVsbG8=")
        self.deliver(message)
        here = self.open()
        self.assertEqual(self.read(here, b"BINARY.PEEK[]"), b"{%d}\r\n%b" % (len(message), message))
        self.assertEqual(self.read(here, b"BINARY.SIZE[]"), b"%d" % len(message))
        self.assertEqual(self.read(here, b"BINARY.PEEK[1]"), b"{5}\r\nhello")

    def test_partial(self) -> None:
        self.deliver(part(b"base64", base64.encodebytes(PICTURE)))
        here = self.open()
        for origin, length, expected in (
            (65, 3, b"{3}\r\nABC"),
            (1023, 10, b"{1}\r\n\xff"),
            (1024, 1, b'""'),
            (4294967295, 4294967295, b'""'),
        ):
            self.assertEqual(self.read(here, b"BINARY.PEEK[1]<%d.%d>" % (origin, length)), expected)

    def test_reading_marks_as_seen_and_asking_for_the_size_does_not(self) -> None:
        self.deliver(part(b"base64", b"aGVsbG8="))
        here = self.open()
        self.assertEqual(self.fetch(here, b"BINARY.SIZE[1]"), b"BINARY.SIZE[1] 5")
        self.assertEqual(self.fetch(here, b"BINARY.PEEK[1]"), b"BINARY[1] {5}\r\nhello")
        self.assertEqual(self.fetch(here, b"BINARY[1]"), b"BINARY[1] {5}\r\nhello FLAGS (\\Seen \\Recent)")

    def test_what_nobody_can_decode(self) -> None:
        self.deliver(part(b"x-secret", b"aGVsbG8="))
        self.deliver(part(b"base64", b"aGVsbG8="))
        here = self.open()
        for what in (b"BINARY[1]", b"BINARY.SIZE[1]", b"(FLAGS BINARY.PEEK[1]<0.1>)"):
            answer = self.ask(here, b"f FETCH 1:2 " + what)
            self.assertIn(b"* 2 FETCH (", answer)
            self.assertNotIn(b"* 1 FETCH (BINARY", answer)
            self.assertIn(b"f NO [UNKNOWN-CTE] ", answer)
        self.assertIn(b"BODY[1]", self.fetch(here, b"BODY.PEEK[1]"))

    def test_large(self) -> None:
        octets = PICTURE * 3000
        self.deliver(part(b"base64", base64.encodebytes(octets)))
        here = self.open()
        self.assertEqual(self.read(here, b"BINARY.SIZE[1]"), b"%d" % len(octets))
        self.assertEqual(self.read(here, b"BINARY.PEEK[1]"), b"~{%d}\r\n%b" % (len(octets), octets))
        start, length = 1_000_001, 1_000_000
        expected = b"~{%d}\r\n%b" % (length, octets[start : start + length])
        self.assertEqual(self.read(here, b"BINARY.PEEK[1]<%d.%d>" % (start, length)), expected)
        expected = b"~{%d}\r\n%b" % (len(octets) - start, octets[start:])
        self.assertEqual(self.read(here, b"BINARY.PEEK[1]<%d.%d>" % (start, 2**31)), expected)
        self.assertEqual(self.read(here, b"BINARY.PEEK[1]<2000001.5>"), b"{5}\r\n" + octets[2000001:2000006])

    def test_a_large_part_is_not_held_in_memory(self) -> None:
        self.deliver(part(b"base64", base64.encodebytes(PICTURE * 20_000)))
        here = self.open()
        tracemalloc.start()
        try:
            self.fetch(here, b"(" + b" ".join([b"BINARY.SIZE[1]"] * 5) + b")")
            self.assertLess(tracemalloc.get_traced_memory()[1], 4_000_000)
        finally:
            tracemalloc.stop()

    def test_what_is_no_section(self) -> None:
        self.deliver(part(b"base64", b"aGVsbG8="))
        here = self.open()
        for what in (b"BINARY", b"BINARY[TEXT]", b"BINARY[1.MIME]", b"BINARY[0]", b"BINARY.SIZE[1]<0.1>", b"BINARY[1"):
            self.assertIn(b"f BAD ", self.ask(here, b"f FETCH 1 " + what))

    def test_nonsense(self) -> None:
        for encoding in (b"base64", b"quoted-printable", b"uuencode"):
            self.setUp()
            self.deliver(part(encoding, b"=" * 100_000 + b"\xff\0" * 1000 + b"begin \r\n" + b"M" * 100_000))
            self.assertIn(b"f OK", self.ask(self.open(), b"f FETCH 1 (BINARY[1] BINARY.SIZE[1])"))


class Hostile(FetchCase):
    """Issue: a clear answer, whatever a message is made of."""

    def test_parts_within_parts(self) -> None:
        deep = b"".join(
            b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (at, at) for at in range(10_000)
        )
        self.deliver(b"Subject: deep\r\n" + deep + b"\r\ntext\r\n")
        here = self.open()
        numbers = b".".join([b"1"] * 150)
        answer = self.ask(here, b"f FETCH 1 (BODYSTRUCTURE BODY.PEEK[%b] BINARY.PEEK[%b])" % (numbers, numbers))
        self.assertIn(b"f OK", answer)
        self.assertIn(b"] NIL BINARY[", answer)
        self.assertIn(b"f BAD", self.ask(here, b"f FETCH 1 BODY[%b]" % b".".join([b"1"] * 10_000)))

    def test_messages_within_messages(self) -> None:
        self.deliver(b"Content-Type: message/rfc822\r\n\r\n" * 10_000 + b"text\r\n")
        self.assertIn(b"f OK", self.ask(self.open(), b"f FETCH 1 (BODYSTRUCTURE BODY.PEEK[1.1.1.1.1])"))

    def test_a_million_parts(self) -> None:
        self.deliver(
            b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\n\r\n" * 1_000_000 + b"--x--\r\n"
        )
        here = self.open()
        self.assertIn(b"f OK", self.ask(here, b"f FETCH 1 BODYSTRUCTURE"))
        answer = self.ask(here, b"f FETCH 1 (BODY.PEEK[999999] BINARY.PEEK[999999] BINARY.SIZE[999] BODY.PEEK[2])")
        self.assertIn(b"BODY[999999] NIL BINARY[999999] NIL ", answer)

    def test_parentheses_and_sets(self) -> None:
        here = self.open()
        for line in (
            b"f FETCH 1 " + b"(" * 60_000,
            b"f FETCH 1 (" * 5000,
            b"f FETCH " + b"1:*," * 15_000 + b"1 FLAGS",
            b"f FETCH 1 (" + b" ".join([b"BODY[]"] * 1000) + b")",
            b"f FETCH 1 BODY[HEADER.FIELDS (" + b"x " * 25_000 + b")]",
            b"f FETCH 1 BODY[]<18446744073709551616.1>",
        ):
            self.assertRegex(self.ask(here, line), rb"f (OK|NO|BAD) ")
        here.say(b"f FETCH {1000000+}\r\n" + b"1:3," * 250_000 + b" FLAGS\r\n")
        self.assertIn(b"f BAD", here.hear())
        here.say(b"f FETCH {18446744073709551616}\r\n")
        self.assertIn(b"f BAD [TOOBIG]", here.hear())
        self.assertIn(b"f OK", self.ask(here, b"f NOOP"))
