"""What messages are sorted by: RFC 5256 and RFC 5957, made ready once so that sorting compares numbers and octets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from mailfw.mail.address_list import MailAddress, parse_addresses
from mailfw.mail.base_subject import base_subject
from mailfw.mail.collation import casemap
from mailfw.mail.words import decode_charset, decode_words

#: Octets of a field that are looked at: text is the same, as far as sorting goes, whose beginning is.
_LOOKED_AT = 1000
#: Address fields of no more octets are remembered: the same people write to the same people.
_SHORT = 200


class SortKeys(NamedTuple):
    """
    What the sort criteria of RFC 5256 section 3 compare, prepared by ``i;unicode-casemap``.

    `sent` is the Date field in seconds since the epoch, None if unreadable: the internal date stands in then (section
    2.2).  `subject` is the base subject and `is_answer` whether it lost the mark of a reply or of forwarding.
    `sender`, `recipient` and `copied` are the local parts of the first address of From, To and Cc; the last two
    are those of DISPLAYFROM and DISPLAYTO (RFC 5957 section 3).  Whatever is missing is empty.
    """

    sent: int | None = None
    is_answer: bool = False
    subject: bytes = b""
    sender: bytes = b""
    recipient: bytes = b""
    copied: bytes = b""
    shown_sender: bytes = b""
    shown_recipient: bytes = b""

    def encode(self) -> bytes:
        """Return the keys as octets to be kept beside the message."""
        sent = b"" if self.sent is None else b"%d" % self.sent
        return b"\0".join((sent, b"1" if self.is_answer else b"", *self[2:]))

    @classmethod
    def decode(cls, octets: bytes) -> SortKeys:
        """Return the keys that `encode` wrote."""
        sent, answer, *texts = octets.split(b"\0")
        return cls(int(sent) if sent else None, bool(answer), *texts)


def part_reader(name: str) -> Callable[[bytes], bytes]:
    """Return what reads one of the keys that are octets from what `SortKeys.encode` wrote, without all the others."""
    place = SortKeys._fields.index(name)
    return lambda octets: octets.split(b"\0", place + 1)[place]


def sort_keys(values: Mapping[bytes, bytes], sent: int | None) -> SortKeys:
    """Return the keys of a message with these unfolded field values, by name in lower case."""
    subject, is_answer = _subject(values.get(b"subject", b"")[:_LOOKED_AT])
    sender, shown_sender = _address_keys(values.get(b"from"))
    recipient, shown_recipient = _address_keys(values.get(b"to"))
    copied, _ = _address_keys(values.get(b"cc"))
    return SortKeys(sent, is_answer, subject, sender, recipient, copied, shown_sender, shown_recipient)


def _subject(value: bytes) -> tuple[bytes, bool]:
    base, is_answer = base_subject(decode_words(value))
    return _key(base), is_answer


def _key(text: str) -> bytes:
    return casemap(text).replace(b"\0", b"")


def _address_keys(value: bytes | None) -> tuple[bytes, bytes]:
    if not value:
        return b"", b""
    return _remembered_keys(value) if len(value) <= _SHORT else _parsed_keys(value[:_LOOKED_AT])


def _parsed_keys(value: bytes) -> tuple[bytes, bytes]:
    for address in parse_addresses(value):
        return _key(_text(address.mailbox)), _key(_shown(address))
    return b"", b""


_remembered_keys = lru_cache(maxsize=1024)(_parsed_keys)


def _shown(address: MailAddress) -> str:
    """Return the name that is shown, or the address where there is none (of a group: its name)."""
    name = decode_words(address.name).strip() if address.name else ""
    if name or address.host is None:
        return name or _text(address.mailbox)
    return f"{_text(address.mailbox)}@{_text(address.host)}"


def _text(octets: bytes | None) -> str:
    return decode_charset(octets, "utf8") if octets else ""
