"""What a client must be told of its mailbox, as `View` finds it out and `responses` says it."""

from __future__ import annotations

from dataclasses import dataclass

from mailfw.mail.mailbox import Flags


@dataclass(frozen=True, slots=True)
class Keywords:
    """Keywords that the client has not heard of: all that the mailbox has."""

    keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """How many messages there are now."""

    count: int


@dataclass(frozen=True, slots=True)
class Recent:
    """How many messages are \\Recent in this session."""

    count: int


@dataclass(frozen=True, slots=True)
class Expunge:
    """The message of this number is gone, and those behind it move up."""

    number: int


@dataclass(frozen=True, slots=True)
class Vanished:
    """The messages with these UIDs, ascending, are gone, for a client that is told so (RFC 7162 section 3.2.10)."""

    uids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FlagsChanged:
    """A message has other flags, or another modification sequence if that is known, than the client was told."""

    uid: int
    number: int
    flags: Flags
    recent: bool
    modseq: int | None = None


Update = Keywords | Exists | Recent | Expunge | Vanished | FlagsChanged
