"""A mailbox as the index has it in memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

from mailfw.mail.mailbox import DELETED, SEEN, Flags, MailboxInfo, Path, Role
from mailfw.mail.rights import AccessList
from mailfw.stores.index.journal import Journal, positions
from mailfw.stores.index.ledger import Known
from mailfw.stores.index.readers import Reader


@dataclass(frozen=True, slots=True)
class Tally:
    """The numbers of a mailbox: what a change makes of them is known before it is made."""

    uid_next: int = 1
    modseq: int = 0
    recent_uid: int = 1
    messages: int = 0
    unseen: int = 0
    deleted: int = 0
    size: int = 0

    def counting(self, modseq: int, flags: Flags, size: int, by: int, uid: int = 0) -> Tally:
        """Count a message, which may be new, once more (`by` 1) or less (-1)."""
        return Tally(  # not by `replace`, which takes several times as long
            max(self.uid_next, uid + 1),
            modseq,
            self.recent_uid,
            self.messages + by,
            self.unseen + by * (SEEN not in flags),
            self.deleted + by * (DELETED in flags),
            self.size + by * size,
        )

    def altering(self, modseq: int, before: Flags, after: Flags, count: int) -> Tally:
        """Count other flags of `count` messages."""
        return Tally(
            self.uid_next,
            modseq,
            self.recent_uid,
            self.messages,
            self.unseen + count * ((SEEN not in after) - (SEEN not in before)),
            self.deleted + count * ((DELETED in after) - (DELETED in before)),
            self.size,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as the index adds it; `email` is the row of its summary, `thread_id` empty where nobody asks."""

    uid: int
    modseq: int
    flags: Flags
    key: str
    size: int
    received: int
    email: int
    thread_id: str = ""


class Messages:
    """
    The messages of a mailbox, by ascending UID, in parallel arrays.

    `changed` and `vanished` tell what happened since they were read from the index.  `readers` are those who share the
    mailbox and have marked anything, by name.
    """

    def __init__(self, rows: Iterable[tuple[int, int, str, str, int, int, int]], modseq: int) -> None:
        self.uids = array("I")
        self.modseqs, self.sizes, self.emails = array("Q"), array("Q"), array("Q")
        self.received = array("q")
        self.flags: list[Flags] = []
        self.keys: list[str] = []
        found = iter(rows)
        # A row takes three times as much memory as what is kept of it: never all of them at once.
        while part := list(islice(found, 1000)):
            uids, modseqs, flags, keys, sizes, received, emails = zip(*part, strict=True)
            self.uids.extend(uids)
            self.modseqs.extend(modseqs)
            self.flags += map(flags_of, flags)
            self.keys += keys
            self.sizes.extend(sizes)
            self.received.extend(received)
            self.emails.extend(emails)
        self.changed = Journal(modseq)
        self.vanished = Journal(modseq)
        self.readers: dict[str, Reader] = {}

    def __len__(self) -> int:
        return len(self.uids)

    def places(self, uids: Iterable[int]) -> list[int]:
        """Return where those UIDs are that are here."""
        return positions(self.uids, uids)

    def places_of_keys(self, keys: Iterable[str]) -> list[int]:
        """Return where those keys are that are here, ascending."""
        wanted = set(keys)
        return [place for place, key in enumerate(self.keys) if key in wanted] if wanted else []

    def known(self, uid_validity: int) -> Known:
        """Return what a source compares with."""
        return Known(uid_validity, self.keys, self.uids, self.flags)

    def since(self, modseq: int) -> list[int]:
        """Return the places of the messages that changed after a modification sequence."""
        if modseq >= self.changed.floor:
            return self.places(sorted(self.changed.since(modseq)))
        return [place for place, each in enumerate(self.modseqs) if each > modseq]

    # ------------------------------------------------------------ after a commit

    def add(self, entries: Sequence[Entry]) -> None:
        """Add messages, by ascending modification sequence; nearly always at the end."""
        for entry in entries:
            place = len(self) if not self.uids or entry.uid > self.uids[-1] else bisect_left(self.uids, entry.uid)
            self.uids.insert(place, entry.uid)
            self.modseqs.insert(place, entry.modseq)
            self.flags.insert(place, entry.flags)
            self.keys.insert(place, entry.key)
            self.sizes.insert(place, entry.size)
            self.received.insert(place, entry.received)
            self.emails.insert(place, entry.email)
            self.changed.add(entry.modseq, (entry.uid,))

    def alter(self, modseq: int, changed: Mapping[int, Flags]) -> None:
        """Give messages, by place, other flags."""
        for place, flags in changed.items():
            self.flags[place] = flags
            self.modseqs[place] = modseq
        self.changed.add(modseq, [self.uids[place] for place in changed])

    def remove(self, modseq: int, places: Sequence[int]) -> None:
        """Take messages out, by ascending place."""
        gone = [self.uids[place] for place in places]
        self.vanished.add(modseq, gone)
        for reader in self.readers.values():
            reader.drop(gone)
        for column in (self.uids, self.modseqs, self.flags, self.keys, self.sizes, self.received, self.emails):
            _delete(column, places)


def _delete(column: array[int] | list[Flags] | list[str], places: Sequence[int]) -> None:
    if len(places) < 16:
        for place in reversed(places):
            del column[place]
        return
    gone = set(places)
    kept = [value for place, value in enumerate(column) if place not in gone]
    column[:] = array(column.typecode, kept) if isinstance(column, array) else kept  # type: ignore[arg-type,assignment] # a column stays of its kind


@dataclass(slots=True)
class Mailbox:
    """
    One mailbox; `row` is its row in the index, `key` the source's name for it.

    `floor` is the modification sequence above which the expunge log is complete.  `messages` is None until
    somebody asks for them, `checked` when the source was last asked for news.  `access` says who else may do what;
    `counted`, while `messages` is None, how much of it some of them have seen.  `annotated` is as in `MailboxInfo`.
    """

    row: int
    id: str
    key: str
    path: Path
    role: Role | None
    uid_validity: int
    floor: int
    tally: Tally
    cursor: str | None = None
    messages: Messages | None = None
    checked: float = -1e9
    access: AccessList = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    annotated: int = 0

    def info(self, subscribed: bool) -> MailboxInfo:
        """Return the mailbox as it is now."""
        tally = self.tally
        return MailboxInfo(
            self.id,
            self.path,
            self.role,
            self.uid_validity,
            tally.uid_next,
            tally.modseq,
            tally.recent_uid,
            tally.messages,
            tally.unseen,
            tally.deleted,
            tally.size,
            subscribed,
            annotated=self.annotated,
        )


@lru_cache(maxsize=4096)
def flags_of(text: str) -> Flags:
    """Read flags as the index writes them; the same flags are one object."""
    return frozenset(text.split())


@lru_cache(maxsize=4096)
def text_of(flags: Flags) -> str:
    """Write flags for the index."""
    return " ".join(sorted(flags))
