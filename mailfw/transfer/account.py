"""What an account is made of while it moves, and the two ends of the way."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailfw.interfaces import IContent
from mailfw.mail.mailbox import NO_FLAGS, Flags, Path, Role
from mailfw.transfer.shares import Shares


class TransferRefused(Exception):
    """The mail cannot be moved; the text is for whoever asked for it."""


class BoxRefused(TransferRefused):
    """A mailbox cannot be read; others can."""


class TargetFull(TransferRefused):
    """There is no room where everything goes: other accounts need not be tried."""


@dataclass(frozen=True, slots=True)
class Box:
    """A mailbox of the origin, which knows it by `key`; `messages` is how many it is said to hold."""

    key: str
    path: Path
    role: Role | None
    subscribed: bool
    uid_validity: int
    uid_next: int
    messages: int


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A message of the origin's, without its octets.

    `size` is what the origin says, which of a foreign server need not be true.  `digest` is the SHA-256 of the
    octets, in hexadecimal digits, where the origin knows it.  One that is not `is_dated` has its date from us.
    """

    uid: int
    size: int
    received: int
    flags: Flags = NO_FLAGS
    digest: str = ""
    is_dated: bool = True


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message on its way: its octets, and their SHA-256 as the origin gave them."""

    entry: Entry
    content: IContent
    digest: str


@dataclass(frozen=True, slots=True)
class Held:
    """
    A message that is at the target: what it was said to be when it came, and its name there.

    `digest` is empty where the message was there before, recognised by its UID alone.
    """

    place: str
    size: int
    digest: str
    received: int
    flags: Flags


@dataclass(frozen=True, slots=True)
class Found:
    """What the target gives back for a message, read from it."""

    size: int
    digest: str


#: Messages with their octets; whoever asks closes those of a batch before the next.
Batches = AsyncGenerator[Sequence[tuple[Entry, IContent]], None]

#: Messages as they were read back, by UID at the origin.
Readings = AsyncGenerator[Sequence[tuple[int, Found]], None]


class Origin(Protocol):
    """Where an account is read from.  `name` is the same for the same account whenever mail is moved from it."""

    name: str

    async def boxes(self) -> Sequence[Box]:
        """Return the mailboxes.  Raises `TransferRefused`."""

    async def subscriptions(self) -> frozenset[Path]:
        """Return the subscribed paths, also those without a mailbox."""

    async def entries(self, box: Box) -> Sequence[Entry]:
        """Return the messages, by ascending UID."""

    async def shares(self, box: Box, entries: Sequence[Entry]) -> Shares:
        """Return who else uses the mailbox, and which of the messages they have seen."""

    def contents(self, box: Box, entries: Sequence[Entry]) -> Batches:
        """Iterate over those of the messages that can be read; an ``async def`` with ``yield``."""

    async def close(self) -> None:
        """Let go of connections and files."""


class Target(Protocol):
    """Where an account is written to; whatever a call has kept is kept when the process is killed after it."""

    async def prepare(self, boxes: Sequence[Box], subscriptions: frozenset[Path]) -> Mapping[str, str]:
        """Make the mailboxes; returns by key why a mailbox cannot be made here."""

    async def held(self, box: Box, entries: Sequence[Entry]) -> dict[int, Held]:
        """Return by UID which of the messages are here."""

    async def keep(self, box: Box, arrivals: Sequence[Arrival]) -> None:
        """Keep messages, in order; one that is here is not kept again."""

    async def reflag(self, box: Box, flags: Mapping[Flags, Sequence[int]]) -> None:
        """Give messages that are here, by UID at the origin, exactly these flags."""

    async def settle(self, box: Box, entries: Sequence[Entry]) -> int:
        """
        Finish a mailbox: `entries` is all that the origin has in it.

        Returns how many messages are here that came from it, and that it no longer has.
        """

    async def share(self, box: Box, entries: Sequence[Entry], shares: Shares, exactly: bool) -> None:
        """Share a mailbox, which has these messages, likewise; not `exactly` only if nobody else uses it now."""

    async def left_boxes(self) -> int:
        """Return how many messages are here from mailboxes that the origin no longer has."""

    async def sweep(self) -> int:
        """Remove what `settle` and `left_boxes` have counted, with mailboxes that are empty then; return how much."""

    def read(self, box: Box, held: Mapping[int, Held]) -> Readings:
        """Iterate over messages as they are read back from here; gone ones are left out."""

    async def finish(self) -> None:
        """Note that all of the account is here."""

    async def close(self) -> None:
        """Let go of files."""
