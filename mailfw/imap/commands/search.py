"""SEARCH and UID SEARCH: which messages match."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from mailfw.imap import fuzzy, grammar_results, grammar_search, responses, results
from mailfw.imap.commands import contexts
from mailfw.imap.commands.finder import Finder, TookTooLong, make_ready
from mailfw.imap.grammar_results import Page, Return, Wanted
from mailfw.imap.keys import And
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.responses import Completion
from mailfw.imap.view import View

if TYPE_CHECKING:
    from mailfw.imap.server import Session

_ALL = Wanted(frozenset({Return.ALL}))

TOO_LONG = responses.no("That search takes too long; look for less, or in fewer messages", b"LIMIT")


async def search(session: Session, cursor: Cursor, by_uid: bool) -> Completion:
    """RFC 3501 sections 6.4.4 and 6.4.8, RFC 4731; RFC 9051 section 6.4.4 has no other answer than ESEARCH."""
    wanted = grammar_results.returns(cursor, b"ESEARCH")
    key = keys_of(cursor, reading(session))
    if isinstance(key, Completion):
        return failed(session, wanted, key)
    check_wanted(wanted, key)
    view = session.selected
    await make_ready(session, key)
    finder = Finder(session, view, key)
    try:
        found = await finder.find()
        extended = wanted or (_ALL if session.is_rev2 else None)
        result = await measured(finder, extended, found)
    except TookTooLong:
        return failed(session, wanted, TOO_LONG)
    if extended is None:
        numbers = found if by_uid else view.numbers_of(found)
        session.stream.write(results.listed(b"SEARCH", numbers, result.modseq))
        return responses.ok("Searched")
    if Return.UPDATE in extended.options:
        contexts.keep(session, contexts.Context(session.tag, by_uid, key, view, found))
    answer(session, by_uid, extended, result)
    return responses.ok("Searched")


def failed(session: Session, wanted: Wanted | None, completion: Completion) -> Completion:
    """RFC 5182 section 2.1: what was to be saved is nothing then."""
    if wanted is not None and Return.SAVE in wanted.options:
        session.selected.saved = ()
    return completion


def reading(session: Session) -> Callable[[Cursor], And]:
    """Return what reads the keys of a session: RFC 6855 section 3 has no charset named, RFC 9051 allows it again."""
    return partial(grammar_search.search, with_charset=session.is_rev2 or b"UTF8=ACCEPT" not in session.enabled)


def keys_of(cursor: Cursor, read: Callable[[Cursor], And]) -> And | Completion:
    """Read a search, or say that its charset is not known."""
    try:
        return read(cursor)
    except grammar_search.UnknownCharset:
        code = b"BADCHARSET (%b)" % b" ".join(grammar_search.CHARSETS)
        return responses.no("That charset is not known here", code)


def check_wanted(wanted: Wanted | None, key: And) -> None:
    """Refuse what cannot be asked of a search: RFC 6203 section 4."""
    if wanted is not None and Return.RELEVANCY in wanted.options and not fuzzy.has_fuzzy(key):
        raise BadSyntax("Without FUZZY there is no RELEVANCY")


# ---------------------------------------------------------------- results


@dataclass(slots=True)
class Result:
    """UIDs in the order of the answer, with the modification sequence and the scores that belong to them."""

    uids: Sequence[int]
    modseq: int | None = None
    scores: Sequence[int] = field(default_factory=tuple)


async def measured(finder: Finder, wanted: Wanted | None, uids: Sequence[int]) -> Result:
    """Return a result with all that the answer needs to say of it."""
    result = Result(uids)
    result.modseq = finder.modseq_of(sorted(uids if wanted is None else saved(wanted, uids)))
    if wanted is not None and Return.RELEVANCY in wanted.options:
        scores = await finder.scores(sorted(uids))
        result.scores = [scores[uid] for uid in uids]
    return result


def answer(session: Session, by_uid: bool, wanted: Wanted, result: Result) -> None:
    """Save the result if that is wanted, and send ESEARCH if anything else is."""
    view = session.selected
    if Return.SAVE in wanted.options:
        view.saved = sorted(saved(wanted, result.uids))
    if wanted.is_silent:
        return
    numbers = result.uids if by_uid else in_numbers(view, result.uids)
    items = results.items(wanted, numbers, result.modseq, result.scores)
    session.stream.write(results.esearch(session.tag, by_uid, items))


def in_numbers(view: View, uids: Sequence[int]) -> Sequence[int]:
    """Return message numbers in the order of the UIDs, whatever that is."""
    ascending = sorted(uids)
    numbers = dict(zip(ascending, view.numbers_of(ascending), strict=True))
    return [numbers[uid] for uid in uids]


def saved(wanted: Wanted, uids: Sequence[int]) -> Sequence[int]:
    """
    Return what of a result is saved, and whose modification sequences count.

    RFC 5182 section 2.1, RFC 7162 section 3.1.10, RFC 9394 section 3.3: all, unless only some is asked for.
    """
    options, page = wanted.options, wanted.page
    some = {Return.MIN, Return.MAX} & options
    if not uids or {Return.ALL, Return.COUNT} & options or not (some or page):
        return uids
    found: set[int] = set(_paged(page, uids))
    if Return.MIN in some:
        found.add(uids[0])
    if Return.MAX in some:
        found.add(uids[-1])
    return sorted(found)


def _paged(page: Page | None, uids: Sequence[int]) -> Sequence[int]:
    return page.of(uids) if page is not None else ()
