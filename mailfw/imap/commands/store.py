"""STORE and UID STORE: changing flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mailfw.imap import grammar, keywords, limiting, responses, telling
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion
from mailfw.imap.view import View
from mailfw.mail.mailbox import SYSTEM_FLAGS, Altered, FlagChange, Flags

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: Answers are handed over in portions, for slow clients.
_PORTION = 1000


async def store(session: Session, cursor: Cursor, by_uid: bool) -> Completion:
    """RFC 3501 sections 6.4.6 and 6.4.8, and RFC 7162 section 3.1.3."""
    request = grammar.store(cursor)
    view = session.selected
    uids: Sequence[int] = view.resolve(request.wanted, by_uid)
    before = _flags_before(view, uids) if request.silent else {}  # as the client knows them
    if request.unchanged_since is not None:
        await telling.know_modseqs(session)
    if session.read_only:
        return responses.READ_ONLY
    if not request.flags - SYSTEM_FLAGS <= view.keywords:
        await telling.refresh(session)  # others may have put them meanwhile
    if request.change is FlagChange.REMOVE:
        request = replace(request, flags=keywords.every_spelling(request.flags, view.keywords))
    else:
        request = replace(request, flags=keywords.spelled(request.flags, view.keywords))
        if not keywords.have_room(request.flags, view.keywords):
            view.forget_unused()
            if not keywords.have_room(request.flags, view.keywords):
                return keywords.TOO_MANY
    if not uids:
        return responses.ok("Nothing to change")
    uids = limiting.within(session, uids)
    altered = await session.store.alter(
        session.account, view.mailbox_id, uids, request.change, request.flags, request.unchanged_since
    )
    view.note_flags(altered)
    if not by_uid or altered.conflicts:
        await telling.refresh(session)
    await _Answers(session, request, by_uid).send(_told(uids, altered, request), before, altered.changed)
    return _completion(view, uids, altered, by_uid)


def _flags_before(view: View, uids: Sequence[int]) -> dict[int, Flags]:
    return dict(zip(uids, view.worded_flags(view.numbers_of(uids), lambda flags, is_recent: flags), strict=True))


def _told(uids: Sequence[int], altered: Altered, request: grammar.Store) -> Sequence[int]:
    """Return of which messages the client hears: those left alone are told of with other news."""
    if request.silent and request.unchanged_since is None:
        return sorted(altered.changed)
    conflicts = set(altered.conflicts)
    return [uid for uid in uids if uid not in conflicts]


def _completion(view: View, uids: Sequence[int], altered: Altered, by_uid: bool) -> Completion:
    gone = [] if by_uid else [uid for uid in uids if view.is_gone(uid)]
    if altered.conflicts:
        left = sorted(altered.conflicts)
        code = b"MODIFIED " + responses.uid_set(left if by_uid else view.numbers_of(left))
        if gone:  # RFC 7162 section 3.1.3, example 11: of these EXPUNGE will tell
            return responses.no("Some of the messages are gone, or have changed", code)
        return responses.ok("Some of the messages have changed", code)
    if gone:
        # RFC 2180 section 4.2: what is there was changed, and the client learns of the rest soon.
        return responses.no("Some of the messages are gone", b"EXPUNGEISSUED")
    return responses.ok("Stored")


def _combine(flags: Flags, request: grammar.Store) -> Flags:
    match request.change:
        case FlagChange.ADD:
            return flags | request.flags
        case FlagChange.REMOVE:
            return flags - request.flags
        case FlagChange.REPLACE:
            return request.flags


class _Answers:
    """Tells a client what its STORE has done."""

    def __init__(self, session: Session, request: grammar.Store, by_uid: bool) -> None:
        self._session = session
        self._view = session.selected
        self._request = request
        self._manner = session.manner(by_uid)

    async def send(self, uids: Sequence[int], before: dict[int, Flags], changed: dict[int, Flags]) -> None:
        """
        Tell of these messages; of a silent STORE only what the client cannot know.

        That is where somebody else changed flags too, and modification sequences (RFC 7162 section 3.1.3).
        """
        stream, view = self._session.stream, self._view
        new = view.take_keywords()
        if new is not None:
            stream.write(responses.known_flags(new.keywords, self._session.flag_rights))
        known = self._as_asked(uids, before, changed) if self._request.silent else frozenset()
        if not self._tells_modseq:
            uids = [uid for uid in uids if uid not in known]
        for start in range(0, len(uids), _PORTION):
            stream.write(b"".join([self._line(uid, uid not in known) for uid in uids[start : start + _PORTION]]))
            if start + _PORTION < len(uids):
                await stream.drain()
                await stream.give_way()

    def _as_asked(self, uids: Sequence[int], before: dict[int, Flags], changed: dict[int, Flags]) -> frozenset[int]:
        """Return those of the messages that have the flags now of which the client knows itself."""
        expected = {flags: _combine(flags, self._request) for flags in set(before.values())}
        now = [changed[uid] if uid in changed else self._view.flags_of(uid) for uid in uids]
        return frozenset([uid for uid, flags in zip(uids, now, strict=True) if flags == expected[before[uid]]])

    @property
    def _tells_modseq(self) -> bool:
        return self._manner.with_modseq and self._view.has_modseqs

    def _line(self, uid: int, with_flags: bool) -> bytes:
        view, manner = self._view, self._manner
        number = view.number_of(uid)
        modseq = view.modseq_of(uid) if self._tells_modseq else None
        if number is None or view.is_gone(uid) or not (with_flags or modseq):
            return b""
        present = view.flags_of(uid) if with_flags else None
        shown_uid = uid if manner.with_uid or manner.uid_only else None
        return responses.fetched_flags(number, present, view.is_recent(uid), shown_uid, modseq, manner.uid_only)
