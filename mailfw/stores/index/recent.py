"""What lasts of the rows read lately, kept in memory: a message's summary, date and email id never change."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial

from mailfw.mail.mailbox import Row, Want
from mailfw.stores.index import queries
from mailfw.stores.index.columns import ColumnReader, KeptColumns
from mailfw.stores.index.mailbox import Messages
from mailfw.stores.index.queries import Lasting
from mailfw.stores.index.reading import Readable

#: What is kept for all accounts together, in octets.
CAPACITY = 32 * 2**20

#: What a row costs besides its octets: objects, and its place in a dict.
_OVERHEAD = 400

#: Messages whose rows are read at once, and how many of those that are narrow: what a search, a sort or a thread wants.
BATCH, NARROW_BATCH = 256, 2048
_NARROW = Want.SENT | Want.SORT | Want.THREAD | Want.SAVED

#: More messages than this, asked for at once, pass by: one look through a very large mailbox would push out all else.
PASSING = 20_000

_ENVELOPE, _BODY, _BODYSTRUCTURE = Want.ENVELOPE.value, Want.BODY.value, Want.BODYSTRUCTURE.value
_PARTS, _FIELDS, _SENT = Want.PARTS.value, Want.FIELDS.value, Want.SENT.value
_SAVED = Want.SAVED.value
_PREVIEW, _SORT, _THREAD = Want.PREVIEW.value, Want.SORT.value, Want.THREAD.value


def batch_size(want: Want) -> int:
    """Return how many rows are read at once that carry what is wanted."""
    return BATCH if want.value & ~_NARROW.value else NARROW_BATCH


class RecentRows:
    """
    Keeps what lasts of rows, by numbers of the caller's, in two generations: finding one costs a look in a dict.

    When the young have half the capacity they become the old; old ones nobody asked for meanwhile are forgotten.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._half = capacity // 2
        self._young: dict[int, Lasting] = {}
        self._old: dict[int, Lasting] = {}
        self._weight = 0
        #: Those of whole mailboxes, which are kept apart.
        self.columns = KeptColumns()

    def find(self, number: int, want: int) -> Lasting | None:
        """Return a row that has at least what is wanted."""
        found = self._young.get(number)
        if found is None:
            found = self._old.get(number)
            if found is None:
                return None
            self._add(number, found)
        return found if not want & ~found[0] else None

    def keep(self, number: int, row: Lasting) -> Lasting:
        """Keep a row, joined with what was kept of it; returns that."""
        before = self.find(number, 0)
        if before is not None:
            row = _joined(before, row)
        self._add(number, row)
        return row

    def _add(self, number: int, row: Lasting) -> None:
        self._young[number] = row
        self._weight += _weight(row)
        if self._weight > self._half:
            self._old, self._young, self._weight = self._young, {}, 0


def _weight(row: Lasting) -> int:
    _, _, _, envelope, body, bodystructure, parts, fields, _, preview, sort, thread, ids = row
    octets = (
        len(envelope or b"") + len(body or b"") + len(bodystructure or b"") + len(parts or b"") + len(fields or b"")
    )
    return _OVERHEAD + octets + len(preview or "") + len(sort or b"") + len(thread or "") + len(ids or b"")


def _joined(one: Lasting, other: Lasting) -> Lasting:
    columns = [before if after is None else after for before, after in zip(one[3:], other[3:], strict=True)]
    return (one[0] | other[0], *one[1:3], *columns)  # type: ignore[return-value] # mypy cannot count columns


class RowReader:
    """
    Reads the rows of one account, for as long as its state is in memory: rows of summaries may change after.

    What was read is known `by` the column of the index that `Messages.emails` has.
    """

    def __init__(self, account: Readable, recent: RecentRows, by: str = "email") -> None:
        self._by = by
        self._account = account
        self._recent = recent
        number = next(_readers)
        self._first_number = number << 64
        self.columns = ColumnReader(account, recent.columns, number)

    async def read(self, id_: str, uids: Sequence[int], want: Want, keeps: bool = True) -> list[Row]:
        """
        Return the rows of messages, ascending.  Raises `NoSuchMailbox`.

        A mailbox that is not in memory is not read for the sake of a few rows.
        """
        if not want.value & _SAVED:
            return await self._read(id_, uids, want, keeps)
        rows = await self._read(id_, uids, want ^ Want.SAVED, keeps)
        # Two messages with one summary came at different times, so this is not among what is kept of it.
        query = partial(queries.find_saved, row=self._account.box(id_).row, uids=[row.uid for row in rows])
        saved = await self._account.read(query)
        for row in rows:
            row.saved = saved.get(row.uid)
        return rows

    async def _read(self, id_: str, uids: Sequence[int], want: Want, keeps: bool) -> list[Row]:
        account = self._account
        box = account.box(id_)
        if box.messages is None:
            return await account.read(partial(queries.find_rows, row=box.row, uids=uids, want=want))
        places = box.messages.places(uids)
        lasting, missing = self._find(box.messages, places, want)
        if missing:
            query = partial(queries.find_lasting, row=box.row, uids=missing, want=want, by=self._by)
            for email, found in await account.read(query):
                lasting[email] = self._recent.keep(self._first_number + email, found) if keeps else found
            if account.box(id_).messages is not box.messages or box.messages is None:
                return await self._read(id_, uids, want, keeps)
            places = box.messages.places(uids)
        return _rows(box.messages, places, lasting, want)

    def _find(self, messages: Messages, places: Sequence[int], want: Want) -> tuple[dict[int, Lasting], list[int]]:
        """Return what is kept of messages, by the row of the summary, and the UIDs of which nothing is."""
        find, first, asked = self._recent.find, self._first_number, want.value
        lasting, missing = dict[int, Lasting](), list[int]()
        for place in places:
            email = messages.emails[place]
            found = find(first + email, asked)
            if found is None:
                missing.append(messages.uids[place])
            else:
                lasting[email] = found
        return lasting, missing


_readers = itertools.count()


def _rows(messages: Messages, places: Sequence[int], lasting: Mapping[int, Lasting], want: Want) -> list[Row]:
    """Return the rows at these places: what lasts, by the row of the summary, and what the messages are now."""
    asked = want.value
    envelope, body, bodystructure = asked & _ENVELOPE, asked & _BODY, asked & _BODYSTRUCTURE
    parts, fields, sent = asked & _PARTS, asked & _FIELDS, asked & _SENT
    preview, sort, thread = asked & _PREVIEW, asked & _SORT, asked & _THREAD
    uids, modseqs, flags = messages.uids, messages.modseqs, messages.flags
    sizes, emails = messages.sizes, messages.emails
    return [
        Row(
            uids[place],
            modseqs[place],
            flags[place],
            sizes[place],
            kept[1],
            kept[2],
            kept[3] if envelope else None,
            kept[4] if body else None,
            kept[5] if bodystructure else None,
            kept[6] if parts else None,
            kept[7] if fields else None,
            kept[8] if sent else None,
            kept[9] if preview else None,
            kept[10] if sort else None,
            kept[11] if thread else None,
            kept[12] if thread else None,
        )
        for place in places
        if (kept := lasting.get(emails[place])) is not None
    ]
