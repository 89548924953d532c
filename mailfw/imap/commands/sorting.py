"""SORT and UID SORT: messages in an order, by what the store has kept of each."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mailfw.imap import grammar_results, grammar_search, limiting, responses, results
from mailfw.imap.commands import contexts, search
from mailfw.imap.commands.finder import Finder, TookTooLong
from mailfw.imap.commands.order import in_order
from mailfw.imap.grammar_results import Criterion, Return, SortBy
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion

if TYPE_CHECKING:
    from mailfw.imap.server import Session


async def sort(session: Session, cursor: Cursor, by_uid: bool) -> Completion:
    """RFC 5256 section 3, with the RETURN of RFC 5267 section 3."""
    wanted = grammar_results.returns(cursor, b"ESORT")
    cursor.space()
    criteria = grammar_results.sort_criteria(cursor)
    cursor.space()
    key = search.keys_of(cursor, search.reading(session, grammar_search.search_in_charset))
    if isinstance(key, Completion):
        search.forget(session, wanted)
        return key
    search.check_wanted(session, wanted, key, _is_by_score(criteria))
    view = session.selected
    await search.make_ready(session, key)
    finder = Finder(session, view, key)
    refused = limiting.unordered(session, view, key)
    if refused is not None:
        search.forget(session, wanted)
        return refused
    try:
        with search.saving(session, wanted):
            found = await finder.find()
            scores = await finder.scores(found) if _is_by_score(criteria) else {}
            ordered = await _order(session, found, criteria, scores)
            result = await search.measured(finder, wanted, ordered)
    except TookTooLong:
        return search.TOO_LONG
    await session.stream.give_way()
    if wanted is None:
        numbers = ordered if by_uid else search.in_numbers(view, ordered)
        session.stream.write(results.listed(b"SORT", numbers, result.modseq))
        return responses.ok("Sorted")
    if Return.UPDATE in wanted.options:
        if scores:
            contexts.refuse(session)
        else:
            contexts.keep(
                session, contexts.Context(session.tag, by_uid, key, view, array("I", ordered), criteria), wanted.fetch
            )
    await search.answer(session, by_uid, wanted, result)
    return responses.ok("Sorted")


def _is_by_score(criteria: Sequence[SortBy]) -> bool:
    return any(each.criterion is Criterion.RELEVANCY for each in criteria)


async def _order(
    session: Session, found: Sequence[int], criteria: Sequence[SortBy], scores: Mapping[int, int]
) -> list[int]:
    question = session.account, session.selected.place, criteria
    known: array[int] | None = None if scores else session.answered.get(question, found)
    if known is not None:
        return list(known)
    ordered = await in_order(session, session.selected, found, criteria, scores)
    if not scores:
        session.answered.keep(question, found, array("I", ordered))
    return ordered
