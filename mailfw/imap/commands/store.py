"""STORE and UID STORE: changing flags."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from mailfw.imap import grammar, responses
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion
from mailfw.imap.view import View
from mailfw.mail.mailbox import SYSTEM_FLAGS, FlagChange, Flags

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: Keywords in one mailbox.  RFC 3501 sets no limit; every client that opens the mailbox is told all of them.
_KEYWORDS = 500
#: Answers are handed over in portions, for slow clients.
_PORTION = 1000


async def store(session: Session, cursor: Cursor, by_uid: bool) -> Completion:
    """RFC 3501 sections 6.4.6 and 6.4.8."""
    request = grammar.store(cursor)
    view = session.selected
    uids = view.resolve(request.wanted, by_uid)
    if session.read_only:
        return responses.READ_ONLY
    request = replace(request, flags=_as_known(request.flags, view.keywords))
    if request.change is not FlagChange.REMOVE and len(view.keywords | request.flags - SYSTEM_FLAGS) > _KEYWORDS:
        return responses.no("The mailbox has too many keywords", b"LIMIT")
    if not uids:
        return responses.ok("Nothing to change")
    before = {uid: view.flags_of(uid) for uid in uids} if request.silent else {}
    altered = await session.store.alter(session.account, view.mailbox_id, uids, request.change, request.flags)
    view.note_flags(altered)
    if not by_uid:
        await session.refresh()
    if request.silent:
        told: Iterable[int] = _surprises(before, altered.changed, request)
    else:
        told = uids
    await _tell(session, view, told, by_uid)
    if not by_uid and any(map(view.is_gone, uids)):
        # RFC 2180 section 4.2: what is there was changed, and the client learns of the rest soon.
        return responses.no("Some of the messages are gone", b"EXPUNGEISSUED")
    return responses.ok("Stored")


def _as_known(flags: Flags, keywords: set[str]) -> Flags:
    """Spell keywords as the mailbox has them: their case does not matter (RFC 5788 section 3)."""
    if flags <= SYSTEM_FLAGS or flags <= keywords:
        return flags
    known = {keyword.lower(): keyword for keyword in sorted(keywords)}
    return frozenset(known.get(flag.lower(), flag) for flag in flags)


def _surprises(before: dict[int, Flags], changed: dict[int, Flags], request: grammar.Store) -> list[int]:
    """Return whose flags are not what the client of a silent STORE must believe: somebody else changed them too."""
    return [uid for uid, flags in changed.items() if flags != _combine(before[uid], request)]


def _combine(flags: Flags, request: grammar.Store) -> Flags:
    match request.change:
        case FlagChange.ADD:
            return flags | request.flags
        case FlagChange.REMOVE:
            return flags - request.flags
        case FlagChange.REPLACE:
            return request.flags


async def _tell(session: Session, view: View, uids: Iterable[int], by_uid: bool) -> None:
    keywords = view.take_keywords()
    if keywords is not None:
        session.stream.write(responses.known_flags(keywords.keywords, session.flag_rights))
    lines: list[bytes] = []
    for uid in uids:
        number = view.number_of(uid)
        if number is None or view.is_gone(uid):
            continue
        lines.append(responses.fetched_flags(number, view.flags_of(uid), view.is_recent(uid), uid if by_uid else None))
        if len(lines) >= _PORTION:
            session.stream.write(b"".join(lines))
            lines.clear()
            await session.stream.drain()
            await session.stream.give_way()
    session.stream.write(b"".join(lines))
