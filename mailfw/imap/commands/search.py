"""SEARCH and UID SEARCH: which messages match."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from mailfw.imap import fuzzy, grammar_results, grammar_search, limiting, responses, results, telling
from mailfw.imap.commands import contexts
from mailfw.imap.commands.finder import Finder, TookTooLong
from mailfw.imap.grammar_pages import Page
from mailfw.imap.grammar_results import Return, Wanted
from mailfw.imap.keys import And, HasChanged, IsAmong
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.matching import leaves
from mailfw.imap.responses import Completion
from mailfw.imap.view import View

if TYPE_CHECKING:
    from mailfw.imap.server import Session

_ALL = Wanted(frozenset({Return.ALL}))

#: From one in so many messages on all are numbered together.
_SOME = 8

TOO_LONG = responses.no("That search takes too long; look for less, or in fewer messages", b"LIMIT")


async def search(session: Session, cursor: Cursor, by_uid: bool) -> Completion:
    """RFC 3501 sections 6.4.4 and 6.4.8, RFC 4731; RFC 9051 section 6.4.4 has no other answer than ESEARCH."""
    wanted = grammar_results.returns(cursor, b"ESEARCH")
    key = keys_of(cursor, reading(session))
    if isinstance(key, Completion):
        forget(session, wanted)
        return key
    check_wanted(session, wanted, key)
    view = session.selected
    await make_ready(session, key)
    finder = Finder(session, view, key)
    extended = wanted or (_ALL if session.is_rev2 else None)
    among = limiting.searched(session, view, key)
    try:
        with saving(session, wanted):
            found = await finder.find(among)
            result = await measured(finder, extended, found)
    except TookTooLong:
        return TOO_LONG
    if extended is None:
        numbers = found if by_uid else view.numbers_of(found)
        await session.stream.give_way()
        session.stream.write(results.listed(b"SEARCH", numbers, result.modseq))
        return responses.ok("Searched")
    if Return.UPDATE in extended.options:
        if among is None:
            contexts.keep(session, contexts.Context(session.tag, by_uid, key, view, array("I", found)), extended.fetch)
        else:
            contexts.refuse(session)
    await answer(session, by_uid, extended, result)
    return responses.ok("Searched")


async def make_ready(session: Session, key: And) -> None:
    """Let the selected mailbox be searched: a client that asks for MODSEQ knows of them (RFC 7162 section 3.1)."""
    parts = list(leaves(key))
    session.names_numbers = any(
        isinstance(part, IsAmong) and not (part.by_uid or part.wanted.is_saved) for part in parts
    )
    if any(isinstance(part, HasChanged) for part in parts):
        await telling.know_modseqs(session)


@contextmanager
def saving(session: Session, wanted: Wanted | None) -> Iterator[None]:
    """Forget what was saved before if a search that saves fails."""
    try:
        yield
    except Exception:
        forget(session, wanted)
        raise


def forget(session: Session, wanted: Wanted | None) -> None:
    """RFC 5182 section 2.1: what a search was to save that is answered with NO, is nothing."""
    if wanted is not None and Return.SAVE in wanted.options and session.view is not None:
        session.view.saved = ()


def reading(session: Session, read: Callable[..., And] = grammar_search.search) -> Callable[[Cursor], And]:
    """Return what reads the keys of a session: RFC 9755 section 3 has no charset named, RFC 9051 allows it again."""
    return partial(read, with_charset=session.is_rev2 or b"UTF8=ACCEPT" not in session.enabled)


def keys_of(cursor: Cursor, read: Callable[[Cursor], And]) -> And | Completion:
    """Read a search, or say that its charset is not known."""
    try:
        return read(cursor)
    except grammar_search.UnknownCharset:
        code = b"BADCHARSET (%b)" % b" ".join(grammar_search.CHARSETS)
        return responses.no("That charset is not known here", code)


def check_wanted(session: Session, wanted: Wanted | None, key: And, by_score: bool = False) -> None:
    """Refuse what cannot be asked of a search, perhaps one that is sorted `by_score`."""
    options = wanted.options if wanted is not None else frozenset()
    if (by_score or Return.RELEVANCY in options) and not fuzzy.has_fuzzy(key):
        raise BadSyntax("Without FUZZY there is no RELEVANCY")  # RFC 6203 sections 4 and 6
    if Return.UPDATE in options and session.tag in session.contexts:
        raise BadSyntax("A result with that tag is kept up to date already")  # RFC 5267 section 4.3


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
    result.modseq = finder.modseq_of(uids if wanted is None else saved(wanted, uids))
    if wanted is not None and Return.RELEVANCY in wanted.options:
        scores = await finder.scores(sorted(uids))
        result.scores = [scores[uid] for uid in uids]
    return result


async def answer(session: Session, by_uid: bool, wanted: Wanted, result: Result) -> None:
    """Save the result if that is wanted, and send ESEARCH if anything else is."""
    view = session.selected
    if Return.SAVE in wanted.options:
        view.saved = array("I", sorted(saved(wanted, result.uids)))
    if wanted.is_silent:
        return
    numbers = result.uids if by_uid else in_numbers(view, result.uids)
    await session.stream.give_way()
    items = results.items(wanted, numbers, result.modseq, result.scores)
    session.stream.write(results.esearch(session.tag, by_uid, items))


def in_numbers(view: View, uids: Sequence[int]) -> Sequence[int]:
    """Return message numbers in the order of the UIDs, whatever that is."""
    if len(uids) * _SOME > len(view):
        numbers = dict(zip(view.uids, range(1, len(view) + 1), strict=True))
    else:
        ascending = sorted(uids)
        numbers = dict(zip(ascending, view.numbers_of(ascending), strict=True))
    return [numbers[uid] for uid in uids]


def saved(wanted: Wanted, uids: Sequence[int]) -> Sequence[int]:
    """
    Return what of a result is saved, and whose modification sequences count.

    RFC 5182 section 2.4, RFC 4731 section 3.2, RFC 9394 section 3.2: all, unless only some is asked for.
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
