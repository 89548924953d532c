"""What a source may know beyond the small interface: numbers of its own, and how to keep many messages at once."""

# ruff: noqa: N805 -- methods of an Interface have no self

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zope.interface import Attribute, Interface

from mailfw.interfaces import IContent
from mailfw.mail.mailbox import Flags, Folder, Item, MailboxEdit, Path
from mailfw.mail.summary import Summary


class Outdated(Exception):
    """The folder must be surveyed before anything is added: another program has given UIDs there."""


class SourceBusy(Exception):
    """Another program has locked the folder and does not let go; trying again later helps."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the index has of a folder; `keys`, `uids` and `flags` run parallel, by ascending UID."""

    uid_validity: int
    keys: Sequence[str]
    uids: Sequence[int]
    flags: Sequence[Flags]


@dataclass(frozen=True, slots=True)
class Body:
    """What an index keeps of a message for its source: all octets, or the name of the file that has them."""

    octets: bytes | None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Numbered:
    """
    A message the index has not; `uid` is None where the index gives the UIDs.

    A `body` is written to the index in the same transaction; the message's key is then the row of its summary.
    """

    item: Item
    uid: int | None
    email_id: str
    mark: str | None = None
    body: Body | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """
    How a folder differs from what was known of it.

    With another `uid_validity` nothing known counts any more and `fresh` is everything.  A key may be in both
    `gone` and `fresh`: it has another UID now.
    """

    uid_validity: int | None
    uid_next: int | None
    fresh: Sequence[Numbered]
    changed: Mapping[str, Flags]
    gone: Sequence[str]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Staged:
    """
    A message on its way into a folder: written but in none yet.  `draft` is the source's own.

    `uid` is the one it must get there, where it brings one along.
    """

    draft: object
    received: int
    mark: str | None
    email_id: str
    summary: Summary
    uid: int | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """
    A message on its way into a folder, as it is noted before: where it comes from, and how to know it there.

    `new` is the key it gets, empty where only putting it there tells.  `order` is the same for those of which none
    may be there without the others.  `digest` is that of a delivery's octets, empty where `new` is enough.
    """

    old: str = ""
    new: str = ""
    order: int = 0
    flags: Sequence[str] = ()
    size: int = 0
    received: int = 0
    digest: str = ""
    email_id: str = ""
    mark: str | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """
    Messages that are about to come into `to`, out of `folder` unless they are new; `dropping` is a move's end.

    Those of one that `is_undone` go again if it was not finished, also where the source has all of them; of one that
    `is_committed` the index has all, and the `old` ones are left to be dropped from `folder`.
    """

    to: str
    messages: Sequence[Expected]
    folder: str | None = None
    move: bool = False
    dropping: bool = False
    is_undone: bool = False
    is_committed: bool = False


@dataclass(frozen=True, slots=True)
class Parcel:
    """Messages that go into one folder together, all or none."""

    account: str
    folder: str
    messages: Sequence[tuple[Staged, Flags]]


class IDepositor(Interface):
    """What adds messages to many accounts within one visit to a thread.  Every method blocks."""

    def stage(account: str, octets: bytes, received: int, mark: str | None, summary: Summary) -> Staged:
        """Write a message where no folder shows it.  Raises `NoSpace`."""

    def place(parcels: Sequence[Parcel], patience: float | None) -> list[list[Numbered] | Exception]:
        """
        Put staged messages into folders; for each parcel the messages, on stable storage, or why they are not there.

        That may be `Outdated`, or `SourceBusy` where another program holds a folder for longer than `patience` seconds
        (None: as long as the source finds reasonable); neither keeps other parcels from their places.
        """

    def drop(account: str, folder: str, keys: Sequence[str]) -> None:
        """As `IMessageSource.drop`."""

    def expect(account: str, staged: Staged) -> Expected | None:
        """As `ILedgerSource.expect`."""

    def discard(staged: Sequence[Staged]) -> None:
        """As `ILedgerSource.discard`."""


class ILedgerSource(Interface):
    """
    A source as the index wants it; what has the name of a method of `IMessageSource` does what that does.

    The index never lets `place`, `transfer`, `survey`, `set_flags`, `drop` or an edit overlap for one account;
    everything else may come at any time.
    """

    notes_intents = Attribute("Whether anything is done in steps that a death of the process can part.")

    async def open_account(account: str) -> None:
        """Make sure the account exists here, with a folder whose path is ``("INBOX",)``."""

    async def remove_account(account: str) -> None:
        """Destroy the account and all its mail; the index has gone before."""

    async def folders(account: str) -> Sequence[Folder]:
        """Return every folder."""

    async def edit_folder(account: str, edit: MailboxEdit) -> None:
        """Create, rename or delete.  Raises `NameRefused`."""

    async def open(account: str, folder: str, key: str) -> IContent:
        """Open a message.  Raises `KeyError` if it is gone."""

    async def set_flags(account: str, folder: str, flags: Mapping[str, Flags]) -> None:
        """
        Give each message (by key) exactly these flags.

        Raises `Outdated` where another program may have changed flags since the last survey.
        """

    async def drop(account: str, folder: str, keys: Sequence[str]) -> None:
        """Remove messages."""

    async def survey(account: str, folder: str, known: Known, cursor: str | None) -> Survey:
        """Compare a folder with what is known of it, and number what is new."""

    async def stale(folders: Sequence[tuple[str, str, str | None]]) -> list[bool]:
        """Say of each (account, folder, cursor) whether a survey could find anything; cheap for many."""

    def directories(account: str, folder: str) -> Sequence[str]:
        """
        Return the directories whose names change whenever another program changes the folder; none if there are none.

        Blocks.
        """

    async def stage(account: str, content: object, received: int, mark: str | None, summary: Summary | None) -> Staged:
        """Write a message where no folder shows it, and summarise it.  May run many times at once."""

    def depositor() -> IDepositor | None:
        """Return what adds messages within one visit to a thread, None where that takes the reactor."""

    async def discard(account: str, staged: Sequence[Staged]) -> None:
        """Forget staged messages; those placed meanwhile are passed over."""

    async def place(account: str, folder: str, messages: Sequence[tuple[Staged, Flags]]) -> list[Numbered]:
        """Put staged messages into a folder, all or none; on stable storage when this returns.  Raises `Outdated`."""

    async def renumber(account: str, folder: str, uid_validity: int | None, uid_next: int) -> int | None:
        """
        Give a folder another UIDVALIDITY, a new one for None, and the next UID.

        Returns the UIDVALIDITY, None where the index gives them.  Raises `Outdated`.
        """

    def foresee(account: str, keys: Sequence[str]) -> Sequence[str] | None:
        """
        Return the keys that messages will have in another folder, for `transfer`; empty ones where that is not known.

        None where `transfer` changes nothing but what the index commits.  Where they are not known, `transfer` leaves
        the originals of a move to be dropped.
        """

    def expect(account: str, staged: Staged) -> Expected | None:
        """Return how a message will be known in its folder; None where `place` changes what the index commits alone."""

    async def transfer(
        account: str,
        folder: str,
        messages: Sequence[tuple[str, Flags, str, int]],
        to: str,
        move: bool,
        landing: Sequence[str] | None,
    ) -> list[tuple[str, int | None] | None]:
        """
        Copy or move messages (key, flags, email id, date received), all or none; `landing` is what was foreseen.

        Returns new keys and UIDs, None for one that is gone.

        Raises `Outdated`.
        """

    async def settle(account: str, intent: Intent, known: Known) -> list[str | None]:
        """
        Finish or undo what a process that died was about to do, when `known` was all the index had of the folder.

        Returns the keys of the messages that are there to stay, and that the index does not have.
        """

    async def open_many(account: str, folder: str, keys: Sequence[str]) -> list[IContent | None]:
        """Open messages as `open` does, in one visit to the disk; None for those that are gone."""

    def at_hand(account: str, folder: str, keys: Sequence[str]) -> list[IContent | None]:
        """Return messages that are in memory, in the reactor's thread and without waiting; None says nothing of one."""

    async def summaries(account: str, folder: str, keys: Sequence[str]) -> list[Summary | None]:
        """Summarise messages; None for those that are gone."""

    async def subscriptions(account: str) -> frozenset[Path] | None:
        """Return the subscribed paths, or None where the index keeps them."""

    async def subscribe(account: str, path: Path, subscribed: bool) -> None:
        """Note a subscription, where the source keeps them."""

    async def trees(accounts: Sequence[tuple[str, object]]) -> Sequence[object]:
        """
        Return of each account what differs from what was returned before when its folders or subscriptions do.

        Each account comes with what was returned of it the last time, at first None.  None says nothing: where no other
        program changes anything, or that cannot be told without looking at all there is.  Cheap for many.
        """

    def cursor(account: str, folder: str, cursor: str | None) -> str | None:
        """Return the cursor after our own changes, given the last one noted."""

    def saved(key: str, now: int) -> int:
        """Return when a message came into its folder, in seconds since the epoch: `now` where its key does not tell."""

    def keeps(account: str, folder: str, flag: str) -> bool:
        """Whether the source itself remembers this flag in this folder, as far as is known."""

    def forget(account: str, folder: str) -> None:
        """Take nothing remembered of a folder for granted at the next survey: a change was not finished."""

    async def close() -> None:
        """Let go of files."""
