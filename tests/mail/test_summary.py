"""What is made of a message at its delivery."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.mime import MAX_HEADER
from mailfw.mail.part_table import decode_parts
from mailfw.mail.summary import LISTED_FIELDS, Summariser, Summary
from tests.mail.test_mime import NESTED, corpus


def summarise(octets: bytes, size: int = 2**30) -> Summary:
    summariser = Summariser()
    for start in range(0, len(octets), size):
        summariser.feed(octets[start : start + size])
    return summariser.finish()


def message(*fields: bytes, body: bytes = b"Hello\r\n") -> bytes:
    return b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


ANN = b'(("Ann" NIL "ann" "example.org"))'

#: Header fields and the envelope they make.
ENVELOPES: list[tuple[tuple[bytes, ...], bytes]] = [
    ((), b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"),
    (
        (
            b"Date: Sat, 21 Nov 2026 09:18:13 +0900",
            b"Subject: Hello",
            b"From: Ann <ann@example.org>",
            b"Sender: Bob <bob@example.org>",
            b"Reply-To: list@example.org",
            b"To: Carl <carl@example.net>, dora@example.com",
            b"Cc: eve@example.com",
            b"Bcc: fay@example.com",
            b"In-Reply-To: <1@example.org>",
            b"Message-ID: <2@example.org>",
        ),
        b'("Sat, 21 Nov 2026 09:18:13 +0900" "Hello" ' + ANN + b' (("Bob" NIL "bob" "example.org"))'
        b' ((NIL NIL "list" "example.org")) (("Carl" NIL "carl" "example.net")(NIL NIL "dora" "example.com"))'
        b' ((NIL NIL "eve" "example.com")) ((NIL NIL "fay" "example.com")) "<1@example.org>" "<2@example.org>")',
    ),
    # Sender and Reply-To come from From where they are missing or empty.
    (
        (b"From: Ann <ann@example.org>", b"Sender:"),
        b"(NIL NIL " + ANN + b" " + ANN + b" " + ANN + b" NIL NIL NIL NIL NIL)",
    ),
    # Empty is not missing.
    ((b"Subject:", b"Message-ID: ", b"To: "), b'(NIL "" NIL NIL NIL NIL NIL NIL NIL "")'),
    # Encoded words stay, folds go.
    (
        (b"Subject: =?utf-8?B?8J+YgA==?=\r\n =?utf-8?Q?x?=",),
        b'(NIL "=?utf-8?B?8J+YgA==?= =?utf-8?Q?x?=" ' + b"NIL " * 7 + b"NIL)",
    ),
    ((b'Subject: a "b" \\c',), b'(NIL "a \\"b\\" \\\\c" ' + b"NIL " * 7 + b"NIL)"),
    # What no quoted string can hold is a literal.
    (("Subject: 한".encode(),), b"(NIL {3}\r\n\xed\x95\x9c " + b"NIL " * 7 + b"NIL)"),
    ((b"Subject: " + b"x" * 2000,), b"(NIL {2000}\r\n" + b"x" * 2000 + b" " + b"NIL " * 7 + b"NIL)"),
    ((b"Subject: a\0b\rc",), b'(NIL "ab c" ' + b"NIL " * 7 + b"NIL)"),
    # The last of several counts, addresses are gathered; what a fold was made of is no text.
    ((b"Subject: one \r\n\t two", b"Date:  1  May\r\n  2026"), b'("1  May  2026" "one two" ' + b"NIL " * 7 + b"NIL)"),
    (
        (b"Subject: one", b"Subject: two", b"To: a@b", b"To: c@d"),
        b'(NIL "two" NIL NIL NIL ((NIL NIL "a" "b")(NIL NIL "c" "d")) NIL NIL NIL NIL)',
    ),
    # Groups
    (
        (b"To: Friends: a@b, C <c@d>;, undisclosed-recipients:;",),
        (
            b'(NIL NIL NIL NIL NIL ((NIL NIL "Friends" NIL)(NIL NIL "a" "b")("C" NIL "c" "d")(NIL NIL NIL NIL)'
            b'(NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL)) NIL NIL NIL NIL)'
        ),
    ),
]

#: What headers are made of, besides single octets.
PIECES = (b"From: ", b"Subject: ", b"To: ", b"Date: ", b"\r\n", b"=?utf-8?q?x?=")

#: Messages, and their BODY and BODYSTRUCTURE.
STRUCTURES: list[tuple[bytes, bytes, bytes]] = [
    (
        message(b"Subject: x"),
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 7 1)',
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 7 1 NIL NIL NIL NIL)',
    ),
    (
        message(
            b"Content-Type: IMAGE/PNG; NAME=x.png",
            b"Content-Transfer-Encoding: Base64",
            b"Content-ID: <a@b>",
            b"Content-Description: A picture",
            b"Content-MD5: Q2hlY2s=",
            b"Content-Disposition: attachment; filename=x.png; size=5",
            b"Content-Language: en",
            b"Content-Location: http://example.org/x.png",
        ),
        b'("image" "png" ("NAME" "x.png") "<a@b>" "A picture" "base64" 7)',
        (b'("image" "png" ("NAME" "x.png") "<a@b>" "A picture" "base64" 7 "Q2hlY2s="'
        b' ("attachment" ("filename" "x.png" "size" "5")) "en" "http://example.org/x.png")'),
    ),
    (
        message(b"Content-Type: text/html", b"Content-Disposition: inline", b"Content-Language: en, ko"),
        b'("text" "html" ("charset" "us-ascii") NIL NIL "7bit" 7 1)',
        b'("text" "html" ("charset" "us-ascii") NIL NIL "7bit" 7 1 NIL ("inline" NIL) ("en" "ko") NIL)',
    ),
    (  # RFC 2231 section 6
        message(
            b"Content-Type: image/png; name*1*=%41; name*0*=utf-8'ko'%EC; name*2=\"b c\"; x*1=2; x*0=1; size=3",
            b"Content-Disposition: attachment; filename*0=a; filename*2=c",
        ),
        b'("image" "png" ("size" "3" "name*" "utf-8\'ko\'%EC%41b%20c" "x" "12") NIL NIL "7bit" 7)',
        (b'("image" "png" ("size" "3" "name*" "utf-8\'ko\'%EC%41b%20c" "x" "12") NIL NIL "7bit" 7 NIL'
        b' ("attachment" ("filename*0" "a" "filename*2" "c")) NIL NIL)'),
    ),
    (
        message(b"Content-Type: multipart/mixed; boundary=x"),
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0) "mixed")',
        (
            b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)'
            b' "mixed" ("boundary" "x") NIL NIL NIL)'
        ),
    ),
    (
        message(b"Content-Type: multipart/mixed", body=b"x"),
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0)',
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL)',
    ),
    (
        message(b"Content-Type: message/rfc822", body=message(b"Subject: in", b"From: Ann <ann@example.org>")),
        b'("message" "rfc822" NIL NIL NIL "7bit" 51 (NIL "in" ' + b" ".join([ANN] * 3) + b" NIL NIL NIL NIL NIL)"
        b' ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 7 1) 4)',
        b'("message" "rfc822" NIL NIL NIL "7bit" 51 (NIL "in" ' + b" ".join([ANN] * 3) + b" NIL NIL NIL NIL NIL)"
        b' ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 7 1 NIL NIL NIL NIL) 4 NIL NIL NIL NIL)',
    ),
]  # fmt: skip


class Envelopes(SynchronousTestCase):
    def test_envelopes(self) -> None:
        for fields, envelope in ENVELOPES:
            self.assertEqual(summarise(message(*fields)).envelope, envelope, fields)


class Structures(SynchronousTestCase):
    def test_structures(self) -> None:
        for octets, body, bodystructure in STRUCTURES:
            made = summarise(octets)
            self.assertEqual(made.body, body, octets)
            self.assertEqual(made.bodystructure, bodystructure, octets)

    def test_nested(self) -> None:
        text = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" %d %d)'
        self.assertEqual(
            summarise(NESTED).body,
            b"(" + text % (3, 0) + b'(("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 9 1)'
            b'("text" "html" ("charset" "us-ascii") NIL NIL "base64" 12 0) "alternative")'
            b'("message" "rfc822" NIL NIL NIL "7bit" 174 (NIL "three" NIL NIL NIL NIL NIL NIL NIL NIL) ('
            + text % (9, 0)
            + b'("message" "rfc822" NIL NIL NIL "7bit" 35 (NIL "three.two" NIL NIL NIL NIL NIL NIL NIL NIL) '
            + text % (13, 0)
            + b' 2) "mixed") 12)("image" "png" NIL NIL NIL "7bit" 0) "mixed")',
        )


class TheRest(SynchronousTestCase):
    def test_sizes(self) -> None:
        made = summarise(NESTED)
        self.assertEqual(made.size, len(NESTED))
        self.assertEqual(NESTED[: made.header_size][-4:], b"\r\n\r\n")
        self.assertEqual(decode_parts(made.parts).header_size, made.header_size)

    def test_listed_fields_are_unchanged(self) -> None:
        fields = (b"X-Other: 1", b"SUBJECT : a\r\n\tb", b"Received: x", b"to: c", b"subject: again")
        self.assertEqual(summarise(message(*fields)).fields, b"SUBJECT : a\r\n\tb\r\nto: c\r\nsubject: again\r\n")

    def test_clients_lists_are_served(self) -> None:
        for (
            name
        ) in b"date subject from sender reply-to to cc bcc message-id in-reply-to references content-type".split():
            self.assertIn(name, LISTED_FIELDS)

    def test_sent_is_what_the_clock_showed(self) -> None:
        for zone in (b"+0900", b"-0800", b"GMT", b""):
            self.assertEqual(summarise(message(b"Date: Thu, 1 Jan 1970 00:00:10 " + zone)).sent, 10, zone)
        self.assertIsNone(summarise(message(b"Date: soon")).sent)
        self.assertIsNone(summarise(message()).sent)

    def test_endless_header(self) -> None:
        octets = b"Subject: x\r\n" + b"X-Y: z\r\n" * 100_000 + b"To: a@b\r\n\r\n"
        made = summarise(octets, 10_000)
        self.assertEqual(made.header_size, len(octets))
        self.assertEqual(made.fields, b"Subject: x\r\n")
        self.assertGreater(len(octets), MAX_HEADER)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.sampled_from([*PIECES, *(bytes((octet,)) for octet in b'<>@a ,;:"\\()[]\0\xff\r\n')]),
            max_size=60,
        ).map(b"".join),
        st.integers(1, 20),
    )
    def test_any_header_in_any_pieces(self, octets: bytes, size: int) -> None:
        whole = summarise(octets)
        self.assertEqual(summarise(octets, size), whole)
        self.assertEqual(_balance(whole.envelope), 0)
        self.assertEqual(replace(whole, size=0), replace(summarise(octets, size + 1), size=0))

    def test_corpus(self) -> None:
        for name, octets in corpus().items():
            made = summarise(octets)
            self.assertEqual(summarise(octets, 101), made, name)
            for answer in (made.envelope, made.body, made.bodystructure):
                self.assertEqual(_balance(answer), 0, name)
                self.assertNotIn(b"\0", answer)


def _balance(octets: bytes) -> int:
    """Read an answer's tokens; return how many parentheses are open at the end."""
    depth = at = 0
    while at < len(octets):
        octet = octets[at : at + 1]
        if octet == b'"':
            at += 1
            while octets[at : at + 1] != b'"':
                assert octets[at : at + 1] not in (b"\r", b"\n", b""), octets
                assert octets[at] < 128, octets
                at += 2 if octets[at : at + 1] == b"\\" else 1
        elif octet == b"{":
            end = octets.index(b"}\r\n", at)
            at = end + 2 + int(octets[at + 1 : end])
        else:
            depth += {b"(": 1, b")": -1}.get(octet, 0)
        at += 1
    return depth
