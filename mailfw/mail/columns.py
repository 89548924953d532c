"""What whole mailboxes are found, sorted and threaded by, message by message in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailfw.mail.mailbox import Row, Want
from mailfw.mail.sorting import SortKeys

_NO_KEYS = SortKeys().encode()


@dataclass(frozen=True, slots=True)
class Columns:
    """
    Messages by ascending UID, in columns that run parallel to `uids`.

    `sent`, `sort` and `ids` are those of `mailfw.mail.mailbox.Row`, and empty where they are not wanted.
    """

    uids: Sequence[int]
    received: Sequence[int]
    sizes: Sequence[int]
    sent: Sequence[int | None] = ()
    sort: Sequence[bytes] = ()
    ids: Sequence[bytes] = ()


def columns_of(rows: Sequence[Row], want: Want) -> Columns:
    """Return rows, which have what is wanted, as columns."""
    return Columns(
        [row.uid for row in rows],
        [row.received for row in rows],
        [row.size for row in rows],
        [row.sent for row in rows] if Want.SENT in want else (),
        [row.sort or _NO_KEYS for row in rows] if Want.SORT in want else (),
        [row.ids or b"" for row in rows] if Want.THREAD in want else (),
    )
