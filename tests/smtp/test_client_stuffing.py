from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.smtp.client.stuffing import DotText, canonical, dot_text


def receive(wire: bytes) -> tuple[bytes, bytes]:
    """Read DATA as the strictest of servers does; return the message, and what came behind it."""
    text, end, rest = (b"\r\n" + wire).partition(b"\r\n.\r\n")
    assert end, "no end"
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", text), "a line end that is none"
    assert not re.search(rb"\r\n\.(?!\.)", text), "a dot that is not stuffed"
    return (text + b"\r\n").replace(b"\r\n.", b"\r\n")[2:], rest


def lines_of(octets: bytes) -> bytes:
    """Return octets with each of CRLF, CR and LF as CRLF, one octet at a time."""
    out = bytearray()
    position = 0
    while position < len(octets):
        if octets[position : position + 2] == b"\r\n":
            position += 1
        if octets[position : position + 1] in (b"\r", b"\n"):
            out += b"\r\n"
        else:
            out += octets[position : position + 1]
        position += 1
    if out and not out.endswith(b"\r\n"):
        out += b"\r\n"
    return bytes(out)


def in_pieces(octets: bytes, size: int) -> bytes:
    text = DotText()
    return b"".join(text.feed(octets[at : at + size]) for at in range(0, len(octets), size)) + text.close()


SMUGGLING = (
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\n.\r", b"\r.\r\n", b"\r\n\0.\r\n", b"\r\n.\r\r\n",
    b"\r\n.\r\n", b"\r\r\n.\r\n", b"\n\r.\r\n", b".\r\n",
)  # fmt: skip
COMMANDS = b"MAIL FROM:<smuggled@evil.example>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nhello\r\n.\r\n"


class StuffingTests(SynchronousTestCase):
    def test_examples(self) -> None:
        for octets, wire in {
            b"": b".\r\n",
            b"a": b"a\r\n.\r\n",
            b"a\r\n": b"a\r\n.\r\n",
            b".": b"..\r\n.\r\n",
            b".\r\n": b"..\r\n.\r\n",
            b"..\r\n": b"...\r\n.\r\n",
            b"a\r\n.b\r\n..c": b"a\r\n..b\r\n...c\r\n.\r\n",
            b"a.b\r\n": b"a.b\r\n.\r\n",
            b"a\r": b"a\r\n.\r\n",
            b"a\r\r\nb\n\nc": b"a\r\n\r\nb\r\n\r\nc\r\n.\r\n",
            b"\r": b"\r\n.\r\n",
            b"a\r\n\r": b"a\r\n\r\n.\r\n",
        }.items():
            self.assertEqual(dot_text(octets), wire, octets)

    def test_dots_at_the_edges_of_pieces(self) -> None:
        """A dot, and all that could make it an end, at each offset around the borders of what is read at once."""
        size = 16
        for offset in (k * size + shift for k in (1, 2, 3) for shift in (-2, -1, 0, 1, 2)):
            for before in (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"x"):
                for after in (b"\r\n", b"\n", b"\r", b"\r\r\n", b"x"):
                    octets = b"a" * (offset - len(before)) + before + b"." + after + COMMANDS
                    arrived, rest = receive(in_pieces(octets, size))
                    self.assertEqual(arrived, lines_of(octets), octets)
                    self.assertEqual(rest, b"")

    def test_smuggling(self) -> None:
        for sequence in SMUGGLING:
            octets = b"Subject: x\r\n\r\ntext" + sequence + COMMANDS
            for size in range(1, len(octets) + 1):
                arrived, rest = receive(in_pieces(octets, size))
                self.assertEqual((arrived, rest), (lines_of(octets), b""), sequence)

    @given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"ab"])).map(b"".join), st.integers(1, 7))
    def test_any_octets_in_any_pieces(self, octets: bytes, size: int) -> None:
        arrived, rest = receive(in_pieces(octets, size))
        self.assertEqual((arrived, rest), (lines_of(octets), b""))
        self.assertEqual(canonical(octets), lines_of(octets))
        self.assertEqual(in_pieces(octets, size), dot_text(octets))
