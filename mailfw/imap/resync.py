"""What a client that comes back has missed (RFC 7162 section 3.2): of what it knows, and as little as possible."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from mailfw.imap.grammar import Resync
from mailfw.imap.lexer import SequenceSet
from mailfw.imap.responses import runs
from mailfw.imap.view import View
from mailfw.mail.mailbox import Snapshot

#: Ranges of numbers, ascending, without overlap.
Ranges = Sequence[tuple[int, int]]

#: More pairs of number and UID, which save some octets at best, are not looked at.
_PAIRS = 10_000
#: The greatest UID there could be.
_LAST = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Missed:
    """What has changed since a client was here; `is_whole` says that it is everything (``since=0``)."""

    wanted: Resync
    changes: Snapshot
    is_whole: bool

    def gone(self, view: View) -> Ranges:
        """Return which UIDs to report as gone, of those that the client knows."""
        missing = gone(view, self.changes, self.is_whole)
        certain = _certain(view, self.wanted)
        if certain:
            missing = [(max(low, certain + 1), high) for low, high in missing if high > certain]
        return missing if self.wanted.known is None else common(missing, normal(self.wanted.known))

    def changed(self) -> Sequence[int]:
        """Return the messages that have changed, of those that the client knows."""
        uids, known = self.changes.uids, self.wanted.known
        if known is None:
            return uids
        found: list[int] = []
        for low, high in normal(known):
            found.extend(uids[bisect_left(uids, low) : bisect_right(uids, high)])
        return found


def gone(view: View, changes: Snapshot, is_whole: bool) -> Ranges:
    """
    Return which UIDs are gone, and perhaps others that are not there (see `Snapshot`).

    What is in the view is never among them: its client is told of that by and by.
    """
    if is_whole or len(changes.vanished) > len(view):
        return list(_gaps(view))
    return runs(uid for uid in changes.vanished if view.number_of(uid) is None)


def _certain(view: View, wanted: Resync) -> int:
    """
    Return up to which UID nothing that the client knew is gone.

    A message that still has the number it had has none before it that went (RFC 7162 section 3.2.5.2).
    """
    if wanted.numbers is None or wanted.uids is None:
        return 0
    pairs = zip(_each(wanted.numbers), _each(wanted.uids), strict=False)
    return max((uid for number, uid in islice(pairs, _PAIRS) if view.number_of(uid) == number), default=0)


def _each(numbers: SequenceSet) -> Iterator[int]:
    for low, high in normal(numbers):
        yield from range(low, high + 1)


def normal(wanted: SequenceSet) -> list[tuple[int, int]]:
    """Return the ranges of a set, ascending and drawn together; ``*`` is whatever comes last."""
    ordered: list[tuple[int, int]] = []
    ends = [(_LAST if a is None else a, _LAST if b is None else b) for a, b in wanted.ranges]
    for low, high in sorted((min(pair), max(pair)) for pair in ends):
        if ordered and low <= ordered[-1][1] + 1:
            ordered[-1] = ordered[-1][0], max(ordered[-1][1], high)
        else:
            ordered.append((low, high))
    return ordered


def _gaps(view: View) -> Iterator[tuple[int, int]]:
    following = 1
    for uid in view.uids:
        if uid > following:
            yield following, uid - 1
        following = uid + 1
    if following < view.uid_next:
        yield following, view.uid_next - 1


def common(ranges: Iterable[tuple[int, int]], others: Ranges) -> list[tuple[int, int]]:
    """Return what two ascending lists of ranges have in common."""
    found: list[tuple[int, int]] = []
    at = 0
    for low, high in ranges:
        while at < len(others) and others[at][1] < low:
            at += 1
        here = at
        while here < len(others) and others[here][0] <= high:
            found.append((max(low, others[here][0]), min(high, others[here][1])))
            here += 1
    return found
