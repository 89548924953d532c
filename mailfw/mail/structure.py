"""ENVELOPE, BODY and BODYSTRUCTURE as the octets of RFC 3501 section 7.4.2."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from mailfw.mail.address_list import MailAddress, parse_addresses
from mailfw.mail.continuations import joined
from mailfw.mail.fields import Parameters, field_value, split_fields, to_octets
from mailfw.mail.mime import Part

# QUOTED-CHAR, and those that need a backslash before them                         RFC 3501 section 9
_QUOTED = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]{0,1000}")
_SPECIAL = re.compile(rb'(["\\])')

#: Address fields of no more octets are remembered.
_SHORT = 200

#: The addresses of an envelope, in its order.
_ADDRESSES = (b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc")
_ENVELOPE = frozenset((b"date", b"subject", b"in-reply-to", b"message-id", *_ADDRESSES))
#: And what else of a header says how its message is related to others.
_VALUES = _ENVELOPE | {b"references"}

#: RFC 3501 has no multipart without parts: an empty one shows one empty text.
_NO_PARTS = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0'


def nstring(octets: bytes | None) -> bytes:
    """Return ``nstring = string / nil``: quoted where that can be, else a literal, NIL for None."""
    if octets is None:
        return b"NIL"
    if b"\0" in octets:  # CHAR8 = %x01-ff
        octets = octets.replace(b"\0", b"")
    if _QUOTED.fullmatch(octets) is None:
        return b"{%d}\r\n%b" % (len(octets), octets)
    return b'"%b"' % (_SPECIAL.sub(rb"\\\1", octets) if b'"' in octets or b"\\" in octets else octets)


# ---------------------------------------------------------------- ENVELOPE


def envelope(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """
    Return the envelope of the message with these header fields, as `split_fields` gives them.

    Text fields are served as they are, encoded words and all.  Of a repeated text field the last counts, as
    in RFC 8621 section 4.1.2 (and that is the one a signature covers: RFC 6376 section 5.4.2); repeated address fields
    are taken together.
    """
    return envelope_of(values_of(fields))


def values_of(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the unfolded values, by name, that an envelope is made of, and that of References."""
    values: dict[bytes, bytes] = {}
    for name, raw in fields:
        if name not in _VALUES:
            continue
        if name in _ADDRESSES and name in values:
            values[name] += b";" + field_value(raw)  # which ends a group too
        else:
            values[name] = field_value(raw)
    return values


def envelope_of(values: Mapping[bytes, bytes]) -> bytes:
    """Return the envelope of a message with these values."""
    lists = [_address_list(values.get(name)) for name in _ADDRESSES]
    # RFC 3501 section 7.4.2: the server supplies From where Sender or Reply-To is missing or empty.
    lists[1:3] = [lists[0] if made == b"NIL" else made for made in lists[1:3]]
    return b"(%b %b %b %b %b)" % (
        nstring(values.get(b"date")),
        nstring(_one_line(values.get(b"subject"))),
        b" ".join(lists),
        nstring(values.get(b"in-reply-to")),
        nstring(values.get(b"message-id")),
    )


def _one_line(subject: bytes | None) -> bytes | None:
    """Return a subject with one space for any that were around a fold: they are no part of what was written."""
    if subject is None or (b"\t" not in subject and b"  " not in subject):
        return subject
    return b" ".join(subject.split())


def _address_list(value: bytes | None) -> bytes:
    if not value:
        return b"NIL"
    return _remembered_list(value) if len(value) <= _SHORT else _parsed_list(value)


def _parsed_list(value: bytes) -> bytes:
    addresses = parse_addresses(value)
    return b"(%b)" % b"".join(map(_address, addresses)) if addresses else b"NIL"


#: The same people write to the same people.
_remembered_list = lru_cache(maxsize=1024)(_parsed_list)


def _address(address: MailAddress) -> bytes:
    return b"(%b %b %b %b)" % tuple(map(nstring, address))


# ---------------------------------------------------------------- BODY and BODYSTRUCTURE


def body(part: Part) -> tuple[bytes, bytes]:
    """Return the structure of a part fresh from the scanner: BODY, and BODYSTRUCTURE, which has more of each part."""
    if part.type == "multipart":
        return _multipart(part)
    before, after = around(part)
    shown = extended = b"%b %d" % (before, part.body_size)
    if part.message is not None:
        within = body(part.message)
        head = envelope(split_fields(part.message.head))
        shown, extended = (b"%b %b %b" % (shown, head, each) for each in within)
    if part.message is not None or part.type == "text":
        shown, extended = (b"%b %d" % (each, part.lines) for each in (shown, extended))
    return shown + b")", extended + after


def around(part: Part) -> tuple[bytes, bytes]:
    """Return what stands before the size of a part that is no multipart, and at the end of its BODYSTRUCTURE."""
    fields = [
        nstring(to_octets(part.type)),
        nstring(to_octets(part.subtype)),
        _parameters(_with_charset(part)),
        _text(part.id),
        _text(part.description),
        nstring(to_octets(part.encoding)),
    ]
    return b"(" + b" ".join(fields), b" %b %b)" % (_text(part.md5), _extension(part))


def _multipart(part: Part) -> tuple[bytes, bytes]:
    pairs = [body(child) for child in part.children]
    shown = b"".join([pair[0] for pair in pairs]) or _NO_PARTS + b")"
    extended = b"".join([pair[1] for pair in pairs]) or _NO_PARTS + b" NIL NIL NIL NIL)"
    subtype = nstring(to_octets(part.subtype))
    more = b"%b %b" % (_parameters(part.parameters), _extension(part))
    return b"(%b %b)" % (shown, subtype), b"(%b %b %b)" % (extended, subtype, more)


def _with_charset(part: Part) -> Parameters:
    """Give a text without a charset the one that RFC 2045 section 5.2 says it has."""
    if part.type != "text" or any(name.lower() == "charset" for name, _ in part.parameters):
        return part.parameters
    return (*part.parameters, ("charset", "us-ascii"))


def _parameters(parameters: Parameters) -> bytes:
    if not parameters:
        return b"NIL"
    return b"(%b)" % b" ".join([nstring(to_octets(word)) for pair in joined(parameters) for word in pair])


def _extension(part: Part) -> bytes:
    """Return disposition, language and location."""
    if part.disposition is None and not part.language and part.location is None:
        return b"NIL NIL NIL"
    disposition = b"NIL"
    if part.disposition is not None:
        kind = nstring(to_octets(part.disposition))
        disposition = b"(%b %b)" % (kind, _parameters(part.disposition_parameters))
    tags = [nstring(to_octets(tag)) for tag in part.language]
    language = b"NIL" if not tags else tags[0] if len(tags) == 1 else b"(%b)" % b" ".join(tags)
    return b"%b %b %b" % (disposition, language, _text(part.location))


def _text(text: str | None) -> bytes:
    return b"NIL" if text is None else nstring(to_octets(text))
