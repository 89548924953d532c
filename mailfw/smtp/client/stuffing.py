"""A message on its way out: lines that end with CRLF and nothing else, and no line that could end the message."""

from __future__ import annotations


class Canonical:
    """
    Makes every line end CRLF, whatever it was, however the octets are split among calls.

    A CR or LF that left alone would let the next server see lines, and messages, where this one saw none.
    """

    __slots__ = ("_held", "_whole")

    def __init__(self) -> None:
        self._held = b""
        self._whole = True

    def feed(self, octets: bytes) -> bytes:
        """Take a piece and return what can be sent; a CR at the end waits for what is behind it."""
        if self._held:
            octets = self._held + octets
            self._held = b""
        if octets.endswith(b"\r"):
            octets, self._held = octets[:-1], b"\r"
        if not octets:
            return b""
        line_ends = octets.count(b"\r\n")
        if octets.count(b"\n") != line_ends or octets.count(b"\r") != line_ends:
            octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        self._whole = octets.endswith(b"\n")
        return octets

    def close(self) -> bytes:
        """Return what the last line lacks (RFC 5321 section 4.1.1.4)."""
        return b"" if self._whole and not self._held else b"\r\n"


class Stuffing:
    """Puts a dot before each dot that begins a line (RFC 5321 section 4.5.2); `Canonical` comes first."""

    __slots__ = ("_at_line_start",)

    def __init__(self) -> None:
        self._at_line_start = True

    def feed(self, octets: bytes) -> bytes:
        """Take a piece of whole or broken lines, of which no CR is parted from its LF."""
        if not octets:
            return b""
        starts, self._at_line_start = self._at_line_start, octets.endswith(b"\n")
        octets = octets.replace(b"\r\n.", b"\r\n..")
        return b"." + octets if starts and octets.startswith(b".") else octets


class DotText:
    """What DATA sends: canonical, stuffed, and ended by the one dot that stands alone."""

    __slots__ = ("_canonical", "_stuffing")

    def __init__(self) -> None:
        self._canonical = Canonical()
        self._stuffing = Stuffing()

    def feed(self, octets: bytes) -> bytes:
        """Take a piece and return what can be sent."""
        return self._stuffing.feed(self._canonical.feed(octets))

    def close(self) -> bytes:
        """Return the end."""
        return self._canonical.close() + b".\r\n"


def dot_text(octets: bytes) -> bytes:
    """Return a whole message as DATA sends it, with the dot behind it."""
    text = DotText()
    return text.feed(octets) + text.close()


def canonical(octets: bytes) -> bytes:
    """Return a whole message with CRLF at the end of every line."""
    lines = Canonical()
    return lines.feed(octets) + lines.close()
