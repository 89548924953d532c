import re
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.pop3.body import Cutter, DotStuffer

#: Octets where cutting matters.
TRICKY = b".a\r\n.\r\n..\r\n\r\n.\r.\n.\r\r\n.b\r\n."


def pieces(octets: bytes, *cuts: int) -> Iterator[bytes]:
    edges = sorted({0, *cuts, len(octets)})
    return (octets[start:end] for start, end in pairwise(edges))


def stuff(parts: Iterator[bytes]) -> bytes:
    stuffer = DotStuffer()
    return b"".join([stuffer.feed(part) for part in parts]) + stuffer.finish()


def cut(parts: Iterator[bytes], lines: int) -> bytes:
    cutter = Cutter(lines)
    passed = b""
    for part in parts:
        if not cutter.done:
            passed += cutter.feed(part)
    return passed


def by_lines(octets: bytes) -> bytes:
    """Dot-stuff as RFC 1939 section 3 says it, line by line; a bare LF ends one too."""
    body = octets if not octets or octets.endswith(b"\r\n") else octets + b"\r\n"
    lines = re.findall(rb"[^\n]*\n", body)
    return b"".join((b"." if line.startswith(b".") else b"") + line for line in lines) + b".\r\n"


#: Messages made of the octets that matter here.
messages = st.lists(st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"a", b"\r\n."]), max_size=30).map(b"".join)


class DotStufferTests(SynchronousTestCase):
    def test_table(self) -> None:
        for octets, sent in [
            (b"", b".\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b"a\r", b"a\r\r\n.\r\n"),
            (b"a\n", b"a\n\r\n.\r\n"),
            (b".\r\n.\r\n", b"..\r\n..\r\n.\r\n"),
            (b"a\n.\r\nb\r.c\r\n", b"a\n..\r\nb\r.c\r\n.\r\n"),
            (b"a\n.\nb", b"a\n..\nb\r\n.\r\n"),
        ]:
            self.assertEqual(stuff(iter([octets])), sent)

    def test_every_edge(self) -> None:
        whole = by_lines(TRICKY)
        for first in range(len(TRICKY) + 1):
            for second in range(first, len(TRICKY) + 1):
                self.assertEqual(stuff(pieces(TRICKY, first, second)), whole, (first, second))
        self.assertEqual(stuff(pieces(TRICKY, *range(len(TRICKY)))), whole)

    @given(messages, st.lists(st.integers(0, 60), max_size=5))
    def test_any_message_in_any_pieces(self, octets: bytes, cuts: list[int]) -> None:
        sent = stuff(pieces(octets, *(place for place in cuts if place < len(octets))))
        self.assertEqual(sent, by_lines(octets))
        self.assertEqual(sent.find(b"\n.\r\n") in (-1, len(sent) - 4), True)


class CutterTests(SynchronousTestCase):
    def test_table(self) -> None:
        message = b"A: 1\r\nB: 2\r\n\r\none\r\ntwo\r\nthree"
        for octets, lines, passed in [
            (message, 0, b"A: 1\r\nB: 2\r\n\r\n"),
            (message, 1, b"A: 1\r\nB: 2\r\n\r\none\r\n"),
            (message, 2, b"A: 1\r\nB: 2\r\n\r\none\r\ntwo\r\n"),
            (message, 3, message),
            (message, 9999999999, message),
            (b"\r\nno header\r\nx", 1, b"\r\nno header\r\n"),
            (b"no end", 0, b"no end"),
            (b"", 3, b""),
            (b"A: 1\r\n\r\n", 0, b"A: 1\r\n\r\n"),
            (b"A: 1\n\nbody\r\n\r\nx\r\n", 1, b"A: 1\n\nbody\r\n"),
            (b"A: 1\r\n\nbody\n", 0, b"A: 1\r\n\n"),
        ]:
            for edge in range(len(octets) + 1):
                self.assertEqual(cut(pieces(octets, edge), lines), passed, (octets, lines, edge))
            self.assertEqual(cut(pieces(octets, *range(len(octets))), lines), passed)

    def test_done_is_said_as_soon_as_it_is_so(self) -> None:
        cutter = Cutter(1)
        cutter.feed(b"A: 1\r\n\r\none\r")
        self.assertFalse(cutter.done)
        cutter.feed(b"\n")
        self.assertTrue(cutter.done)

    @given(messages, st.integers(0, 5), st.lists(st.integers(0, 60), max_size=5))
    def test_any_pieces(self, octets: bytes, lines: int, cuts: list[int]) -> None:
        places = [place for place in cuts if place < len(octets)]
        self.assertEqual(cut(pieces(octets, *places), lines), cut(iter([octets]), lines))
