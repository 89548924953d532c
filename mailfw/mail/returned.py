"""What of a message goes back with a report: all of it, or its header (RFC 6522 section 4, RFC 6533 section 4)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailfw.mail.message import field
from mailfw.mail.transfer import LINE_LIMIT, is_seven_bit, quoted_printable

#: Octets of a header that goes back (Postfix's bounce_size_limit is 50000).
_HEADER_LIMIT = 50_000

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
# msg-id, as far as it can be told from anything else                                RFC 5322 section 3.6.4
_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:\s*(<[!-;=?-~]{1,250}>)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Returned:
    """The last part of a report, header and all, and the sentence that announces it."""

    part: bytes
    sentence: str


def message_id(message: bytes) -> str:
    """Return the Message-ID of the message that begins so, with its brackets, or ``""``."""
    match = _MESSAGE_ID.search(_header_of(message))
    return match[1].decode("ascii") if match else ""


def return_part(message: bytes, is_whole: bool, international: bool) -> Returned:
    """
    Return the part that gives a message back.

    All of it if `is_whole` and if other servers can read it; else its header, cut to a reasonable size.  Where the
    report is not `international`, a header with other alphabets is encoded.
    """
    header = _header_of(message)
    if is_whole and _can_be_a_part(message):
        is_text = header.isascii() or not _is_utf8(header)
        return Returned(_whole(message, is_text, international), "The message is attached.")
    return Returned(_only_header(header, international), "The header of the message is attached.")


def _header_of(message: bytes) -> bytes:
    if message.startswith(b"\r\n"):
        return b""
    head, blank, _ = message.partition(b"\r\n\r\n")
    return head + b"\r\n" if blank else head


def _can_be_a_part(message: bytes) -> bool:
    """Whether it can stand in an 8-bit message (RFC 2045 section 2.8)."""
    lines = message.split(b"\r\n")
    return b"\0" not in message and not _BARE.search(message) and max(map(len, lines)) <= LINE_LIMIT


def _whole(message: bytes, is_text: bool, international: bool) -> bytes:
    """Write message/rfc822, which has no encoding, or message/global, which may have one (RFC 6532 section 3.7)."""
    if is_text:
        return _part("message/rfc822", "7bit" if message.isascii() else "8bit", message)
    if international:
        return _part("message/global", "8bit", message)
    return _part("message/global", "quoted-printable", quoted_printable(message))


def _only_header(header: bytes, international: bool) -> bytes:
    if len(header) > _HEADER_LIMIT:
        header = b"".join(header[:_HEADER_LIMIT].rpartition(b"\r\n")[:2])
    name = "text/rfc822-headers" if header.isascii() or not _is_utf8(header) else "message/global-headers"
    if is_seven_bit(header):
        return _part(name, "7bit", header)
    if international and name.startswith("message") and _can_be_a_part(header):
        return _part(name, "8bit", header)
    return _part(name, "quoted-printable", quoted_printable(header))


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _part(content_type: str, encoding: str, body: bytes) -> bytes:
    return field("Content-Type", content_type) + field("Content-Transfer-Encoding", encoding) + b"\r\n" + body
