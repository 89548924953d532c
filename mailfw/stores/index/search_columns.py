"""
Fields of all messages of an account in one string each, kept in memory for whoever looks for another text in them.

Looking through a string takes a hundredth of the time of reading the rows that it was made of.
"""

from __future__ import annotations

import sqlite3
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Hashable

#: What is kept of all accounts together, in octets; a column that takes more than a part of it is not kept.
CAPACITY = 32 * 2**20
_PART = 4

#: Between two values: no folded text has it.
_END = b"\0"


class FieldTexts:
    """Values of a field, of each row that has it."""

    def __init__(self, rows: array[int], values: list[bytes]) -> None:
        self._rows = rows
        self._text = _END.join(values) + _END
        self._ends = array("Q")
        end = 0
        for value in values:
            end += len(value) + 1
            self._ends.append(end)

    def __len__(self) -> int:
        return len(self._text) + 16 * len(self._rows)

    def having(self, text: bytes) -> set[int]:
        """Return the rows whose value contains a text, which is not empty."""
        found: set[int] = set()
        if _END in text:
            return found
        rows, ends, find = self._rows, self._ends, self._text.find
        at = find(text)
        while at >= 0:
            place = bisect_right(ends, at)
            found.add(rows[place])
            at = find(text, ends[place])
        return found


class KeptTexts:
    """Keeps columns of search files, as they are at a number of changes; used by several threads."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Hashable, str], tuple[int, FieldTexts | None]] = OrderedDict()
        self._weight = 0

    def of(self, file: Hashable, connection: sqlite3.Connection, column: str) -> FieldTexts | None:
        """Return a column of a file, None if it is too large.  Blocks."""
        key, changes = (file, column), connection.total_changes  # ours is the only connection
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept[0] == changes:
                self._kept.move_to_end(key)
                return kept[1]
        texts = _load(connection, column, self._capacity // _PART)
        with self._lock:
            self._drop(key)
            self._kept[key] = changes, texts
            self._weight += len(texts) if texts is not None else 0
            while self._weight > self._capacity:
                self._drop(next(iter(self._kept)))
        return texts

    def forget(self, file: Hashable) -> None:
        """Forget a file that is closed: it may be another when it is opened the next time."""
        with self._lock:
            for key in [key for key in self._kept if key[0] is file]:
                self._drop(key)

    def _drop(self, key: tuple[Hashable, str]) -> None:
        _, texts = self._kept.pop(key, (0, None))
        self._weight -= len(texts) if texts is not None else 0


def _load(connection: sqlite3.Connection, column: str, limit: int) -> FieldTexts | None:
    rows, values, octets = array("Q"), list[bytes](), 0
    query = f"SELECT row, CAST({column} AS BLOB) FROM email WHERE {column} NOTNULL"  # noqa: S608 -- ours
    for row, value in connection.execute(query):
        rows.append(row)
        values.append(value)
        octets += len(value) + 16
        if octets > limit:
            return None
    return FieldTexts(rows, values)
