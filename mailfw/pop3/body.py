"""Messages on their way to the client: dots doubled, and cut where TOP wants it, in pieces of any size."""

from __future__ import annotations

import re

from mailfw.mail.mime import BLANK_LINE

#: So many dots are looked at one by one: finding one octet is by far the quickest, and in base64 there is none.
_FEW = 16
_DOT_LINE = re.compile(rb"\n\.")


class DotStuffer:
    """
    Doubles the dots that begin a line (RFC 1939 section 3), wherever the pieces are cut.

    A line here begins behind every LF, bare ones too: a client that ends lines with either would otherwise find the end
    of the message in the middle of one that somebody has appended by IMAP.
    """

    def __init__(self) -> None:
        self._last = b"\r\n"  # the two octets before the next piece, as far as there were any

    def feed(self, octets: bytes) -> bytes:
        """Return a piece as it is sent."""
        if not octets:
            return octets
        begins = octets.startswith(b".") and self._last.endswith(b"\n")
        self._last = octets[-2:] if len(octets) > 1 else self._last[-1:] + octets
        if _has_dot_line(octets):
            octets = octets.replace(b"\n.", b"\n..")
        return b"." + octets if begins else octets

    def finish(self) -> bytes:
        """Return the end of the response, after a CRLF where the message ends without one."""
        return b".\r\n" if self._last == b"\r\n" else b"\r\n.\r\n"


def _has_dot_line(octets: bytes) -> bool:
    """Whether a dot stands behind an LF."""
    at = -1
    for _ in range(_FEW):
        at = octets.find(b".", at + 1)
        if at < 0:
            return False
        if octets[at - 1] == 0x0A and at:
            return True
    return _DOT_LINE.search(octets, at) is not None


class Cutter:
    """Lets the header, the empty line and some lines of the body pass; `done` says that no more will."""

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._last: bytes | None = b"\r\n"  # octets of the header before the next piece; None within the body
        self.done = False

    def feed(self, octets: bytes) -> bytes:
        """Return what passes of a piece."""
        start = 0
        if self._last is not None:
            joined = self._last + octets
            blank = BLANK_LINE.search(joined)
            if blank is None:
                self._last = joined[-2:]
                return octets
            start = blank.end() - len(self._last)
            self._last = None
        return octets[: self._cut(octets, start)]

    def _cut(self, octets: bytes, start: int) -> int:
        """Return where the last line that is wanted ends."""
        within = octets.count(b"\n", start) if self._left else 0
        if within < self._left:
            self._left -= within
            return len(octets)
        self.done = True
        for _ in range(self._left):
            start = octets.index(b"\n", start) + 1
        return start
