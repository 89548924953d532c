"""A message that a program on this machine hands over: read, completed as RFC 5322 asks, its recipients found."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from mailfw.commands.refusal import CommandRefused
from mailfw.mail.address_list import NO_DOMAIN, parse_addresses
from mailfw.mail.fields import field_value, split_fields
from mailfw.mail.message import HEADER_LIMIT, FieldRefused, field

#: Octets of a line that are taken at once.
_PIECE = 64 * 1024
#: Octets that are kept in memory; the rest goes to a file without a name.
_IN_MEMORY = 1024 * 1024
# field-name ":" or the continuation of a field                                       RFC 5322 section 2.2
_HEADER_LINE = re.compile(rb"[!-9;-~]+[ \t]*:|[ \t]+\S")
_TO = (b"to", b"cc", b"bcc")
_RESENT = tuple(b"resent-" + name for name in _TO)


@dataclass(frozen=True, slots=True)
class Submission:
    """A message in a file, at its beginning; `header` is what it begins with."""

    file: BinaryIO
    size: int
    header: bytes
    is_ascii: bool


class TooLarge(CommandRefused):
    """The message has more octets than the server takes."""


def read_message(source: BinaryIO, ends_at_dot: bool, limit: int, author: str) -> Submission:
    """
    Read a message to its end, or to a line with a dot alone, and give it CRLF as line ends.

    A message without a header gets one; where nobody is named in From, `author` is (RFC 5322 section 3.6).  Raises
    `TooLarge`.
    """
    lines = _lines(source, ends_at_dot)
    header, begun = _header(lines)
    if not any(name == b"from" for name, _ in split_fields(header)):
        header = _from_field(author) + header
    file = cast("BinaryIO", tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115  # closed by whoever asked
    size, is_ascii = 0, True
    for piece in _joined(header, begun, lines):
        size += len(piece)
        is_ascii = is_ascii and piece.isascii()
        if size > limit:
            raise TooLarge(f"a message may have {limit} octets")
        file.write(piece)
    file.seek(0)
    return Submission(file, size, header, is_ascii)


def _joined(header: bytes, begun: bytes, lines: Iterator[bytes]) -> Iterator[bytes]:
    yield header + b"\r\n" + begun
    yield from lines


def _lines(source: BinaryIO, ends_at_dot: bool) -> Iterator[bytes]:
    """Yield lines with CRLF, whatever ended them, and longer ones in pieces."""
    at_start, left = True, b""
    while piece := source.readline(_PIECE):
        piece = left + piece
        left = b"\r" if piece.endswith(b"\r") else b""
        piece = piece.removesuffix(b"\r")
        if at_start and ends_at_dot and piece in (b".\n", b".\r\n", b"."):
            return
        at_start = piece.endswith(b"\n")
        yield piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    if left:
        yield b"\r\n"


def _header(lines: Iterator[bytes]) -> tuple[bytes, bytes]:
    """Return the header, and the first octets of the body where no empty line was between."""
    header: list[bytes] = []
    size = 0
    for line in lines:
        if not header and line.startswith((b"From ", b">From ")):
            continue  # an mbox's separator
        if line == b"\r\n":
            return b"".join(header), b""
        if not _HEADER_LINE.match(line) or (not header and line[:1] in b" \t"):
            return b"".join(header), line
        size += len(line)
        if size > HEADER_LIMIT:
            raise CommandRefused("the header of the message is too long")
        header.append(line if line.endswith(b"\r\n") else line + b"\r\n")
    return b"".join(header), b""


def _from_field(author: str) -> bytes:
    try:
        return field("From", author)
    except FieldRefused as refused:
        raise CommandRefused(str(refused))


def recipients_of(header: bytes) -> list[str]:
    """Return whom To, Cc and Bcc name, or their Resent forms where there are any (RFC 5322 section 3.6.6)."""
    values: dict[bytes, list[bytes]] = {}
    for name, raw in split_fields(header):
        if name in _TO or name in _RESENT:
            values.setdefault(name, []).append(field_value(raw))
    names = _RESENT if any(name in values for name in _RESENT) else _TO
    found: list[str] = []
    for name in names:
        for value in values.get(name, ()):
            for one in parse_addresses(value):
                if one.mailbox and one.host is not None:
                    host = b"" if one.host == NO_DOMAIN else one.host
                    found.append(_written(one.mailbox, host))
    return list(dict.fromkeys(found))


# atom and dot, of any alphabet                                                       RFC 5322 section 3.2.3
_PLAIN = re.compile(r"[^\s\x00-\x1f\"(),:;<>@\[\]\\]+")


def _written(local: bytes, host: bytes) -> str:
    try:
        text, domain = local.decode("utf-8"), host.decode("utf-8")
    except UnicodeDecodeError:
        raise CommandRefused(f"not an address: {local!r}")
    if not _PLAIN.fullmatch(text):
        text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{text}@{domain}" if domain else text
