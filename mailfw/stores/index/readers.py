"""What those with whom a mailbox is shared have seen of it."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from mailfw.mail.personal import Mark
from mailfw.stores.index.journal import Journal, positions

#: So many marks are taken out one by one; for more the arrays are made anew.
FEW = 16


class Reader:
    """
    One user's marks in a mailbox, by ascending UID, in parallel arrays; 13 octets each.

    `seen` is how many of them say that a message was seen.  What was seen and is no longer keeps its mark, since
    whoever asks for changes has to hear of it.
    """

    def __init__(self, modseq: int, rows: Sequence[tuple[int, int, int]] = ()) -> None:
        self._uids = array("I", [row[0] for row in rows])
        self._modseqs = array("Q", [row[1] for row in rows])
        self._seen = bytearray(row[2] for row in rows)
        self._changed = Journal(modseq)
        self.seen = sum(self._seen)

    def __len__(self) -> int:
        return len(self._uids)

    def mark(self, uid: int) -> Mark | None:
        """Return the mark of a message."""
        place = bisect_left(self._uids, uid)
        if place == len(self._uids) or self._uids[place] != uid:
            return None
        return Mark(uid, self._modseqs[place], bool(self._seen[place]))

    def all(self) -> dict[int, Mark]:
        """Return every mark, by UID."""
        columns = zip(self._uids, self._modseqs, self._seen, strict=True)
        return {uid: Mark(uid, modseq, bool(seen)) for uid, modseq, seen in columns}

    def since(self, modseq: int) -> Iterable[int]:
        """Return the UIDs of the marks that changed after a modification sequence."""
        if modseq >= self._changed.floor:
            return self._changed.since(modseq)
        return [uid for uid, each in zip(self._uids, self._modseqs, strict=True) if each > modseq]

    # ------------------------------------------------------------ after a commit

    def set(self, modseq: int, marked: Mapping[int, bool]) -> None:
        """Mark messages, as seen or not."""
        for uid, seen in sorted(marked.items()):
            place = bisect_left(self._uids, uid)
            if place == len(self._uids) or self._uids[place] != uid:
                self._uids.insert(place, uid)
                self._modseqs.insert(place, modseq)
                self._seen.insert(place, 0)
            self.seen += seen - self._seen[place]
            self._modseqs[place], self._seen[place] = modseq, seen
        self._changed.add(modseq, marked)

    def drop(self, uids: Sequence[int]) -> None:
        """Forget messages that are gone, ascending."""
        places = positions(self._uids, uids)
        self.seen -= sum([self._seen[place] for place in places])
        if len(places) < FEW:
            for place in reversed(places):
                del self._uids[place], self._modseqs[place], self._seen[place]
            return
        gone = set(places)
        kept = [place for place in range(len(self._uids)) if place not in gone]
        self._uids = array("I", [self._uids[place] for place in kept])
        self._modseqs = array("Q", [self._modseqs[place] for place in kept])
        self._seen = bytearray([self._seen[place] for place in kept])
