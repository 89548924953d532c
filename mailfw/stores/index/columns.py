"""Columns of mailboxes, read from the index and kept for whoever asks again: what is in them never changes."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Any

from mailfw.mail.columns import Columns
from mailfw.mail.failure import NoSuchMailbox
from mailfw.mail.mailbox import Want
from mailfw.stores.index.account import ATTEMPTS
from mailfw.stores.index.mailbox import Messages
from mailfw.stores.index.reading import Readable

#: What is kept for all accounts together, in octets.
CAPACITY = 32 * 2**20

#: What a value costs besides its octets: objects, and its place in a dict.
_OVERHEAD = 150

#: Messages of one batch of columns.
BATCH = 4096

#: So many rows are passed over for each one that is read, rather than naming all that are.
_SPARSE = 4

_NAMES = {Want.SENT: "sent", Want.SORT: "sort", Want.THREAD: "ids"}
_MISSING = object()

Column = dict[int, Any]


class KeptColumns:
    """Columns, each a dict by UID; where they exceed `capacity` those go that nobody asked for longest."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._columns: OrderedDict[Hashable, Column] = OrderedDict()
        self._weights: dict[Hashable, int] = {}
        self._weight = 0

    def of(self, key: Hashable) -> Column:
        """Return what is kept of a column."""
        column = self._columns.setdefault(key, {})
        self._columns.move_to_end(key)
        return column

    def add(self, key: Hashable, found: Mapping[int, Any]) -> Column:
        """Keep more of a column; returns all of it, though it may be too much to be kept."""
        column = self.of(key)
        column.update(found)
        weight = len(found) * _OVERHEAD
        if isinstance(next(iter(found.values()), None), bytes):
            weight += sum(map(len, found.values()))
        self._weights[key] = self._weights.get(key, 0) + weight
        self._weight += weight
        while self._weight > self._capacity:
            oldest, _ = self._columns.popitem(last=False)
            self._weight -= self._weights.pop(oldest, 0)
        return column


class ColumnReader:
    """Reads columns of one account, which has the number `reader` as long as a UID of it stands for one message."""

    def __init__(self, account: Readable, kept: KeptColumns, reader: int) -> None:
        self._account = account
        self._kept = kept
        self._reader = reader

    async def read(self, id_: str, asked: Sequence[int], want: Want) -> Columns:
        """Return columns of those of these messages that are there.  Raises `NoSuchMailbox`."""
        account = self._account
        gone: set[int] = set()
        for _ in range(ATTEMPTS):
            box = account.box(id_)
            messages = box.messages
            if messages is None:
                box, messages = await account.messages(id_)
            places = messages.places(asked)
            if gone:
                places = [place for place in places if messages.uids[place] not in gone]
            uids = picked(messages.uids, places)
            keys = {name: (self._reader, id_, box.uid_validity, name) for flag, name in _NAMES.items() if flag in want}
            found = {name: list(map(self._kept.of(key).get, uids, repeat(_MISSING))) for name, key in keys.items()}
            missing = _missing(uids, found)
            if not missing:
                return Columns(uids, picked(messages.received, places), picked(messages.sizes, places), **found)
            read = await account.read(_query(box.row, missing, messages, list(keys)))
            for name, key in keys.items():
                self._kept.add(key, read[name])
            gone.update(set(missing).difference(read[next(iter(keys))]))
        raise NoSuchMailbox("the mailbox cannot be read")


def picked(column: array[int], places: Sequence[int]) -> Sequence[int]:
    """Return what is at ascending places, quickly where they are a run."""
    if places and places[-1] - places[0] + 1 == len(places):
        return column[places[0] : places[-1] + 1]
    return [column[place] for place in places]


def _missing(uids: Sequence[int], found: Mapping[str, Sequence[object]]) -> list[int]:
    """Return the UIDs of which a column is not known, ascending."""
    missing: set[int] = set()
    for values in found.values():
        count = values.count(_MISSING)
        if count == len(uids):
            return list(uids)
        if count:
            missing.update(uid for uid, value in zip(uids, values, strict=True) if value is _MISSING)
    return sorted(missing)


def _query(
    row: int, uids: Sequence[int], messages: Messages, names: Sequence[str]
) -> Callable[[sqlite3.Connection], dict[str, Column]]:
    """Return what reads columns of messages, and of others between them where that is cheaper."""
    first, last = messages.places((uids[0], uids[-1]))
    if last - first < len(uids) * _SPARSE:
        return partial(_find, names=names, among="BETWEEN ? AND ?", parameters=(row, uids[0], uids[-1]))
    return partial(_find, names=names, among="IN (SELECT value FROM json_each(?))", parameters=(row, json.dumps(uids)))


def _find(
    connection: sqlite3.Connection, names: Sequence[str], among: str, parameters: tuple[object, ...]
) -> dict[str, Column]:
    found = connection.execute(
        f"SELECT uid, {', '.join(names)} FROM message CROSS JOIN email ON email.row = message.email "  # noqa: S608 -- ours
        f"WHERE mailbox = ? AND uid {among}",
        parameters,
    )
    if len(names) == 1:
        return {names[0]: dict(found)}
    rows = found.fetchall()
    return {name: {row[0]: row[at] for row in rows} for at, name in enumerate(names, 1)}


def portions(uids: Sequence[int]) -> list[Sequence[int]]:
    """Return UIDs in portions that are read at once."""
    return [uids[start : start + BATCH] for start in range(0, len(uids), BATCH)]
