"""One session's picture of a mailbox: which message has which number, and what the client was not told yet."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, compress, count
from typing import Any, TypeVar

from mailfw.imap.keywords import in_use
from mailfw.imap.lexer import BadSyntax, SequenceSet, UIDRequired
from mailfw.imap.modseqs import Modseqs
from mailfw.imap.updates import Exists, Expunge, FlagsChanged, Keywords, Recent, Update, Vanished
from mailfw.mail.mailbox import SEEN, SYSTEM_FLAGS, Altered, Flags, Snapshot

T = TypeVar("T")

#: From so many on, all messages are gone through once, in place of looking for one after the other.
_MANY = 32
#: So many sets of flags that no message has any more are borne.
_UNUSED = 1000
#: One empty set for all views of mailboxes where nothing happens.
_NONE: frozenset[Any] = frozenset()


class View:
    """
    The numbers and flags of a mailbox's messages, as its session's client believes them to be.

    Message n has the UID ``uids[n - 1]``.  A message that was expunged keeps its number until the client may
    be told (RFC 3501 section 7.4.1).  `modseq` is that of the last change that is known here, `settled` the one up to
    which the client has been told everything.  The messages' own are kept for clients that want them: `has_modseqs`.
    With `uid_only` (RFC 9586) the client may name no numbers.
    """

    __slots__ = (
        "_announced",
        "_changed",
        "_flags",
        "_gone",
        "_kind_numbers",
        "_kinds",
        "_modseqs",
        "_new_keywords",
        "_recent",
        "_told_recent",
        "keywords",
        "mailbox_id",
        "modseq",
        "recent_count",
        "saved",
        "settled",
        "uid_next",
        "uid_only",
        "uid_validity",
        "uids",
    )

    def __init__(self, snapshot: Snapshot, with_modseqs: bool = False, uid_only: bool = False) -> None:
        """Begin with a whole mailbox (``since=0``); the client is told of it by SELECT."""
        self.mailbox_id = snapshot.info.id
        self.uid_validity = snapshot.info.uid_validity
        self.uid_next = snapshot.info.uid_next
        self.modseq = self.settled = snapshot.info.modseq
        self.uid_only = uid_only
        self.uids: array[int] = array("I")
        self._modseqs = Modseqs(()) if with_modseqs else None
        self.keywords: Flags = _NONE
        #: The UIDs of what a search has saved, ascending: ``$`` of RFC 5182; some may be gone.
        self.saved: Sequence[int] = ()
        # Messages share few sets of flags: each distinct one is held once, and a message holds its number.
        self._kinds: list[Flags] = []
        self._kind_numbers: dict[Flags, int] = {}
        self._flags: array[int] = array("I")
        # UIDs at which being \Recent begins and ends in turn, ascending.
        self._recent: array[int] = array("I")
        self.recent_count = 0
        self._told_recent = 0
        self._gone: frozenset[int] = _NONE
        self._changed: frozenset[int] = _NONE
        self._announced = 0
        self._new_keywords = False
        self._append(snapshot, 0)
        self._announced = len(self.uids)
        self._new_keywords = False

    def __len__(self) -> int:
        return len(self.uids)

    # ------------------------------------------------------------ asking

    @property
    def place(self) -> tuple[str, int]:
        """Return the mailbox and its UIDVALIDITY: with them a UID stands for the same message for ever."""
        return self.mailbox_id, self.uid_validity

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

    @property
    def kinds(self) -> Sequence[Flags]:
        """The sets of flags that messages have, and perhaps some that none has any more."""
        return self._kinds

    def having(self, wanted: Callable[[Flags], bool]) -> list[int]:
        """Return the UIDs of the messages whose flags are as wanted, ascending."""
        good = list(map(wanted, self._kinds))
        if all(good):
            return list(self.uids)
        if not any(good):
            return []
        return list(compress(self.uids, map(good.__getitem__, self._flags)))

    def without_gone(self, uids: Sequence[int]) -> Sequence[int]:
        """Return those of `uids` that were not expunged, as far as the session knows."""
        return [uid for uid in uids if uid not in self._gone] if self._gone else uids

    def flags_of(self, uid: int) -> Flags:
        """Return the flags a message has here.  Raises `KeyError` for one that is not in the view."""
        number = self.number_of(uid)
        if number is None:
            raise KeyError(uid)
        return self._kinds[self._flags[number - 1]]

    @property
    def has_modseqs(self) -> bool:
        """Whether the modification sequence of each message is known."""
        return self._modseqs is not None

    def modseq_of(self, uid: int) -> int:
        """Return a message's modification sequence.  Raises `KeyError` for one not in the view, or if none is known."""
        number = self.number_of(uid)
        if number is None or self._modseqs is None:
            raise KeyError(uid)
        return self._modseqs[number - 1]

    def modseqs_of(self, numbers: Sequence[int]) -> list[int]:
        """Return the modification sequences of messages by number.  Raises `KeyError` if none are known."""
        if self._modseqs is None:
            raise KeyError("modseqs")
        return self._modseqs.at([number - 1 for number in numbers])

    def changed_since(self, uids: Sequence[int], modseq: int) -> list[int]:
        """Return those of `uids` (ascending, all in the view) that changed after a modification sequence."""
        return [uid for uid, each in zip(uids, self.modseqs_of(self.numbers_of(uids)), strict=True) if each > modseq]

    def is_recent(self, uid: int) -> bool:
        """Whether this session is the first to be told of a message."""
        return bool(bisect_right(self._recent, uid) & 1)

    def is_gone(self, uid: int) -> bool:
        """Whether a message of the view was expunged, and the client does not know it yet."""
        return uid in self._gone

    def first_unseen(self) -> int | None:
        """Return the number of the first message without \\Seen."""
        unseen = [kind for kind, flags in enumerate(self._kinds) if SEEN not in flags]
        if len(unseen) > _MANY:
            good = set(unseen)
            return next((number for number, kind in enumerate(self._flags, 1) if kind in good), None)
        return min((self._flags.index(kind) + 1 for kind in unseen if kind in self._flags), default=None)

    def resolve(self, wanted: SequenceSet, by_uid: bool) -> list[int]:
        """
        Return the UIDs, ascending, of the messages a set names.

        UIDs that are not here are passed over; a message number that is not raises `BadSyntax`.
        """
        spans, count = self.spans(wanted, by_uid), len(self.uids)
        # Clients ask for 1:* of a mailbox that may be empty; RFC 3501 gives * no meaning there.
        named = [] if by_uid else [ends for ends in wanted.ranges if count or None not in ends]
        if named and any(number is not None and number > count for ends in named for number in ends):
            raise BadSyntax(f"There are {count} messages, and not all of these")
        return list(chain.from_iterable([self.uids[start:end] for start, end in spans]))

    def spans(self, wanted: SequenceSet, by_uid: bool) -> list[tuple[int, int]]:
        """Return where in `uids` the messages are that a set names: ascending slices that do not touch twice."""
        if wanted.is_saved:
            return self._saved_spans()
        slice_of = self._uid_slice if by_uid else self._number_slice
        slices = sorted([slice_of(*ends) for ends in set(wanted.ranges)])
        spans: list[tuple[int, int]] = []
        done = 0
        for start, end in slices:
            start = max(start, done)
            if start < end:
                spans.append((start, end))
                done = end
        return spans

    def _saved_spans(self) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = []
        for uid in self.saved:
            place = bisect_left(self.uids, uid)
            if place == len(self.uids) or self.uids[place] != uid:
                continue
            if spans and spans[-1][1] == place:
                spans[-1] = spans[-1][0], place + 1
            else:
                spans.append((place, place + 1))
        return spans

    def _uid_slice(self, first: int | None, second: int | None) -> tuple[int, int]:
        last = self.uids[-1] if self.uids else 0
        low, high = sorted((last if first is None else first, last if second is None else second))
        start = bisect_left(self.uids, low)
        # No two messages have one UID, so that there is no need to look far.
        return start, bisect_right(self.uids, high, start, min(start + high - low + 1, len(self.uids)))

    def _number_slice(self, first: int | None, second: int | None) -> tuple[int, int]:
        if self.uid_only:
            raise UIDRequired("Messages have UIDs only, now that UIDONLY is enabled")
        count = len(self.uids)
        low, high = sorted((count if first is None else first, count if second is None else second))
        return max(low - 1, 0), min(high, count)

    # ------------------------------------------------------------ learning

    def absorb(self, snapshot: Snapshot) -> None:
        """Take in what changed since `modseq`; `take_updates` tells what the client must hear of it."""
        self.modseq = snapshot.info.modseq
        self.uid_next = max(self.uid_next, snapshot.info.uid_next)
        self._gone = self._gone.union(self._known(snapshot.vanished)) or _NONE
        known = bisect_right(snapshot.uids, self.uids[-1]) if self.uids else 0
        messages = zip(snapshot.uids[:known], snapshot.flags[:known], snapshot.modseqs[:known], strict=True)
        self._changed = self._changed.union([message[0] for message in messages if self._set(*message)]) or _NONE
        if known < len(snapshot.uids):
            self._append(snapshot, known)

    def learn_modseqs(self, snapshot: Snapshot) -> None:
        """
        Keep modification sequences from now on, as a whole snapshot (``since=0``) has them.

        What it says that is not known here yet has to be absorbed after it.
        """
        known = dict(zip(snapshot.uids, snapshot.modseqs, strict=True))
        self._modseqs = Modseqs([min(known.get(uid, self.modseq), self.modseq) for uid in self.uids])

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

    def forget_recent(self) -> None:
        """Let no message be \\Recent, for a client that does not know of it any more (RFC 9051 appendix E)."""
        if self.recent_count:
            self._recent = array("I")
            self.recent_count = self._told_recent = 0

    def note_flags(self, altered: Altered) -> None:
        """Note flags that the client learns from the answer to its own command: they are not told again."""
        if altered.changed and altered.modseq == self.modseq + 1:
            self.modseq = altered.modseq  # nothing else happened, so that there is nothing to ask for
        for uid, flags in altered.changed.items():
            self._set(uid, flags, altered.modseq)
        self._changed = self._changed.difference(altered.changed) or _NONE

    def tell_again(self, uids: Iterable[int]) -> None:
        """Tell of flags that the client was to learn from an answer which it never got."""
        self._changed = self._changed.union(uids) or _NONE

    def _append(self, snapshot: Snapshot, start: int) -> None:
        """Add the messages of a snapshot from this place on."""
        uids, flags, modseqs = snapshot.uids, snapshot.flags, snapshot.modseqs
        if start:
            uids, flags, modseqs = uids[start:], flags[start:], modseqs[start:]
        self.uids.extend(uids)
        for each in set(flags):
            self._kind(each)
        self._flags.extend(map(self._kind_numbers.__getitem__, flags))
        if self._modseqs is not None:
            self._modseqs.extend(modseqs)

    def _set(self, uid: int, flags: Flags, modseq: int) -> bool:
        """Give a message flags; say whether the client would see a difference."""
        number = self.number_of(uid)
        if number is None:
            return False
        kind = self._kind(flags)
        is_other = self._flags[number - 1] != kind
        self._flags[number - 1] = kind
        if self._modseqs is not None and self._modseqs[number - 1] != modseq:
            self._modseqs[number - 1] = modseq
            return True
        return is_other

    def _kind(self, flags: Flags) -> int:
        kind = self._kind_numbers.get(flags)
        if kind is None:
            kind = self._kind_numbers[flags] = len(self._kinds)
            self._kinds.append(flags)
            if not flags - SYSTEM_FLAGS <= self.keywords:
                self.keywords |= flags - SYSTEM_FLAGS
                self._new_keywords = True
        return kind

    def forget_unused(self) -> None:
        """Forget sets of flags, and keywords, that no message has any more: clients make others with each STORE."""
        used = sorted(set(self._flags))
        self._kinds = [self._kinds[kind] for kind in used]
        self._kind_numbers = dict(zip(self._kinds, count()))
        places = dict(zip(used, count()))
        self._flags = array("I", map(places.__getitem__, self._flags))
        self.keywords = in_use(self._kinds)

    def _known(self, uids: Sequence[int]) -> Iterable[int]:
        """Those of `uids` (ascending, perhaps very many) that are here."""
        if len(uids) > len(self.uids):
            return (uid for uid in self.uids if (at := bisect_left(uids, uid)) < len(uids) and uids[at] == uid)
        return (uid for uid in uids if self.number_of(uid) is not None)

    # ------------------------------------------------------------ telling

    def take_updates(self, expunges_allowed: bool, vanished: bool = False) -> list[Update]:
        """Return what the client must be told now, in this order; it counts as told.  `vanished` names UIDs."""
        updates: list[Update] = []
        if self._new_keywords:
            updates.append(Keywords(tuple(sorted(self.keywords))))
            self._new_keywords = False
        if self._gone and expunges_allowed:
            updates.extend(self._expunge(vanished))
        if len(self.uids) != self._announced:
            self._announced = len(self.uids)
            updates.append(Exists(self._announced))
        if self.recent_count > self._told_recent:
            updates.append(Recent(self.recent_count))
        self._told_recent = self.recent_count
        if self._changed:
            updates.extend(self._flag_changes())
        if not self._gone:
            self.settled = self.modseq
        if len(self._kinds) > len(self.uids) + _UNUSED:
            self.forget_unused()
        return updates

    def take_keywords(self) -> Keywords | None:
        """Return the keywords if there are new ones: the client must hear of them before it sees them in use."""
        if not self._new_keywords:
            return None
        self._new_keywords = False
        return Keywords(tuple(sorted(self.keywords)))

    def _expunge(self, vanished: bool) -> list[Expunge] | list[Vanished]:
        """Close the gaps.  From the last to the first, so that neither side has to move a message twice."""
        places = sorted((bisect_left(self.uids, uid) for uid in self._gone), reverse=True)
        self.recent_count -= sum(map(self.is_recent, self._gone))
        told = [place for place in places if place < self._announced]
        told_uids = tuple(self.uids[place] for place in reversed(told)) if vanished else ()
        self._close_gaps(places)
        self._changed = self._changed - self._gone or _NONE
        self._gone = _NONE
        self._announced -= len(told)  # a message that came and went unheard is not spoken of
        if vanished:
            return [Vanished(told_uids)] if told_uids else []
        return [Expunge(place + 1) for place in told]

    def _close_gaps(self, places: list[int]) -> None:
        if len(places) < _MANY:
            for place in places:
                del self.uids[place], self._flags[place]
                if self._modseqs is not None:
                    self._modseqs.drop(place)
            return
        kept = [uid not in self._gone for uid in self.uids]
        self._flags = array("I", (kind for kind, keep in zip(self._flags, kept, strict=True) if keep))
        self.uids = array("I", (uid for uid in self.uids if uid not in self._gone))
        if self._modseqs is not None:
            self._modseqs.keep(kept)

    def _flag_changes(self) -> list[FlagsChanged]:
        changes = []
        for uid in sorted(self._changed):
            number = self.number_of(uid)
            if number is not None and uid not in self._gone:
                modseq = self._modseqs[number - 1] if self._modseqs is not None else None
                changes.append(FlagsChanged(uid, number, self.flags_of(uid), self.is_recent(uid), modseq))
        self._changed = _NONE
        return changes
