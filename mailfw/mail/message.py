"""The header of a message: what is in it, and the fields that a server on the way puts before it."""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from mailfw.mail.address import Address
from mailfw.mail.content import Content
from mailfw.mail.envelope import Client, Envelope, Service

#: Octets of header that are looked at; no reader of mail shows more (Postfix's header_size_limit is 102400).
HEADER_LIMIT = 256 * 1024
#: Octets that nearly every header fits in, so that one read is enough.
_FIRST_READ = 16 * 1024
#: RFC 5322 section 2.1.1: a line must not be longer, without its CRLF, and should not be longer than `_FOLD_AT`.
_LINE_LIMIT = 998
_FOLD_AT = 78
#: Characters that a foreign token keeps in our Received field: the longest domain, RFC 1035 section 2.3.4.
_TOKEN_LIMIT = 255

# field-name = 1*ftext ; ftext = %d33-57 / %d59-126                    RFC 5322 section 3.6.8
_FIELD_NAME = re.compile(r"[!-9;-~]+")
#: What would end a line for some reader, or hide in it: controls (RFC 5322 section 2.2), line ends of Unicode.
_UNWRITABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: What a domain, address literal or id never has; all that could end a token, a comment or a clause is among it.
_NOT_TOKEN = re.compile(r"[^\w.:\[\]+=/-]")
_NOT_ASCII_TOKEN = re.compile(r"[^\w.:\[\]+=/-]", re.ASCII)
#: One space between two words: where a value may be folded and read back unchanged.
_FOLD = re.compile(r"(?<=\S) (?=\S)")


class FieldRefused(ValueError):
    """The text cannot be written as a header field: it would become more than one, or none."""


# ---------------------------------------------------------------- writing


def printable(text: str, limit: int = 900) -> str:
    """Return the text on one line, at most `limit` characters, with ``?`` for whatever is no graphic character."""
    return _UNWRITABLE.sub("?", text[:limit])


def field(name: str, value: str) -> bytes:
    """
    Write one header field, folded (RFC 5322 section 2.2.3), with its CRLF.

    Raises `FieldRefused` for CR, LF, NUL and other controls, and for a word longer than a line can be.
    """
    if not _FIELD_NAME.fullmatch(name):
        raise FieldRefused(f"Not a field name: {name!r}")
    if _UNWRITABLE.search(value):
        raise FieldRefused(f"Not one line of text: {value!r}")
    lines = [f"{name}:"]
    for word in _FOLD.split(value.strip()):
        if lines[-1] != f"{name}:" and len(lines[-1]) + len(word) >= _FOLD_AT:
            lines.append("")
        lines[-1] += f" {word}"
    encoded = [line.encode("utf-8") for line in lines]
    if max(map(len, encoded)) > _LINE_LIMIT:
        raise FieldRefused(f"Too long for a line: {value[:40]!r}…")
    return b"\r\n".join(encoded) + b"\r\n"


def return_path(sender: Address | None) -> bytes:
    """Write the Return-Path of RFC 5321 section 4.4.  Raises `FieldRefused`."""
    return field("Return-Path", f"<{sender}>" if sender else "<>")


@lru_cache(maxsize=1024)  # the same people get mail again
def delivered_to(address: Address) -> bytes:
    """Write the Delivered-To of RFC 9228.  Raises `FieldRefused`."""
    return field("Delivered-To", str(address))


def date_time(when: float) -> str:
    """Return seconds since the epoch as date-time of RFC 5322 section 3.3, in UTC."""
    return _date_time(int(when))


@lru_cache(maxsize=8)
def _date_time(when: int) -> str:
    """Write a second once, however many messages come in it."""
    return format_datetime(datetime.fromtimestamp(when, UTC))


def received_field(
    client: Client, envelope: Envelope, recipient: Address | None, hostname: str, software: str, when: float
) -> bytes:
    """
    Write the trace field of one message we took (Time-stamp-line, RFC 5321 section 4.4).

    `recipient` is None unless the message is for it alone: the others must not be disclosed (RFC 5321 section 7.6).
    Whatever the client said is cut and cleaned rather than refused, as no mail should fail for its HELO.
    """
    utf8 = envelope.smtputf8
    lines = [
        f"Received: from {_from_domain(client, utf8)}",
        f"by {token(hostname, True)} ({token(software, True)}) with {_protocol(client, utf8)}",
        *_solicitation(envelope.solicitation),
        f"id {token(envelope.id)}",
    ]
    who = str(recipient) if recipient else ""
    if who and (utf8 or who.isascii()) and len(who) <= 2 * _TOKEN_LIMIT and not _UNWRITABLE.search(who):
        lines.append(f"for <{who}>")
    lines[-1] += ";"
    lines.append(date_time(when))
    return ("\r\n ".join(lines) + "\r\n").encode("utf-8")


def _from_domain(client: Client, utf8: bool) -> str:
    """Extended-Domain = Domain / (Domain FWS "(" TCP-info ")"), RFC 5321 section 4.4."""
    if client.service is Service.LOCAL:
        return f"localhost ({token(client.helo)})" if client.helo else "localhost"
    literal = ""
    if client.address:
        kind = "IPv6:" if ":" in client.address else ""
        literal = f"[{kind}{token(client.address)}]"
    helo = token(client.helo, utf8) if client.helo else ""
    if not helo:
        return f"{literal} ({literal})" if literal else "localhost"
    return f"{helo} ({literal})" if literal else helo


def _protocol(client: Client, utf8: bool) -> str:
    """Return the ``with`` word; RFC 6531 section 4.3 has its own where SMTPUTF8 was used: UTF8SMTPSA, UTF8LMTP."""
    word = client.protocol
    if utf8 and client.service is not Service.LOCAL:
        word = "UTF8" + word.removeprefix("E")
    return f"{word} ({token(client.tls)})" if client.tls else word


def _solicitation(keywords: str) -> list[str]:
    """Return the keywords of SOLICIT as a comment, in lines: they go on in the trace (RFC 3865 section 2.6)."""
    if not keywords:
        return []
    cleaned = ", ".join(token(each) for each in keywords.split(","))
    return textwrap.wrap(f"(SOLICIT={cleaned})", _FOLD_AT - 1, break_long_words=False, break_on_hyphens=False)


def token(text: str, utf8: bool = False) -> str:
    """Return foreign text as one word of a trace field or message id, with ``?`` for what could end it."""
    return (_NOT_TOKEN if utf8 else _NOT_ASCII_TOKEN).sub("?", text[:_TOKEN_LIMIT])


# ---------------------------------------------------------------- reading


class Header:
    """
    The header block of a message, octet for octet, without the empty line that ends it.

    Names are asked for in lower case.  `is_whole` is False where the block is longer than `HEADER_LIMIT`: then
    this is its beginning.
    """

    __slots__ = ("_lowered", "is_whole", "octets")

    def __init__(self, octets: bytes, is_whole: bool = True) -> None:
        self.octets = octets
        self.is_whole = is_whole
        self._lowered = b"\r\n" + octets.lower()

    def count(self, name: bytes) -> int:
        """Return how many fields have this name."""
        # obs-optional = field-name *WSP ":" unstructured CRLF        RFC 5322 section 4.5.8
        return len(re.findall(rb"\r\n" + re.escape(name) + rb"[ \t]*:", self._lowered))

    def __contains__(self, name: bytes) -> bool:
        return self.count(name) > 0

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return names, in lower case, and unfolded values; lines that are no field are passed over."""
        found: list[tuple[bytes, bytes]] = []
        for lines in self._groups():
            name, colon, value = b"".join(lines).partition(b":")
            if colon and b"\r\n" not in name:
                found.append((name.rstrip(b" \t").lower(), value.replace(b"\r\n", b"").strip(b" \t")))
        return found

    def values(self, name: bytes) -> list[bytes]:
        """Return the unfolded values of the fields of this name, in order."""
        return [value for present, value in self.fields() if present == name] if name in self else []

    def without(self, *names: bytes) -> bytes:
        """Return the block without the fields of these names, and otherwise unchanged."""
        kept = [b"".join(lines) for lines in self._groups() if _name(lines[0]) not in names]
        return b"".join(kept)

    def _groups(self) -> list[list[bytes]]:
        """Return each field as the list of its lines, with their CRLFs."""
        groups: list[list[bytes]] = []
        for line in self.octets.split(b"\r\n"):
            if groups and line[:1] in (b" ", b"\t"):
                groups[-1].append(line + b"\r\n")
            else:
                groups.append([line + b"\r\n"])
        if groups[-1] == [b"\r\n"]:
            del groups[-1]
        else:
            groups[-1][-1] = groups[-1][-1][:-2]
        return groups


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].rstrip(b" \t\r\n").lower()


async def read_header(content: Content) -> Header:
    """Read the header block of a message and no more than the first part of its body."""
    length = _FIRST_READ
    octets = await content.read(0, length)
    while True:
        if octets.startswith(b"\r\n"):
            return Header(b"")
        end = octets.find(b"\r\n\r\n")
        if end >= 0:
            return Header(octets[: end + 2])
        if len(octets) >= content.size:
            return Header(octets)
        if len(octets) >= HEADER_LIMIT:
            return Header(b"".join(octets.rpartition(b"\r\n")[:2]), is_whole=False)
        more = await content.read(len(octets), min(length, HEADER_LIMIT - len(octets)))
        if not more:
            return Header(octets)
        octets += more
        length *= 2
