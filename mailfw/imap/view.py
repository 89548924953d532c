"""One session's picture of a mailbox: which message has which number, and what the client was not told yet."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mailfw.imap.lexer import BadSyntax, SequenceSet
from mailfw.mail.mailbox import SEEN, SYSTEM_FLAGS, Altered, Flags, Snapshot

T = TypeVar("T")

#: From so many expunged messages on, the arrays are made anew instead of closing gap after gap.
_MANY = 32


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
class FlagsChanged:
    """A message has other flags than the client was told."""

    uid: int
    number: int
    flags: Flags
    recent: bool


Update = Keywords | Exists | Recent | Expunge | FlagsChanged


class View:
    """
    The numbers and flags of a mailbox's messages, as its session's client believes them to be.

    Message n has the UID ``uids[n - 1]``.  A message that was expunged keeps its number until the client may
    be told (RFC 3501 section 7.4.1).
    """

    __slots__ = (
        "_announced",
        "_changed",
        "_flags",
        "_gone",
        "_kind_numbers",
        "_kinds",
        "_new_keywords",
        "_recent",
        "_told_recent",
        "keywords",
        "mailbox_id",
        "modseq",
        "recent_count",
        "uid_next",
        "uid_validity",
        "uids",
    )

    def __init__(self, snapshot: Snapshot) -> None:
        """Begin with a whole mailbox (``since=0``); the client is told of it by SELECT."""
        self.mailbox_id = snapshot.info.id
        self.uid_validity = snapshot.info.uid_validity
        self.uid_next = snapshot.info.uid_next
        self.modseq = snapshot.info.modseq
        self.uids: array[int] = array("I")
        self.keywords: set[str] = set()
        # Messages share few sets of flags: each distinct one is held once, and a message holds its number.
        self._kinds: list[Flags] = []
        self._kind_numbers: dict[Flags, int] = {}
        self._flags: array[int] = array("I")
        # UIDs at which being \Recent begins and ends in turn, ascending.
        self._recent: array[int] = array("I")
        self.recent_count = 0
        self._told_recent = 0
        self._gone: set[int] = set()
        self._changed: set[int] = set()
        self._announced = 0
        self._new_keywords = False
        self._append(snapshot.uids, snapshot.flags)
        self._announced = len(self.uids)
        self._new_keywords = False

    def __len__(self) -> int:
        return len(self.uids)

    # ------------------------------------------------------------ asking

    def number_of(self, uid: int) -> int | None:
        """Return a message's number, None if the client knows no such message."""
        at = bisect_left(self.uids, uid)
        return at + 1 if at < len(self.uids) and self.uids[at] == uid else None

    def numbers_of(self, uids: Sequence[int]) -> Sequence[int]:
        """Return the numbers of messages by ascending UID.  All must be in the view."""
        if not uids:
            return ()
        first, count = bisect_left(self.uids, uids[0]), len(uids)
        if first + count <= len(self.uids) and self.uids[first + count - 1] == uids[-1]:
            return range(first + 1, first + 1 + count)
        return [bisect_left(self.uids, uid) + 1 for uid in uids]

    def worded_flags(self, numbers: Sequence[int], words: Callable[[Flags, bool], T]) -> list[T]:
        """Return what `words` makes of the flags of messages by number, and of whether they are \\Recent."""
        kinds, flags, uids = self._kinds, self._flags, self.uids
        if self.recent_count:
            return [words(kinds[flags[n - 1]], self.is_recent(uids[n - 1])) for n in numbers]
        if len(numbers) < len(kinds):
            return [words(kinds[flags[n - 1]], False) for n in numbers]
        worded = [words(kind, False) for kind in kinds]
        return [worded[flags[n - 1]] for n in numbers]

    def without_gone(self, uids: Sequence[int]) -> Sequence[int]:
        """Return those of `uids` that were not expunged, as far as the session knows."""
        return [uid for uid in uids if uid not in self._gone] if self._gone else uids

    def flags_of(self, uid: int) -> Flags:
        """Return the flags a message has here.  Raises `KeyError` for one that is not in the view."""
        number = self.number_of(uid)
        if number is None:
            raise KeyError(uid)
        return self._kinds[self._flags[number - 1]]

    def is_recent(self, uid: int) -> bool:
        """Whether this session is the first to be told of a message."""
        return bool(bisect_right(self._recent, uid) & 1)

    def is_gone(self, uid: int) -> bool:
        """Whether a message of the view was expunged, and the client does not know it yet."""
        return uid in self._gone

    def first_unseen(self) -> int | None:
        """Return the number of the first message without \\Seen."""
        unseen = [kind for kind, flags in enumerate(self._kinds) if SEEN not in flags]
        places = []
        for kind in unseen:
            try:
                places.append(self._flags.index(kind) + 1)
            except ValueError:
                continue
        return min(places, default=None)

    def resolve(self, wanted: SequenceSet, by_uid: bool) -> list[int]:
        """
        Return the UIDs, ascending, of the messages a set names.

        UIDs that are not here are passed over; a message number that is not raises `BadSyntax`.
        """
        uids: list[int] = []
        for start, end in self.spans(wanted, by_uid):
            uids.extend(self.uids[start:end])
        return uids

    def spans(self, wanted: SequenceSet, by_uid: bool) -> list[tuple[int, int]]:
        """Return where in `uids` the messages are that a set names: ascending slices that do not touch twice."""
        slices = sorted(self._uid_slice(*ends) if by_uid else self._number_slice(*ends) for ends in wanted.ranges)
        spans: list[tuple[int, int]] = []
        done = 0
        for start, end in slices:
            start = max(start, done)
            if start < end:
                spans.append((start, end))
                done = end
        return spans

    def _uid_slice(self, first: int | None, second: int | None) -> tuple[int, int]:
        if not self.uids:
            return 0, 0
        last = self.uids[-1]
        low, high = _ordered(last if first is None else first, last if second is None else second)
        return bisect_left(self.uids, low), bisect_right(self.uids, high)

    def _number_slice(self, first: int | None, second: int | None) -> tuple[int, int]:
        count = len(self.uids)
        if not count and (first is None or second is None):
            # Clients ask for 1:* of a mailbox that may be empty; RFC 3501 gives * no meaning there.
            return 0, 0
        low, high = _ordered(count if first is None else first, count if second is None else second)
        if high > count:
            raise BadSyntax(f"There are {count} messages, and no message {high}")
        return low - 1, high

    # ------------------------------------------------------------ learning

    def absorb(self, snapshot: Snapshot) -> None:
        """Take in what changed since `modseq`; `take_updates` tells what the client must hear of it."""
        self.modseq = snapshot.info.modseq
        self.uid_next = max(self.uid_next, snapshot.info.uid_next)
        self._gone.update(self._known(snapshot.vanished))
        known = bisect_right(snapshot.uids, self.uids[-1]) if self.uids else 0
        for uid, flags in zip(snapshot.uids[:known], snapshot.flags[:known], strict=True):
            if self._set(uid, flags):
                self._changed.add(uid)
        if known < len(snapshot.uids):
            self._append(snapshot.uids[known:], snapshot.flags[known:])

    def claim_recent(self, low: int) -> None:
        """Make the messages from UID `low` on, as far as they are here, \\Recent in this session."""
        high = self.uids[-1] + 1 if self.uids else 0
        if low >= high:
            return
        self.recent_count += len(self.uids) - bisect_left(self.uids, low)
        self._told_recent = -1
        if self._recent and self._recent[-1] >= low:
            self.recent_count -= bisect_left(self.uids, self._recent[-1]) - bisect_left(self.uids, low)
            self._recent[-1] = high
        else:
            self._recent.extend((low, high))

    def note_flags(self, altered: Altered) -> None:
        """Note flags that the client learns from the answer to its own command: they are not told again."""
        if altered.changed and altered.modseq == self.modseq + 1:
            self.modseq = altered.modseq  # nothing else happened, so that there is nothing to ask for
        for uid, flags in altered.changed.items():
            self._set(uid, flags)
            self._changed.discard(uid)

    def _append(self, uids: Sequence[int], flags: Sequence[Flags]) -> None:
        self.uids.extend(uids)
        self._flags.extend(map(self._kind, flags))

    def _set(self, uid: int, flags: Flags) -> bool:
        """Give a message flags; say whether they are others than it had."""
        number = self.number_of(uid)
        kind = self._kind(flags)
        if number is None or self._flags[number - 1] == kind:
            return False
        self._flags[number - 1] = kind
        return True

    def _kind(self, flags: Flags) -> int:
        kind = self._kind_numbers.get(flags)
        if kind is None:
            kind = self._kind_numbers[flags] = len(self._kinds)
            self._kinds.append(flags)
            if not flags - SYSTEM_FLAGS <= self.keywords:
                self.keywords |= flags - SYSTEM_FLAGS
                self._new_keywords = True
        return kind

    def _known(self, uids: Sequence[int]) -> Iterable[int]:
        """Those of `uids` (ascending, perhaps very many) that are here."""
        if len(uids) > len(self.uids):
            return (uid for uid in self.uids if (at := bisect_left(uids, uid)) < len(uids) and uids[at] == uid)
        return (uid for uid in uids if self.number_of(uid) is not None)

    # ------------------------------------------------------------ telling

    def take_updates(self, expunges_allowed: bool) -> list[Update]:
        """Return what the client must be told now, in this order; it counts as told."""
        updates: list[Update] = []
        if self._new_keywords:
            updates.append(Keywords(tuple(sorted(self.keywords))))
            self._new_keywords = False
        if self._gone and expunges_allowed:
            updates.extend(self._expunge())
        if len(self.uids) != self._announced:
            self._announced = len(self.uids)
            updates.append(Exists(self._announced))
        if self.recent_count > self._told_recent:
            updates.append(Recent(self.recent_count))
        self._told_recent = self.recent_count
        if self._changed:
            updates.extend(self._flag_changes())
        return updates

    def take_keywords(self) -> Keywords | None:
        """Return the keywords if there are new ones: the client must hear of them before it sees them in use."""
        if not self._new_keywords:
            return None
        self._new_keywords = False
        return Keywords(tuple(sorted(self.keywords)))

    def _expunge(self) -> list[Expunge]:
        """Close the gaps.  From the last to the first, so that neither side has to move a message twice."""
        places = sorted((bisect_left(self.uids, uid) for uid in self._gone), reverse=True)
        self.recent_count -= sum(map(self.is_recent, self._gone))
        if len(places) < _MANY:
            for place in places:
                del self.uids[place], self._flags[place]
        else:
            kept = [uid not in self._gone for uid in self.uids]
            self._flags = array("I", (kind for kind, keep in zip(self._flags, kept, strict=True) if keep))
            self.uids = array("I", (uid for uid in self.uids if uid not in self._gone))
        self._changed -= self._gone
        self._gone = set()
        told = [Expunge(place + 1) for place in places if place < self._announced]
        self._announced -= len(told)  # a message that came and went unheard is not spoken of
        return told

    def _flag_changes(self) -> list[FlagsChanged]:
        changes = []
        for uid in sorted(self._changed):
            number = self.number_of(uid)
            if number is not None and uid not in self._gone:
                changes.append(FlagsChanged(uid, number, self.flags_of(uid), self.is_recent(uid)))
        self._changed = set()
        return changes


def _ordered(first: int, second: int) -> tuple[int, int]:
    return (first, second) if first <= second else (second, first)
