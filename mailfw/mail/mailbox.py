"""The one mailbox model that POP3, IMAP, couriers and stores share: UIDs, flags and modification sequences."""

from __future__ import annotations

import enum
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from mailfw.mail.rights import ALL_RIGHTS, Rights
from mailfw.mail.summary import Summary

#: A set of flags: system flags spelled as RFC 9051 section 2.3.2 spells them (``\\Seen``), keywords as the client did.
#: \Recent is never among them: it belongs to a session, not to a message.
Flags = frozenset[str]

SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = "\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"
SYSTEM_FLAGS: Flags = frozenset({SEEN, ANSWERED, FLAGGED, DELETED, DRAFT})
NO_FLAGS: Flags = frozenset()

#: A mailbox's place in the hierarchy, outermost name first, Unicode: ``("Work", "2026")``.  The inbox is `INBOX`.
Path = tuple[str, ...]
INBOX: Path = ("INBOX",)

#: The mailbox that a notice names when the account has other mailboxes than before, or other names, roles or
#: subscriptions.
TREE = "/"

#: RFC 3501 section 2.3.1.1 gives UIDs 32 bits; clients with signed integers need them below this.
UID_LIMIT = 2**31


class Role(enum.Enum):
    """What a mailbox is for; the values are the special-use attributes of RFC 6154."""

    ARCHIVE = "\\Archive"
    DRAFTS = "\\Drafts"
    JUNK = "\\Junk"
    SENT = "\\Sent"
    TRASH = "\\Trash"


#: What a new account starts with, besides the inbox.
FIRST_MAILBOXES: tuple[tuple[Path, Role], ...] = (
    (("Sent",), Role.SENT),
    (("Drafts",), Role.DRAFTS),
    (("Trash",), Role.TRASH),
    (("Junk",), Role.JUNK),
    (("Archive",), Role.ARCHIVE),
)


@dataclass(frozen=True, slots=True)
class MailboxInfo:
    """
    A mailbox as it is now.

    `id` is opaque, unique in the account and survives a rename.  `modseq` is the highest modification
    sequence of anything in it.  UIDs from `recent_uid` on have not been shown to any session as \\Recent.
    `unseen` counts messages without \\Seen, `deleted` those with \\Deleted, `size` is their octets.  `rights`
    are those of whoever asked; its owner has all.  `annotated` is another number after each change of the mailbox's
    annotations (`mailfw.optional.IAnnotatedMail`), whoever's, and may be another for no reason.
    """

    id: str
    path: Path
    role: Role | None
    uid_validity: int
    uid_next: int
    modseq: int
    recent_uid: int
    messages: int
    unseen: int
    deleted: int
    size: int
    subscribed: bool
    rights: Rights = ALL_RIGHTS
    annotated: int = 0


# What may be done to the tree of mailboxes.


@dataclass(frozen=True, slots=True)
class CreateMailbox:
    """
    Make a mailbox; missing parents are not made (they are shown as \\NonExistent).

    There is one mailbox for a role: one for which there is another already is refused with `RoleTaken`.
    """

    path: Path
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class RenameMailbox:
    """Give the mailbox at `path`, and all below it, a new place.  Never the inbox."""

    path: Path
    to: Path


@dataclass(frozen=True, slots=True)
class DeleteMailbox:
    """Remove the mailbox and its messages, not those below it.  Never the inbox."""

    path: Path


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Note the name as subscribed, or no longer; it need not exist (RFC 3501 section 6.3.6)."""

    path: Path
    subscribed: bool = True


@dataclass(frozen=True, slots=True)
class SetRole:
    """Say what the mailbox is for, None for nothing.  Never the inbox, and never what another is for: `RoleTaken`."""

    path: Path
    role: Role | None


MailboxEdit = CreateMailbox | RenameMailbox | DeleteMailbox | Subscribe | SetRole


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    The messages of a mailbox that changed after a modification sequence, and the UIDs that went.

    `uids` is ascending; `modseqs` and `flags` run parallel to it.  `vanished` is ascending and names every
    UID expunged since then; a store that has forgotten may name others that are not in the mailbox.
    Taken with ``since=0`` it is the whole mailbox and `vanished` is empty.
    """

    info: MailboxInfo
    uids: array[int]  # typecode "I"
    modseqs: array[int]  # typecode "Q"
    flags: list[Flags]
    vanished: Sequence[int]


class Want(enum.Flag):
    """Which parts of a summary a row must carry: a store loads nothing that is not asked for."""

    NOTHING = 0
    ENVELOPE = enum.auto()
    BODY = enum.auto()
    BODYSTRUCTURE = enum.auto()
    PARTS = enum.auto()
    FIELDS = enum.auto()
    SENT = enum.auto()
    PREVIEW = enum.auto()
    SORT = enum.auto()
    THREAD = enum.auto()
    SAVED = enum.auto()


@dataclass(slots=True)
class Row:
    """
    What a store knows of one message without opening it.

    `received` is the internal date in seconds since the epoch, and never changes.  `email_id` names the
    content: a copy in another mailbox has the same one.  What follows is None unless wanted: parts of a
    `mailfw.mail.summary.Summary`, and `thread_id`, the conversation it belongs to in its account, which never changes
    and is wanted together with `ids`; `saved`, when the message came into this mailbox, in seconds since the epoch, if
    wanted and known: copied or moved it has another one (RFC 8514).
    """

    uid: int
    modseq: int
    flags: Flags
    size: int
    received: int
    email_id: str
    envelope: bytes | None = None
    body: bytes | None = None
    bodystructure: bytes | None = None
    parts: bytes | None = None
    fields: bytes | None = None
    sent: int | None = None
    preview: str | None = None
    sort: bytes | None = None
    thread_id: str | None = None
    ids: bytes | None = None
    saved: int | None = None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """
    A message to be kept; `content` provides `IContent` and is closed by whoever made it.

    `received` is in seconds since the epoch, or None for now.  A message with a `token` that the mailbox
    still holds is not stored again: the answer names the one it has, so that a delivery can be retried.
    `summary` is made by the store from the content where it is None.
    """

    content: object
    flags: Flags = NO_FLAGS
    received: int | None = None
    token: str | None = None
    summary: Summary | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a new message is now, durably, and which conversation of its account it belongs to."""

    uid: int
    modseq: int
    email_id: str
    thread_id: str


class FlagChange(enum.Enum):
    """How STORE combines flags with those a message has."""

    REPLACE = "FLAGS"
    ADD = "+FLAGS"
    REMOVE = "-FLAGS"


@dataclass(frozen=True, slots=True)
class Altered:
    """
    The result of changing flags: `modseq` of the mailbox afterwards, and what each changed message has now.

    That `modseq` is each changed message's own, too: one call gives all of them the same.
    `conflicts` are the UIDs left alone because they changed after `unchanged_since`.
    """

    modseq: int
    changed: dict[int, Flags]
    conflicts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Copied:
    """The result of a copy or move: pairs of old and new UIDs, in the order of the old ones."""

    uid_validity: int
    uids: tuple[tuple[int, int], ...]
    modseq: int


@dataclass(frozen=True, slots=True)
class Expunged:
    """The result of an expunge: the UIDs that went, ascending, and the mailbox's modseq afterwards."""

    uids: tuple[int, ...]
    modseq: int


@dataclass(frozen=True, slots=True)
class Replaced:
    """The result of replacing a message: where the new one is, and the modseq of the old one's mailbox afterwards."""

    appended: Appended
    modseq: int


# What a message source (the small interface) tells and is told.


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of a message source: `key` is the source's own name for it and never changes."""

    key: str
    path: Path
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A message of a source: `key` is unique in its folder for ever, and the content behind it never changes."""

    key: str
    size: int
    received: int
    flags: Flags = NO_FLAGS


@dataclass(frozen=True, slots=True)
class Scan:
    """
    What a folder holds, or what changed in it since `cursor`.

    `cursor` is the source's own note for the next scan.  With `complete`, `items` is everything there is,
    and what is not in it is gone; without, `items` is new or has other flags and `removed` is gone.
    """

    cursor: str
    items: Sequence[Item]
    removed: Sequence[str] = ()
    complete: bool = True
