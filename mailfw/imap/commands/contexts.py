"""Results that are kept up to date: RFC 5267 section 4."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twisted.logger import Logger

from mailfw.imap import responses, results
from mailfw.imap.commands import fetch
from mailfw.imap.commands.finder import Finder, TookTooLong
from mailfw.imap.commands.order import in_order
from mailfw.imap.farewell import Farewell
from mailfw.imap.grammar_fetch import Item, Section
from mailfw.imap.grammar_results import SortBy
from mailfw.imap.keys import And, Fuzzy, IsAmong, Key, Not, Or
from mailfw.imap.lexer import Cursor, SequenceSet
from mailfw.imap.responses import Completion
from mailfw.imap.view import View
from mailfw.mail.failure import StoreRefusal
from mailfw.wire.interruptions import Disconnected, ShuttingDown, TimedOut

if TYPE_CHECKING:
    from mailfw.imap.server import Session

log = Logger()

#: Results of one session that are kept up to date; section 4.3.1 lets a server refuse more.
MOST = 16


@dataclass(slots=True)
class Context:
    """
    The result of a search that the client hears of; sorted by `criteria` if there are any.

    `modseq` is the one of the view for which `uids` are right.
    """

    tag: bytes
    by_uid: bool
    key: And
    view: View
    uids: array[int]
    criteria: Sequence[SortBy] = ()
    modseq: int = 0
    #: What is sent of new messages in it (RFC 5465 section 7), and the last that was not new.
    fetch: Sequence[Item | Section] = ()
    last_uid: int = 0
    #: What is to be told once the client knows of new messages.
    _added: list[tuple[int, int]] = field(default_factory=list)


def keep(session: Session, context: Context, items: Sequence[Item | Section] = ()) -> None:
    """Keep a result up to date from now on, and send `items` of new messages; or say that it will not be."""
    if len(session.contexts) >= MOST:
        refuse(session)
        return
    context.modseq = context.view.modseq
    context.fetch, context.last_uid = items, context.view.uids[-1] if context.view.uids else 0
    context.key = And(tuple(_lasting(each, context.view) for each in context.key.keys))
    session.contexts[context.tag] = context


def _lasting(key: Key, view: View) -> Key:
    """Return a key that stays about the same messages when numbers change, or another result is saved."""
    match key:
        case IsAmong(SequenceSet(((1, None),)), False):
            return And()
        case IsAmong(wanted, by_uid) if wanted.is_saved or not by_uid:
            spans = view.spans(wanted, by_uid)
            ends = tuple((view.uids[start], view.uids[end - 1]) for start, end in spans)
            return IsAmong(SequenceSet(ends), by_uid=True)
        case And(keys):
            return And(tuple(_lasting(each, view) for each in keys))
        case Or(one, other):
            return Or(_lasting(one, view), _lasting(other, view))
        case Not(inner):
            return Not(_lasting(inner, view))
        case Fuzzy(inner):
            return Fuzzy(_lasting(inner, view))
    return key


def refuse(session: Session) -> None:
    """Tell a client that the result will not be kept up to date."""
    session.say(b"NO", "That result is not kept up to date", b"NOUPDATE " + responses.string(session.tag))


async def cancel_update(session: Session, cursor: Cursor) -> Completion:
    """RFC 5267 section 4.3.5."""
    tags: list[bytes] = []
    while not cursor.at_end():
        cursor.space()
        tags.append(cursor.string())
    if not tags or not session.contexts.keys() >= set(tags):
        return responses.bad("There is no such result")
    for tag in tags:
        session.contexts.pop(tag, None)
    return responses.ok("No more updates")


# ---------------------------------------------------------------- news


async def tell_removed(session: Session) -> None:
    """Find out what has changed, and tell what is in results no more: before its message number is gone."""
    for context in list(session.contexts.values()):
        if context.view.uid_only and not context.by_uid:
            _give_up(session, context)  # its updates would name messages by number (RFC 9586 section 3)
        elif context.modseq != context.view.modseq:
            with _giving_up(session, context):
                await _update(session, context)


@contextmanager
def _giving_up(session: Session, context: Context) -> Iterator[None]:
    """Keep a result no longer about which the client cannot be told."""
    try:
        yield
    except (Disconnected, TimedOut, ShuttingDown, Farewell):
        raise
    except Exception as why:
        _give_up(session, context)
        if not isinstance(why, TookTooLong | StoreRefusal):
            log.failure("IMAP {account!r}: a result cannot be kept up to date", account=session.account)


def _give_up(session: Session, context: Context) -> None:
    del session.contexts[context.tag]
    session.say(b"NO", "No more updates of that result", b"NOUPDATE " + responses.string(context.tag))


async def tell_added(session: Session) -> None:
    """Tell what is in results now: after the client has heard of new messages, and what it wants of them."""
    for context in list(session.contexts.values()):
        added, context._added = context._added, []
        new = sorted(uid for _, uid in added if uid > context.last_uid)
        if new and context.fetch:
            context.last_uid = new[-1]
            with _giving_up(session, context):
                await fetch.send_news(session, context.fetch, new)
        if context.tag in session.contexts:
            _tell(session, context, b"ADDTO", added)


async def _update(session: Session, context: Context) -> None:
    view = context.view
    until = view.modseq
    snapshot = await session.store.snapshot(session.account, view.mailbox_id, context.modseq)
    # What the view has not heard of comes another time.
    changed = [uid for uid in snapshot.uids if view.number_of(uid) is not None]
    matching = set(await Finder(session, view, context.key).find(changed)) if changed else set()
    before = set(context.uids)
    removed = {uid for uid in changed if uid in before and uid not in matching}
    removed |= before.difference(view.without_gone(view.uids))
    added = sorted(matching - before - removed)
    if removed:
        places = [at for at, uid in enumerate(context.uids) if uid in removed]
        _tell(session, context, b"REMOVEFROM", [(at + 1, context.uids[at]) for at in reversed(places)])
        context.uids = array("I", [uid for uid in context.uids if uid not in removed])
    if added:
        context.uids = await _merged(session, context, added)
        new = set(added)
        context._added += [(at + 1, uid) for at, uid in enumerate(context.uids) if uid in new]
    context.modseq = until


async def _merged(session: Session, context: Context, added: list[int]) -> array[int]:
    uids = sorted([*context.uids, *added])
    if context.criteria:
        uids = await in_order(session, context.view, uids, context.criteria)
    return array("I", uids)


def _tell(session: Session, context: Context, word: bytes, moved: Sequence[tuple[int, int]]) -> None:
    """Say ADDTO or REMOVEFROM; a place is 0 where the result has no order (section 4.3.3)."""
    if not moved:
        return
    view = context.view
    named = [(at, uid if context.by_uid else view.number_of(uid)) for at, uid in moved]
    known = [(at, number) for at, number in named if number is not None]
    if context.criteria:
        said = b" ".join([b"%d %d" % each for each in known])
    else:
        said = b"0 " + responses.uid_set(sorted(number for _, number in known))
    if known:
        session.stream.write(results.esearch(context.tag, context.by_uid, [word + b" (" + said + b")"]))
