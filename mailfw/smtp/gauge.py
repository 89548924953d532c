"""What is looked at in the octets of a message while they pass."""

from __future__ import annotations

from mailfw.mail.reply import Reply
from mailfw.smtp import replies


def has_bare_line_ends(octets: bytes) -> bool:
    """Whether a CR or LF stands alone in a piece that does not end between them."""
    without = b"".join(octets.split(b"\r\n"))  # a third faster than to count the three, which is slow for pairs
    return b"\r" in without or b"\n" in without


class HeaderGauge:
    """
    Measures the header of a message, which ends with the first empty line, against its limits.

    `size` is in octets, with the CRLF of the last field; `fields` counts what is no continuation of a field.
    """

    __slots__ = ("_fields", "_fields_limit", "_seen", "_size_limit", "_tail", "is_over")

    def __init__(self, size: int, fields: int) -> None:
        self._size_limit = size
        self._fields_limit = fields
        self._fields = 0
        self._seen = 0
        #: The last octets before the next piece; a message begins as if behind a line end.
        self._tail = b"\r\n"
        self.is_over = False

    def look_at(self, octets: bytes, strictly: bool) -> Reply | None:
        """
        Look at a piece, which does not end between CR and LF, and return what is wrong.

        `strictly` also refuses what may be nowhere in a header; of a text it is known already.
        """
        joined = self._tail + octets
        before = len(self._tail)
        end = joined.find(b"\r\n\r\n")
        self.is_over = end >= 0
        piece = joined[before : end + 2] if self.is_over else octets
        if strictly and (has_bare_line_ends(piece) or b"\0" in piece):
            return replies.BARE_LINE_END
        # Where the end is not in sight three octets may belong to it.
        size = self._seen - before + end + 2 if self.is_over else self._seen + len(octets) - 3
        self._count(self._tail[-1:] + piece)
        self._seen += len(octets)
        self._tail = joined[-3:]
        if size > self._size_limit:
            return replies.HEADER_TOO_LARGE
        return replies.TOO_MANY_FIELDS if self._fields > self._fields_limit else None

    def _count(self, octets: bytes) -> None:
        """Count lines, and those not that go on with a field (RFC 5322 section 2.2.3); the first octet was counted."""
        self._fields += octets.count(b"\n", 1) - octets.count(b"\n ") - octets.count(b"\n\t")
