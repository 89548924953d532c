"""Which messages of an account are in its search file, as far as is known in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mailfw.stores.index.search_file import SearchFile
from mailfw.turns import Turns

#: Bits of a row that count an account's messages, where accounts share tables (see `mailfw.stores.sqlite.schema`).
ROW_BITS = 36

_MISSING, _THERE, _GONE = range(3)


class Progress:
    """
    An octet for each row that a summary of the account ever had: is its text missing, there, or not to be had?

    `is_known` is False until the file was compared with the index.  `doubtful` are rows of which a copy went since the
    file was last rid of what is gone; any row may be that where `is_doubtful`.
    """

    def __init__(self, file: SearchFile) -> None:
        self.file = file
        self.is_known = False
        self.is_doubtful = False
        self.doubtful: set[int] = set()
        self.base = 0
        self.turns = Turns()
        self._marks = bytearray()

    @property
    def end(self) -> int:
        """The row after the last one."""
        return self.base + len(self._marks)

    def begin(self, next_row: int) -> None:
        """Take the next row that the account will give; nothing is known of any."""
        self.base = next_row >> ROW_BITS << ROW_BITS
        self._marks = bytearray(next_row - self.base)

    def grow(self, next_row: int) -> None:
        """Take it that all rows below this one have been given."""
        self._marks.extend(bytes(max(0, next_row - self.end)))

    def shrink(self, next_row: int) -> None:
        """Take it that rows from this one on are given anew: what was known of them is of other messages."""
        if next_row < self.end:
            self.doubtful.update(range(max(next_row, self.base), self.end))
            del self._marks[max(0, next_row - self.base) :]

    def are_there(self, rows: Iterable[int]) -> None:
        """Note texts that are in the file."""
        self._mark(rows, _THERE)

    def are_gone(self, rows: Iterable[int]) -> None:
        """Note rows of which there is no text to be had."""
        self._mark(rows, _GONE)

    def _mark(self, rows: Iterable[int], mark: int) -> None:
        marks, base = self._marks, self.base
        for row in rows:
            if 0 <= row - base < len(marks):
                marks[row - base] = mark

    def split(self, rows: Sequence[int]) -> tuple[set[int], bool]:
        """
        Return those of the rows whose text is there, and whether any is missing.

        These are rows of messages that are there: one that seemed to be gone has come back, and is missing.
        """
        marks, base, size = self._marks, self.base, len(self._marks)
        first, last = min(rows, default=0) - base, max(rows, default=-1) - base
        if 0 <= first <= last < size and marks.count(_THERE, first, last + 1) == last + 1 - first:
            return set(rows), False
        there: set[int] = set()
        for row in rows:
            place = row - base
            if not 0 <= place < size:
                continue
            if marks[place] == _THERE:
                there.add(row)
            else:
                marks[place] = _MISSING
        return there, len(there) < len(rows)

    def missing(self, count: int) -> list[int]:
        """Return rows whose text is missing, the newest first."""
        found: list[int] = []
        end = len(self._marks)
        while len(found) < count and (end := self._marks.rfind(_MISSING, 0, end)) >= 0:
            found.append(self.base + end)
        return found

    def there(self, first: int, last: int) -> set[int]:
        """Return the rows in a range whose text is there."""
        start = first - self.base
        return {first + at for at, mark in enumerate(self._marks[start : last + 1 - self.base]) if mark == _THERE}
