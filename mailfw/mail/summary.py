"""What IMAP asks of a message again and again, made once at delivery and kept as octets."""

from __future__ import annotations

from dataclasses import dataclass

from mailfw.mail import structure
from mailfw.mail.dates import parse_date
from mailfw.mail.fields import field_value, split_fields
from mailfw.mail.mime import Scanner, encode_parts

#: The fields that mail clients list and thread messages by, in lower case: what `Summary.fields` holds if there.
#: A field that a message lacks costs nothing.  Summaries made with another set must be made again.
LISTED_FIELDS = frozenset(
    b"""
    autocrypt bcc cc chat-version content-class content-description content-disposition content-language
    content-transfer-encoding content-type date disposition-notification-to errors-to followup-to from importance
    in-reply-to lines list-archive list-help list-id list-post list-subscribe list-unsubscribe
    list-unsubscribe-post mail-followup-to mail-reply-to message-id mime-version newsgroups organization
    precedence priority references reply-to resent-date resent-from resent-to return-path sender sensitivity
    subject to user-agent x-label x-mailer x-mozilla-draft-info x-msmail-priority x-priority x-spam-flag
    x-spam-level x-spam-status x-tuid x-uniform-type-identifier x-universally-unique-identifier
    """.split()
)


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
        self._scanner = Scanner()

    def feed(self, octets: bytes) -> None:
        """Take the next piece."""
        self._scanner.feed(octets)

    def finish(self) -> Summary:
        """Return the summary of all that was fed; nothing can be fed afterwards."""
        root = self._scanner.finish()
        return Summary(
            size=self._scanner.size,
            header_size=root.header_size,
            envelope=structure.envelope(root.head),
            body=structure.body(root, extended=False),
            bodystructure=structure.body(root, extended=True),
            parts=encode_parts(root),
            fields=b"".join(raw for name, raw in split_fields(root.head) if name in LISTED_FIELDS),
            sent=sent_on(root.head),
        )


def sent_on(head: bytes) -> int | None:
    """Return what the clock of the first readable Date field of a header shows, None without one."""
    for name, raw in split_fields(head):
        if name == b"date" and (moment := parse_date(field_value(raw))) is not None:
            return moment.face
    return None
