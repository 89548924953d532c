from __future__ import annotations

import email
import email.policy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address import Address
from mailfw.mail.content import Octets, Prefixed
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.message import (
    HEADER_LIMIT,
    FieldRefused,
    Header,
    delivered_to,
    field,
    printable,
    read_header,
    received_field,
    return_path,
)
from mailfw.testing.dialogue import run_now

ANN = Address("ann", "example.org")
CLIENT = Client(Service.SMTP, "192.0.2.7", 4000, "client.example.net", extended=True)
#: 2026-01-05 09:30:00 UTC
WHEN = 1767605400.0
# What could begin a new line for some reader, a fold, a comment, a clause; and everything else.
HOSTILE = st.text(
    st.one_of(st.sampled_from('\r\n\0\t\x0b\x0c\x1b\x85\u2028\u2029\ud800 ();<>:"\\@.%'), st.characters()), max_size=300
)


def received(client: Client = CLIENT, recipient: Address | None = ANN, **options: Any) -> bytes:
    envelope = Envelope(options.pop("id", "3f2a"), None, (ANN,), **options)
    return received_field(client, envelope, recipient, "mx.example.org", "mailfw", WHEN)


def lines_of(field_octets: bytes) -> list[str]:
    """Return the lines as the most careless reader would see them."""
    return field_octets.decode("utf-8").removesuffix("\r\n").splitlines()


class ReceivedTests(SynchronousTestCase):
    def test_a_plain_one(self) -> None:
        self.assertEqual(
            received(),
            b"Received: from client.example.net ([192.0.2.7])\r\n"
            b" by mx.example.org (mailfw) with ESMTP\r\n"
            b" id 3f2a\r\n"
            b" for <ann@example.org>;\r\n"
            b" Mon, 05 Jan 2026 09:30:00 +0000\r\n",
        )

    def test_from_this_machine(self) -> None:
        for client, utf8, said in (
            (Client(Service.LOCAL, "", helo="uid=1000"), False, "localhost (uid=1000)"),
            (Client(Service.LOCAL, "", helo="uid=1000"), True, "localhost (uid=1000)"),
            (Client(Service.LOCAL, "", helo="x)\r\n y"), False, "localhost (x????y)"),
            (Client(Service.LOCAL, ""), False, "localhost"),
        ):
            lines = lines_of(received(client, smtputf8=utf8))
            self.assertEqual(lines[:2], [f"Received: from {said}", " by mx.example.org (mailfw) with local"])

    def test_solicitation(self) -> None:
        """RFC 3865 section 2.6: what kind of mail it is goes on with it, whatever the next server knows of it."""
        lines = lines_of(received(solicitation="net.example:ADV,org.example:ADV:ADLT"))
        self.assertEqual(lines[1:4:2], [" by mx.example.org (mailfw) with ESMTP", " id 3f2a"])
        self.assertEqual(lines[2], " (SOLICIT=net.example:ADV, org.example:ADV:ADLT)")
        for keywords in ("a" * 1000, ",".join(f"net.example:K{number}" for number in range(60))):
            octets = received(solicitation=keywords)
            self.assertLessEqual(max(map(len, lines_of(octets))), 300)
            self.assertEqual(octets.count(b"("), octets.count(b")"))
        self.assertIn(b", net.example:K59)", octets)

    def test_words_of_rfc_3848_and_rfc_6531(self) -> None:
        for options, utf8, word in (
            ({}, False, "SMTP"),
            ({"extended": True, "tls": "TLSv1.3", "account": "ann@example.org"}, False, "ESMTPSA (TLSv1.3)"),
            ({"extended": True}, True, "UTF8SMTP"),
            ({"extended": True, "account": "ann@example.org"}, True, "UTF8SMTPA"),
            ({"extended": True, "tls": "TLSv1.3", "account": "a@b"}, True, "UTF8SMTPSA (TLSv1.3)"),
            ({"service": Service.LMTP, "tls": "TLSv1.2"}, False, "LMTPS (TLSv1.2)"),
            ({"service": Service.LMTP}, True, "UTF8LMTP"),
        ):
            facts: dict[str, Any] = {"service": Service.SMTP, "address": "192.0.2.7", **options}
            self.assertIn(f" with {word}\r\n".encode(), received(Client(**facts), smtputf8=utf8))

    def test_where_the_client_is(self) -> None:
        for client, said in (
            (Client(Service.SMTP, "2001:db8::7", helo="a.example"), "a.example ([IPv6:2001:db8::7])"),
            (Client(Service.SMTP, "2001:db8::7", helo="[IPv6:2001:db8::7]"), "[IPv6:2001:db8::7] ([IPv6:2001:db8::7])"),
            (Client(Service.SMTP, "192.0.2.7"), "[192.0.2.7] ([192.0.2.7])"),
            (Client(Service.LMTP, "", helo="localhost"), "localhost"),
            (Client(Service.LMTP, ""), "localhost"),
        ):
            self.assertTrue(received(client).startswith(f"Received: from {said}\r\n".encode()), received(client))

    def test_other_recipients_are_not_disclosed(self) -> None:
        self.assertNotIn(b"for", received(recipient=None))

    def test_international_recipient(self) -> None:
        ha_neul = Address("하늘", "예시.한국")
        self.assertIn("for <하늘@예시.한국>".encode(), received(recipient=ha_neul, smtputf8=True))
        self.assertNotIn(b"for", received(recipient=ha_neul))

    @given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.booleans())
    def test_nothing_foreign_makes_a_line(
        self, helo: str, address: str, local: str, domain: str, name: str, tls: str, utf8: bool
    ) -> None:
        client = Client(Service.SMTP, address, 1, helo, True, tls, "ann@example.org")
        octets = received(client, Address(local, domain), id=name, smtputf8=utf8)
        self.assertTrue(octets.endswith(b"\r\n"))
        lines = lines_of(octets)
        self.assertLessEqual(len(lines), 5)
        self.assertTrue(lines[0].startswith("Received: from "))
        for line in lines[1:]:
            self.assertTrue(line.startswith(" ") and line.strip(), line)
        self.assertNotIn(b"\0", octets)
        self.assertLess(max(map(len, octets.split(b"\r\n"))), 998)
        if not utf8:
            self.assertTrue(octets.isascii())


class FieldTests(SynchronousTestCase):
    def test_plain(self) -> None:
        self.assertEqual(field("X-Spam", "yes"), b"X-Spam: yes\r\n")
        self.assertEqual(return_path(None), b"Return-Path: <>\r\n")
        self.assertEqual(return_path(Address("a b", "example.org")), b'Return-Path: <"a b"@example.org>\r\n')
        self.assertEqual(delivered_to(ANN), b"Delivered-To: ann@example.org\r\n")

    def test_what_is_refused(self) -> None:
        for name, value in (
            ("X", "a\r\nBcc: b"),
            ("X", "a\nb"),
            ("X", "a\rb"),
            ("X", "a\0b"),
            ("X", "a\x85b"),
            ("X", "a\u2028b"),
            ("X", "\ud800"),
            ("X", "y" * 1000),
            ("X:", "a"),
            ("X Y", "a"),
            ("", "a"),
            ("é", "a"),
            ("X\r\nY", "a"),
        ):
            with self.assertRaises(FieldRefused, msg=repr((name, value))):
                field(name, value)
        with self.assertRaises(FieldRefused):
            return_path(Address("a\r\nX: y", "example.org"))
        with self.assertRaises(FieldRefused):
            delivered_to(Address("a", "example.org\nX: y"))

    @given(HOSTILE)
    def test_one_field_or_a_refusal(self, value: str) -> None:
        try:
            octets = field("X-Field", value)
        except FieldRefused:
            return
        lines = lines_of(octets)
        self.assertTrue(lines[0].startswith("X-Field:"))
        self.assertTrue(all(line.startswith(" ") and line.strip() for line in lines[1:]), lines)
        self.assertEqual(octets.replace(b"\r\n", b"").decode(), f"X-Field: {value.strip()}")

    def test_folding(self) -> None:
        value = " ".join(["word"] * 100)
        octets = field("X-Long", value)
        self.assertLessEqual(max(map(len, octets.split(b"\r\n"))), 78)
        read = email.message_from_bytes(octets + b"\r\n", policy=email.policy.default)
        self.assertEqual(read["X-Long"], value)

    def test_printable(self) -> None:
        self.assertEqual(printable("a\r\nb\0c\x1b[2J\u2028하늘"), "a??b?c?[2J?하늘")
        self.assertEqual(len(printable("x" * 5000)), 900)


class HeaderTests(SynchronousTestCase):
    header = Header(
        b"From: a\r\nBcc: b,\r\n c\r\nbcc : d\r\nSubject:\r\n\tfolded\r\nno field\r\nReceived: x\r\nRECEIVED:y\r\n"
    )

    def test_counting(self) -> None:
        self.assertEqual(self.header.count(b"received"), 2)
        self.assertEqual(self.header.count(b"bcc"), 2)
        self.assertIn(b"subject", self.header)
        self.assertNotIn(b"folded", self.header)
        self.assertNotIn(b"cc", self.header)

    def test_values(self) -> None:
        self.assertEqual(self.header.values(b"bcc"), [b"b, c", b"d"])
        self.assertEqual(self.header.values(b"subject"), [b"folded"])
        self.assertEqual(self.header.values(b"x"), [])

    def test_without(self) -> None:
        self.assertEqual(
            self.header.without(b"bcc", b"resent-bcc"),
            b"From: a\r\nSubject:\r\n\tfolded\r\nno field\r\nReceived: x\r\nRECEIVED:y\r\n",
        )

    @given(
        st.lists(st.sampled_from([b"Bcc: x", b"To: y", b" fold", b"\tz", b"junk", b"B\rC: x", b":", b""]), max_size=8)
    )
    def test_without_nothing_changes_nothing(self, lines: list[bytes]) -> None:
        for octets in (b"\r\n".join(lines), b"".join(line + b"\r\n" for line in lines)):
            self.assertEqual(Header(octets).without(b"x-absent"), octets)
            left = Header(octets).without(b"bcc")
            self.assertNotIn(b"bcc", Header(left))

    @given(st.binary(max_size=2000), st.binary(max_size=200))
    def test_any_octets(self, head: bytes, body: bytes) -> None:
        octets = head + b"\r\n\r\n" + body
        header = run_now(self, read_header(Octets(octets)))
        self.assertTrue(octets.startswith(header.octets))
        self.assertEqual(header.without(b"x-absent"), header.octets)
        self.assertEqual(len(header.values(b"bcc")), header.count(b"bcc"))


class ReadingTests(SynchronousTestCase):
    def read(self, octets: bytes) -> Header:
        header: Header = run_now(self, read_header(Octets(octets)))
        return header

    def test_ends_at_the_empty_line(self) -> None:
        self.assertEqual(self.read(b"A: b\r\n\r\nBcc: c\r\n").octets, b"A: b\r\n")

    def test_without_a_body_or_a_header(self) -> None:
        self.assertEqual(self.read(b"A: b\r\n").octets, b"A: b\r\n")
        self.assertEqual(self.read(b"\r\nBcc: c\r\n\r\n").octets, b"")
        self.assertEqual(self.read(b"").octets, b"")

    def test_long_ones(self) -> None:
        for lines in (100, 1000, 5000):
            block = b"X-Line: 0123456789012345678901234567890\r\n" * lines
            header = self.read(block + b"\r\nbody" * 9999)
            self.assertEqual(header.octets, block)
            self.assertTrue(header.is_whole)

    def test_one_without_end(self) -> None:
        header = self.read(b"X-Line: 0123456789\r\n" * 100_000)
        self.assertFalse(header.is_whole)
        self.assertTrue(HEADER_LIMIT - 100 < len(header.octets) <= HEADER_LIMIT)
        self.assertTrue(header.octets.endswith(b"\r\n"))
        self.assertEqual(self.read(b"x" * 1_000_000).octets, b"")


class PrefixedTests(SynchronousTestCase):
    @given(st.binary(max_size=20), st.binary(max_size=40), st.integers(0, 40), st.integers(0, 70), st.integers(-1, 70))
    def test_is_the_octets_joined(self, prefix: bytes, octets: bytes, start: int, offset: int, length: int) -> None:
        start = min(start, len(octets))
        joined = prefix + octets[start:]
        content = Prefixed(prefix, Octets(octets), start)
        self.assertEqual(content.size, len(joined))
        wanted = joined[offset : offset + length] if length > 0 else b""
        self.assertEqual(run_now(self, content.read(offset, length)), wanted)

    def test_nested(self) -> None:
        content = Prefixed(b"ab", Prefixed(b"cd", Octets(b"0123"), 2))
        self.assertEqual(run_now(self, content.read(1, 4)), b"bcd2")
        run_now(self, content.close())
