"""What a search looks for: the keys of RFC 3501 section 6.4.4 and of its extensions, as a tree."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mailfw.imap.lexer import SequenceSet

# All text in keys is folded (see `mailfw.mail.text.fold`); days count from the epoch.


class When(enum.Enum):
    """How a date is compared."""

    BEFORE = "BEFORE"
    ON = "ON"
    SINCE = "SINCE"


@dataclass(frozen=True, slots=True)
class HasFlag:
    """Whether the message has a system flag or keyword; `flag` is in lower case."""

    flag: str


@dataclass(frozen=True, slots=True)
class IsRecent:
    """Whether the message is \\Recent."""


@dataclass(frozen=True, slots=True)
class IsAmong:
    """Whether the message is in a set."""

    wanted: SequenceSet
    by_uid: bool


@dataclass(frozen=True, slots=True)
class IsLarger:
    """Whether the message has more octets than this."""

    octets: int


@dataclass(frozen=True, slots=True)
class IsSmaller:
    """Whether the message has fewer octets than this."""

    octets: int


@dataclass(frozen=True, slots=True)
class Received:
    """Compares the internal date."""

    when: When
    day: int


@dataclass(frozen=True, slots=True)
class Sent:
    """Compares the Date field."""

    when: When
    day: int


@dataclass(frozen=True, slots=True)
class InField:
    """Whether a field of this name (lower case) contains a text; an empty text asks whether there is such a field."""

    name: bytes
    text: str


@dataclass(frozen=True, slots=True)
class InBody:
    """Whether the body contains a text."""

    text: str


@dataclass(frozen=True, slots=True)
class InText:
    """Whether header or body contain a text."""

    text: str


@dataclass(frozen=True, slots=True)
class Not:
    """What the key does not match."""

    key: Key


@dataclass(frozen=True, slots=True)
class Or:
    """What either key matches."""

    one: Key
    other: Key


@dataclass(frozen=True, slots=True)
class And:
    """What all keys match; without keys, everything."""

    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class HasId:
    """Whether the message, or its thread, has this id: RFC 8474 section 6."""

    id: str
    of_thread: bool


@dataclass(frozen=True, slots=True)
class IsYounger:
    """Whether the message came in the last so many seconds (RFC 5032); not `younger`, whether it did not."""

    seconds: int
    younger: bool


@dataclass(frozen=True, slots=True)
class HasChanged:
    """Whether the modification sequence is at least this: RFC 7162 section 3.1.5."""

    modseq: int


@dataclass(frozen=True, slots=True)
class Saved:
    """Compares when the message came into the mailbox (RFC 8514), or, not known, the internal date."""

    when: When
    day: int


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """Whether the message is about what the key looks for: RFC 6203 section 3."""

    key: Key


Key = (
    HasId
    | HasFlag
    | IsRecent
    | IsAmong
    | IsLarger
    | IsSmaller
    | Received
    | Sent
    | InField
    | InBody
    | InText
    | Not
    | Or
    | And
    | IsYounger
    | HasChanged
    | Saved
    | Fuzzy
)
