from __future__ import annotations

import base64
import quopri
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.transfer import (
    Base64,
    Cleansed,
    Escaped,
    QuotedPrintable,
    Sink,
    is_seven_bit,
    quoted_printable,
)

#: Octets of all kinds, long lines and half line ends among them.
PIECES = st.one_of(
    st.binary(max_size=80),
    st.sampled_from(
        [b"\r\n", b"\r", b"\n", b" \r\n", b"=3D", b"=\r\n", b".\r\n", b"x" * 997, b"=" * 5000, b"\xff" * 9000]
    ),
)
TEXTS = st.lists(PIECES, max_size=12)


def through(sink: Sink, pieces: list[bytes]) -> bytes:
    return b"".join([sink.feed(piece) for piece in pieces]) + sink.close()


def longest(octets: bytes) -> int:
    return max(map(len, octets.split(b"\r\n")))


class Case(SynchronousTestCase):
    def same_for_any_split(self, make: Callable[[], Sink], pieces: list[bytes], cut: int) -> bytes:
        whole = through(make(), [b"".join(pieces)])
        self.assertEqual(through(make(), pieces), whole)
        self.assertEqual(
            through(make(), [b"".join(pieces)[at : at + cut] for at in range(0, len(b"".join(pieces)), cut)]), whole
        )
        self.assertTrue(is_seven_bit(whole + b"\r\n"), whole[:200])
        return whole


class QuotedPrintableTests(Case):
    def test_plain_text_stays_as_it_is(self) -> None:
        text = b"Hello,\r\n\r\nthis is\ttext.\r\n..\r\n"
        self.assertEqual(quoted_printable(text), text)

    def test_what_cannot_stay(self) -> None:
        for text, written in (
            (b"a=b", b"a=3Db"),
            (b"trailing \r\n", b"trailing=20\r\n"),
            (b"tab\t\r\n", b"tab=09\r\n"),
            ("Müller".encode(), b"M=C3=BCller"),
            (b"a\nb\rc\0", b"a=0Ab=0Dc=00"),
        ):
            self.assertEqual(quoted_printable(text), written)

    def test_no_line_is_too_long(self) -> None:
        for text in (b"\xe9" * 24 + b"aaaa\n\xe9", b"\xe9" * 25 + b"--" + b"a" * 100, b"-" * 300):
            written = quoted_printable(text)
            self.assertLessEqual(longest(written), 76, text)
            self.assertNotIn(b"\r\n--", written)
            self.assertEqual(quopri.decodestring(written), text)

    @given(TEXTS, st.integers(1, 700))
    def test_it_can_be_read_back(self, pieces: list[bytes], cut: int) -> None:
        written = self.same_for_any_split(QuotedPrintable, pieces, cut)
        self.assertLessEqual(longest(written), 76)
        self.assertEqual(quopri.decodestring(written), b"".join(pieces))


class Base64Tests(Case):
    @given(TEXTS, st.integers(1, 700))
    def test_it_can_be_read_back(self, pieces: list[bytes], cut: int) -> None:
        written = self.same_for_any_split(Base64, pieces, cut)
        self.assertLessEqual(longest(written), 76)
        self.assertEqual(base64.b64decode(written), b"".join(pieces))
        self.assertFalse(written.endswith(b"\r\n"))

    def test_large_ones(self) -> None:
        octets = bytes(range(256)) * 400
        written = through(Base64(), [octets])
        self.assertEqual(longest(written), 76)
        self.assertEqual(base64.b64decode(written), octets)


class RepairTests(Case):
    @given(TEXTS, st.integers(1, 700))
    def test_quoted_printable_with_raw_octets_means_the_same(self, pieces: list[bytes], cut: int) -> None:
        written = quoted_printable(b"".join(pieces))
        self.assertEqual(self.same_for_any_split(Escaped, [written], cut), written)
        raw = written.replace(b"=FF", b"\xff").replace(b"=\r\n", b"")
        self.assertEqual(quopri.decodestring(self.same_for_any_split(Escaped, [raw], cut)), b"".join(pieces))

    def test_the_last_line_may_be_too_long_too(self) -> None:
        for length in range(990, 1010):
            for make in (Escaped, Cleansed):
                self.same_for_any_split(make, [b"x" * length], 998)

    @given(TEXTS, st.integers(1, 700))
    def test_whatever_it_was_it_becomes_seven_bits(self, pieces: list[bytes], cut: int) -> None:
        self.same_for_any_split(Escaped, pieces, cut)
        self.same_for_any_split(Cleansed, pieces, cut)

    @given(TEXTS)
    def test_base64_with_other_octets_means_the_same(self, pieces: list[bytes]) -> None:
        octets = b"".join(pieces)
        raw = b"\xe9".join([base64.b64encode(octets)[at : at + 2000] for at in range(0, 4 * len(octets), 2000)])
        self.assertEqual(base64.b64decode(self.same_for_any_split(Cleansed, [raw], 100)), octets)

    def test_what_is_right_stays(self) -> None:
        text = b"a=\r\n" + b"x" * 998 + b"\r\nlast"
        for sink in (Escaped(), Cleansed()):
            self.assertEqual(through(sink, [text]), text)


class SevenBitTests(SynchronousTestCase):
    def test_what_seven_bit_is(self) -> None:
        for octets in (b"", b"a\r\n\r\nb", b"x" * 998 + b"\r\n" + b"y" * 998):
            self.assertTrue(is_seven_bit(octets))
        for octets in (b"\0", b"\x80", b"a\rb", b"a\nb", b"x" * 1000, b"\n", b"\r"):
            self.assertFalse(is_seven_bit(octets))
