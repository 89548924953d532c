"""What changed when, so that asking for changes costs what changed and not what there is."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

#: Beyond twice as many entries the older half is forgotten.
LENGTH = 10_000


class Journal:
    """
    UIDs by the modification sequence at which something happened to them, ascending.

    Complete above `floor`.
    """

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self._modseqs: list[int] = []
        self._uids: list[int] = []

    def add(self, modseq: int, uids: Iterable[int]) -> None:
        """Note what happened at a modification sequence not below the last one."""
        before = len(self._uids)
        self._uids.extend(uids)
        self._modseqs.extend([modseq] * (len(self._uids) - before))
        if len(self._uids) > 2 * LENGTH:
            self.floor = self._modseqs[-LENGTH - 1]
            keep = bisect_right(self._modseqs, self.floor)
            del self._modseqs[:keep], self._uids[:keep]

    def since(self, modseq: int) -> set[int]:
        """Return the UIDs to which something happened after `modseq`, which is not below `floor`."""
        return set(self._uids[bisect_right(self._modseqs, modseq) :])


class Gaps(Sequence[int]):
    """Every UID below a limit that is not among those given: what may have vanished since who knows when."""

    def __init__(self, uids: Iterable[int], limit: int) -> None:
        self._starts: list[int] = []
        self._before: list[int] = []
        self._length = 0
        following = 1
        for uid in [*uids, limit]:
            if uid > following:
                self._starts.append(following)
                self._before.append(self._length)
                self._length += uid - following
            following = max(following, uid + 1)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(self._length))]
        if index < 0:
            index += self._length
        if not 0 <= index < self._length:
            raise IndexError(index)
        run = bisect_right(self._before, index) - 1
        return self._starts[run] + index - self._before[run]

    def __contains__(self, uid: object) -> bool:
        if not isinstance(uid, int):
            return False
        run = bisect_right(self._starts, uid) - 1
        return run >= 0 and uid - self._starts[run] < self._run_length(run)

    def _run_length(self, run: int) -> int:
        end = self._before[run + 1] if run + 1 < len(self._before) else self._length
        return end - self._before[run]

    def __iter__(self) -> Iterator[int]:
        for run, start in enumerate(self._starts):
            yield from range(start, start + self._run_length(run))


def positions(ordered: Sequence[int], wanted: Iterable[int]) -> list[int]:
    """Return where those of `wanted` that are in `ordered` are."""
    asked = list(wanted)
    first = bisect_left(ordered, asked[0]) if asked else 0
    if asked and list(ordered[first : first + len(asked)]) == asked:
        return list(range(first, first + len(asked)))
    found = []
    for value in asked:
        place = bisect_left(ordered, value)
        if place < len(ordered) and ordered[place] == value:
            found.append(place)
    return found
