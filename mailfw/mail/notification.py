"""
Reports about messages, read: what became of them (RFC 3464) and that they were seen (RFC 8098).

Whoever shows mail matches a report to its message by Message-ID or, for delivery reports, by envelope id.  A report
says what its sender wrote: anybody can write one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mailfw.mail.address_list import NO_DOMAIN, parse_addresses
from mailfw.mail.fields import field_value, split_fields, without_comments
from mailfw.mail.mime import Part, Scanner
from mailfw.mail.text import decode_transfer
from mailfw.mail.words import decode_words

#: Octets of a report that are looked at, and recipients that are read in one.
_LIMIT, _RECIPIENTS = 4 * 1024 * 1024, 10_000
#: Addresses that one message may ask receipts for.
_ASKING = 20

_DELIVERY = ("delivery-status", "global-delivery-status")
_DISPOSITION = ("disposition-notification", "global-disposition-notification")
_HEADERS = ("rfc822-headers", "global-headers")

# disposition-field = mode "/" mode ";" type [ "/" modifier *( "," modifier ) ]          RFC 8098 section 3.2.6
_DISPOSITION_FIELD = re.compile(r"([a-z-]+)\s*/\s*([a-z-]+)\s*;\s*([a-z-]+)\s*(?:/\s*(.*))?", re.IGNORECASE)
# EmbeddedUnicodeChar                                                                    RFC 6533 section 3
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")


@dataclass(frozen=True, slots=True)
class Disposition:
    """
    A read notification: what somebody, or somebody's mail program, did with a message.

    `type` is ``displayed``, ``deleted``, ``dispatched`` or ``processed``; `by_hand` says that a person did it,
    `sent_by_hand` that a person agreed to say so.  `original_message_id` has its brackets; what is missing is ``""``.
    """

    type: str
    modifiers: tuple[str, ...]
    by_hand: bool
    sent_by_hand: bool
    final_recipient: str
    original_recipient: str
    original_message_id: str
    reporting_ua: str = ""


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """What became of one recipient; `action` and `status` are as in RFC 3464 section 2.3, what is missing is ``""``."""

    final_recipient: str
    original_recipient: str
    action: str
    status: str
    diagnostic: str = ""
    remote_mta: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """A delivery report; `original_message_id` is of the message that it gives back, if it does."""

    recipients: tuple[RecipientStatus, ...]
    envid: str
    reporting_mta: str
    original_message_id: str


def asks_for_receipt(header: bytes) -> tuple[str, ...]:
    """Return the addresses that a message asks to send a read notification to (RFC 8098 section 2.1)."""
    values = [field_value(raw) for name, raw in split_fields(header) if name == b"disposition-notification-to"]
    found = [each for value in values for each in parse_addresses(value) if each.host and each.host != NO_DOMAIN]
    return tuple(dict.fromkeys(_text(b"%b@%b" % (each.mailbox or b"", each.host or b"")) for each in found[:_ASKING]))


def read_notification(message: bytes) -> Disposition | DeliveryStatus | None:
    """Return what a report says, None for a message that is none; of a very large one its beginning is read."""
    scanner = Scanner()
    message = message[:_LIMIT]
    scanner.feed(message)
    root = scanner.finish()
    if (root.type, root.subtype) != ("multipart", "report"):
        return None
    for part in root.children:
        if part.type == "message" and part.subtype in _DISPOSITION:
            return _read_disposition(next(_groups(message, part), {}), _returned_id(message, root))
        if part.type == "message" and part.subtype in _DELIVERY:
            return _read_status(_groups(message, part), _returned_id(message, root))
    return None


def _read_disposition(fields: Mapping[str, str], returned_id: str) -> Disposition | None:
    match = _DISPOSITION_FIELD.fullmatch(fields.get("disposition", "").strip())
    if match is None:
        return None
    action, sending, kind, modifiers = match.groups()
    return Disposition(
        type=kind.lower(),
        modifiers=tuple(each.strip().lower() for each in (modifiers or "").split(",") if each.strip()),
        by_hand=action.lower() == "manual-action",
        sent_by_hand=sending.lower() == "mdn-sent-manually",
        final_recipient=_address(fields.get("final-recipient", "")),
        original_recipient=_address(fields.get("original-recipient", "")),
        original_message_id=_message_id(fields.get("original-message-id", "")) or returned_id,
        reporting_ua=fields.get("reporting-ua", ""),
    )


def _read_status(groups: Iterator[Mapping[str, str]], returned_id: str) -> DeliveryStatus:
    about = next(groups, {})
    recipients: list[RecipientStatus] = []
    for fields in groups:
        if len(recipients) < _RECIPIENTS and "action" in fields:
            recipients.append(
                RecipientStatus(
                    final_recipient=_address(fields.get("final-recipient", "")),
                    original_recipient=_address(fields.get("original-recipient", "")),
                    action=fields["action"].lower(),
                    status=fields.get("status", "").split(" ")[0],
                    diagnostic=_typed(fields.get("diagnostic-code", "")),
                    remote_mta=_typed(fields.get("remote-mta", "")),
                )
            )
    return DeliveryStatus(
        tuple(recipients), about.get("original-envelope-id", ""), _typed(about.get("reporting-mta", "")), returned_id
    )


# ---------------------------------------------------------------- parts


def _body(message: bytes, part: Part) -> bytes:
    return decode_transfer(message[part.body_start : part.body_start + part.body_size], part.encoding)


def _groups(message: bytes, part: Part) -> Iterator[Mapping[str, str]]:
    """Yield the groups of fields of a part, by lower-case name; of a repeated field the first counts."""
    for group in re.split(rb"\n(?:[ \t]*\r?\n)+", _body(message, part).lstrip(b"\r\n")):
        fields: dict[str, str] = {}
        for name, raw in split_fields(group):
            value = field_value(raw)
            fields.setdefault(_text(name), decode_words(value if b"=?" in value else without_comments(value)).strip())
        if fields:
            yield fields


def _returned_id(message: bytes, root: Part) -> str:
    """Return the Message-ID of the message, or header, that the report gives back."""
    for part in root.children[1:]:
        header = b""
        if part.message is not None:
            header = part.message.head
        elif part.subtype in _HEADERS:
            header = _body(message, part)
        elif part.type == "message" and part.subtype in ("rfc822", "global"):
            header = _body(message, part).partition(b"\r\n\r\n")[0]
        for name, raw in split_fields(header):
            if name == b"message-id":
                return _message_id(_text(field_value(raw)))
    return ""


# ---------------------------------------------------------------- values


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")


def _message_id(value: str) -> str:
    """Return the first msg-id of a value (RFC 5322 section 3.6.4)."""
    match = re.search(r"<[^<>\s]{1,990}>", value)
    return match[0] if match else ""


def _typed(value: str) -> str:
    """Return what is behind the type: ``dns; mx.example.org``."""
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon else kind.strip()


def _address(value: str) -> str:
    """Return an address behind its type, with embedded characters as real ones (RFC 6533 section 3)."""
    kind, semicolon, _ = value.partition(";")
    address = _typed(value).removeprefix("<").removesuffix(">")
    return _EMBEDDED.sub(_unembed, address) if semicolon and kind.strip().lower() == "utf-8" else address


def _unembed(match: re.Match[str]) -> str:
    point = int(match[1], 16)
    return chr(point) if point <= 0x10FFFF and not 0xD800 <= point <= 0xDFFF else match[0]
