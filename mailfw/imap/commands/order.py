"""The order of messages, by what the store has kept of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mailfw.imap.grammar_results import Criterion, SortBy
from mailfw.imap.view import View
from mailfw.mail.mailbox import Row, Want
from mailfw.mail.sorting import part_reader
from mailfw.mail.steps import Steps, in_turns, ordered

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: Messages whose keys are read before other sessions may have their turn.
_PORTION = 2000


async def in_order(
    session: Session, view: View, uids: Sequence[int], criteria: Sequence[SortBy], scores: Mapping[int, int] = {}
) -> list[int]:
    """Return messages, given ascending, in an order; of two that are equal by all criteria the first comes first."""
    readers = [_READERS[each.criterion] for each in criteria if each.criterion in _READERS]
    columns: list[list[Any]] = [[] for _ in readers]
    there: list[int] = []
    want = Want.SORT if any(each.criterion in _STORED for each in criteria) else Want.NOTHING
    async for rows in session.store.rows(session.account, view.mailbox_id, uids, want):
        for start in range(0, len(rows), _PORTION):
            portion = rows[start : start + _PORTION]
            there += [row.uid for row in portion]
            for column, read in zip(columns, readers, strict=True):
                column += read(portion)
            await session.stream.give_way()
    return await in_turns(_ordered(there, criteria, columns, scores), session.stream.give_way)


def _ordered(
    uids: list[int], criteria: Sequence[SortBy], columns: Sequence[list[Any]], scores: Mapping[int, int]
) -> Steps[list[int]]:
    places = list(range(len(uids)))
    of_rows = iter(reversed(columns))
    for each in reversed(criteria):
        # The best come first: RFC 6203 section 4.
        by_score = each.criterion is Criterion.RELEVANCY
        column = [-scores.get(uid, 0) for uid in uids] if by_score else next(of_rows)
        places = yield from ordered(places, column.__getitem__, each.reverse)
        yield
    return [uids[place] for place in places]


def sent(rows: Sequence[Row]) -> list[int]:
    """Return when messages were sent or, where that is not to be read, received: RFC 5256 section 2.2."""
    return [int(date) if (date := (row.sort or b"").split(b"\0", 1)[0]) else row.received for row in rows]


def _stored(name: str) -> Callable[[Sequence[Row]], list[Any]]:
    read = part_reader(name)
    return lambda rows: [read(row.sort) if row.sort else b"" for row in rows]


_STORED: dict[Criterion, Callable[[Sequence[Row]], list[Any]]] = {
    Criterion.DATE: sent,
    Criterion.CC: _stored("copied"),
    Criterion.FROM: _stored("sender"),
    Criterion.SUBJECT: _stored("subject"),
    Criterion.TO: _stored("recipient"),
    Criterion.DISPLAYFROM: _stored("shown_sender"),
    Criterion.DISPLAYTO: _stored("shown_recipient"),
}
_READERS: dict[Criterion, Callable[[Sequence[Row]], list[Any]]] = {
    Criterion.ARRIVAL: lambda rows: [row.received for row in rows],
    Criterion.SIZE: lambda rows: [row.size for row in rows],
    **_STORED,
}
