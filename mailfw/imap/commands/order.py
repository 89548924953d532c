"""The order of messages, by what the store has kept of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mailfw.imap.commands.columns import columns
from mailfw.imap.grammar_results import Criterion, SortBy
from mailfw.imap.view import View
from mailfw.mail.columns import Columns
from mailfw.mail.mailbox import Want
from mailfw.mail.sorting import part_reader
from mailfw.mail.steps import Steps, in_turns, ordered

if TYPE_CHECKING:
    from mailfw.imap.server import Session


async def in_order(
    session: Session, view: View, uids: Sequence[int], criteria: Sequence[SortBy], scores: Mapping[int, int] = {}
) -> list[int]:
    """Return messages, given ascending, in an order; of two that are equal by all criteria the first comes first."""
    readers = [_READERS[each.criterion] for each in criteria if each.criterion in _READERS]
    keys: list[list[Any]] = [[] for _ in readers]
    there: list[int] = []
    want = Want.SORT if any(each.criterion in _STORED for each in criteria) else Want.NOTHING
    async for batch in columns(session, view, uids, want):
        there += batch.uids
        for column, read in zip(keys, readers, strict=True):
            column += read(batch)
    return await in_turns(_ordered(there, criteria, keys, scores), session.stream.give_way)


def _ordered(
    uids: list[int], criteria: Sequence[SortBy], columns: Sequence[list[Any]], scores: Mapping[int, int]
) -> Steps[list[int]]:
    places = list(range(len(uids)))
    of_rows = iter(reversed(columns))
    for each in reversed(criteria):
        # The best come first: RFC 6203 section 6.
        by_score = each.criterion is Criterion.RELEVANCY
        column = [-scores.get(uid, 0) for uid in uids] if by_score else next(of_rows)
        places = yield from ordered(places, column.__getitem__, each.reverse)
        yield
    return [uids[place] for place in places]


def sent(batch: Columns) -> list[int]:
    """Return when messages were sent."""
    return dated([keys[: keys.index(b"\0")] for keys in batch.sort], batch.received)


def dated(dates: Sequence[bytes], received: Sequence[int]) -> list[int]:
    """Return dates as `SortKeys.encode` writes them or, where there is none, internal dates: RFC 5256 section 2.2."""
    return [int(date) if date else other for date, other in zip(dates, received, strict=True)]


def _stored(name: str) -> Callable[[Columns], list[Any]]:
    read = part_reader(name)
    return lambda batch: list(map(read, batch.sort))


_STORED: dict[Criterion, Callable[[Columns], list[Any]]] = {
    Criterion.DATE: sent,
    Criterion.CC: _stored("copied"),
    Criterion.FROM: _stored("sender"),
    Criterion.SUBJECT: _stored("subject"),
    Criterion.TO: _stored("recipient"),
    Criterion.DISPLAYFROM: _stored("shown_sender"),
    Criterion.DISPLAYTO: _stored("shown_recipient"),
}
_READERS: dict[Criterion, Callable[[Columns], Sequence[Any]]] = {
    Criterion.ARRIVAL: lambda batch: batch.received,
    Criterion.SIZE: lambda batch: batch.sizes,
    **_STORED,
}
