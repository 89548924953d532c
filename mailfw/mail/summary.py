"""What IMAP asks of a message again and again, made once at delivery and kept as octets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mailfw.mail import structure
from mailfw.mail.conversation import relations
from mailfw.mail.dates import Moment, parse_date
from mailfw.mail.fields import field_value, split_fields
from mailfw.mail.mime import Part, Scanner, end_of_header, excerpt_of, facts_of, is_short
from mailfw.mail.part_table import encode_parts, shift_parts
from mailfw.mail.preview import Excerpt, preview, text_preview
from mailfw.mail.sorting import sort_keys

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
    table of MIME parts with their offsets, as `mailfw.mail.part_table.decode_parts` reads it.  `fields` holds the
    header fields clients list messages by, unchanged and in order.  `sent` is the Date field in seconds since
    the epoch of its own clock face (time zone disregarded, RFC 3501 section 6.4.4), None if unreadable.
    `preview` is the beginning of the text (RFC 8970), `sort` what `mailfw.mail.sorting.SortKeys.decode` reads, `ids`
    and `keys` are those of `mailfw.mail.conversation.Relations`.
    """

    size: int
    header_size: int
    envelope: bytes
    body: bytes
    bodystructure: bytes
    parts: bytes
    fields: bytes
    sent: int | None
    preview: str
    sort: bytes
    ids: bytes
    keys: bytes


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
        return _summary(root, list(split_fields(root.head)), self._scanner)


def summarise(octets: bytes) -> Summary:
    """Return the summary of a whole message."""
    simple = _summarise_simple(octets)
    if simple is not None:
        return simple
    summariser = Summariser()
    summariser.feed(octets)
    return summariser.finish()


# Fields of which neither an envelope nor the structure of a message shows anything, folds and all.
_TRACE = re.compile(rb"(?:(?:Return-Path|Delivered-To|Received):[^\n]*\n(?:[ \t][^\n]*\n)*)*", re.IGNORECASE)


def behind(prefix: bytes, summary: Summary) -> Summary | None:
    """
    Return the summary of the same message with trace fields put before it; None where `prefix` is anything else.

    The message must not begin with a space or tab: it would go on with the last of them.
    """
    if _TRACE.fullmatch(prefix) is None:
        return None
    size = len(prefix)
    return Summary(
        summary.size + size,
        summary.header_size + size,
        summary.envelope,
        summary.body,
        summary.bodystructure,
        shift_parts(summary.parts, size),
        b"".join([raw for name, raw in split_fields(prefix) if name in LISTED_FIELDS]) + summary.fields,
        summary.sent,
        summary.preview,
        summary.sort,
        summary.ids,
        summary.keys,
    )


def _summary(root: Part, fields: Sequence[tuple[bytes, bytes]], scanner: Scanner) -> Summary:
    body, bodystructure = structure.body(root)
    values = structure.values_of(fields)
    return Summary(
        scanner.size,
        root.header_size,
        structure.envelope_of(values),
        body,
        bodystructure,
        encode_parts(root),
        b"".join([raw for name, raw in fields if name in LISTED_FIELDS]),
        *_what_header_says(fields, values, preview(scanner.texts)),
    )


def _what_header_says(
    fields: Iterable[tuple[bytes, bytes]], values: Mapping[bytes, bytes], beginning: str
) -> tuple[int | None, str, bytes, bytes, bytes]:
    """Return what the last parts of a summary are, with the preview among them."""
    sent = _sent_on(fields)
    sort = sort_keys(values, None if sent is None else sent.epoch)
    related = relations(values, sort.subject)
    return None if sent is None else sent.face, beginning, sort.encode(), related.ids, related.keys


def _sent_on(fields: Iterable[tuple[bytes, bytes]]) -> Moment | None:
    """Return the first readable Date field, None without one."""
    for name, raw in fields:
        if name == b"date" and (moment := parse_date(field_value(raw))) is not None:
            return moment
    return None


# ---------------------------------------------------------------- messages with nothing within


def _summarise_simple(octets: bytes) -> Summary | None:
    """
    Return the summary of a message that has no parts and no message within, None for any other.

    Most mail that no person wrote is such; a scanner would take three times as long.
    """
    start = end_of_header(octets)
    if start is None:
        return None
    fields = list(split_fields(octets[:start]))
    content_fields = tuple([raw for name, raw in fields if name.startswith(b"content-")])
    frame = (_remembered_frame if is_short(content_fields) else _frame)(content_fields)
    if frame is None:
        return None
    size = len(octets) - start
    lines = octets.count(b"\n", start)
    body = b"%b %d %d" % (frame.before, size, lines) if frame.is_text else b"%b %d" % (frame.before, size)
    values = structure.values_of(fields)
    return Summary(
        len(octets),
        start,
        structure.envelope_of(values),
        body + b")",
        body + frame.after,
        b"%b%d,%d,%d,[]]" % (frame.parts, start, size, lines),
        b"".join([raw for name, raw in fields if name in LISTED_FIELDS]),
        *_what_header_says(fields, values, _simple_preview(octets, start, frame.text)),
    )


def _simple_preview(octets: bytes, start: int, text: Excerpt | None) -> str:
    if text is None:
        return ""
    return text_preview(octets[start : start + text.room], text.subtype, text.encoding, text.charset)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What is the same in the summaries of all messages with the same Content fields: what is around their sizes."""

    is_text: bool
    before: bytes
    after: bytes
    parts: bytes
    text: Excerpt | None


def _frame(content_fields: tuple[bytes, ...]) -> _Frame | None:
    """Return the frame for these raw fields, None if there may be something within."""
    facts = facts_of(content_fields)
    part = Part(**facts)
    if part.type in ("multipart", "message"):
        return None
    table = encode_parts(part).removesuffix(b"0,0,0,[]]")
    return _Frame(part.type == "text", *structure.around(part), table, excerpt_of(facts))


#: Mailers write the same few.
_remembered_frame = lru_cache(maxsize=256)(_frame)
