"""One search in one mailbox: which messages match, looking no deeper than it must."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from mailfw.imap import fuzzy, telling
from mailfw.imap.body_text import TextFinder
from mailfw.imap.commands.contents import opened
from mailfw.imap.keys import And, HasChanged, HasId, InBody, InText, IsAmong, Key, Saved, Sent
from mailfw.imap.matching import Depth, Known, Matcher, about_flags, compile_key, depth_of, leaves
from mailfw.imap.told import Told, gathered
from mailfw.imap.view import View
from mailfw.mail.mailbox import Want
from mailfw.mail.sought import Condition
from mailfw.optional import ISearchedMail

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: Keys tried before other sessions may have their turn.
_TRIES = 2000
#: What a message can have of merit (RFC 6203 section 4), and what of it being new is worth.
_BEST, _NEWEST = 100, 20
#: Texts by which messages are compared.
_TEXTS = 10


class TookTooLong(Exception):
    """A search took longer than the client may have the server work for it."""


async def make_ready(session: Session, key: And) -> None:
    """Let the selected mailbox be searched: RFC 7162 section 3.1.5 has a client that asks for MODSEQ know of them."""
    if any(isinstance(part, HasChanged) for part in leaves(key)):
        await telling.know_modseqs(session)


class Finder:
    """
    One search in a view, in passes: each looks deeper into the messages on which the one before could not decide.

    The last pass opens messages, and no other does.  Making it raises `BadSyntax` for a message number that is not
    there; every method raises `TookTooLong`.
    """

    def __init__(self, session: Session, view: View, key: And, until: float | None = None) -> None:
        self._session = session
        self._view = view
        self._asked = key
        expanded = And(tuple(map(fuzzy.expanded, key.keys)))
        self._key = gathered(expanded)
        # A store that finds text by itself is asked before any message is looked at.
        self._told = Told.of(self._key) if ISearchedMail.providedBy(session.store) else Told()
        self._matcher: Matcher = compile_key(self._key, view, self._told)
        parts = list(leaves(self._key))
        self._has_modseq = any(isinstance(part, HasChanged) for part in parts)
        self._is_about_flags = about_flags(self._key) is not None
        self._depths = {depth_of(part) for part in parts}
        self._portion = max(1, _TRIES // (len(parts) + 1))
        self._want = _want(parts)
        self._finder = TextFinder(
            frozenset(part.text for part in parts if isinstance(part, InBody)),
            frozenset(part.text for part in parts if isinstance(part, InText)),
        )
        self._found: list[int] = []
        seconds = session.allowance.search_time
        #: When the time is over.
        self._until = time.monotonic() + seconds if until is None and seconds else until

    async def find(self, among: Sequence[int] | None = None) -> list[int]:
        """Return the UIDs of what matches, ascending; of these messages of the view, if any are given."""
        self._found = []
        await self._pause()
        undecided = await self._look_at_view(among)
        for part, condition in self._told.questions():
            if undecided:
                undecided = await self._ask_store(undecided, part, condition)
        if undecided and Depth.ROW in self._depths:
            undecided = await self._look_at_rows(undecided, Depth.ROW, self._want)
        if undecided and Depth.FIELDS in self._depths:
            undecided = await self._look_at_rows(undecided, Depth.FIELDS, self._want | Want.FIELDS)
        if undecided:
            await self._look_into(undecided)
        return sorted(self._found)

    def modseq_of(self, uids: Sequence[int]) -> int | None:
        """Return the highest modification sequence of messages, by ascending UID, if the search is about that."""
        if not self._has_modseq or not uids:
            return None
        return max(self._view.modseqs_of(self._view.numbers_of(uids)))

    async def scores(self, uids: Sequence[int]) -> dict[int, int]:
        """Return how well messages match what is fuzzy, from 1 to 100 (RFC 6203 section 4)."""
        # Of two that are alike in all else, the newer one is the better one.
        merit = dict.fromkeys(uids, 0)
        best = _NEWEST
        session = self._session
        for text in list(dict.fromkeys(fuzzy.texts(self._asked)))[:_TEXTS]:
            for points, condition in fuzzy.merits(text):
                best += points
                if ISearchedMail.providedBy(session.store):
                    answer = await ISearchedMail(session.store).search(
                        session.account, self._view.mailbox_id, uids, condition
                    )
                    for uid in answer.found:
                        merit[uid] += points
                await self._pause()
        step = _NEWEST / max(len(uids), 1)
        return {uid: max(1, round((merit[uid] + step * (at + 1)) * _BEST / best)) for at, uid in enumerate(uids)}

    async def _pause(self) -> None:
        """Let others have their turn, if the search may go on at all."""
        if self._until is not None and time.monotonic() > self._until:
            raise TookTooLong
        await self._session.stream.give_way()

    async def _look_at_view(self, among: Sequence[int] | None) -> Sequence[int]:
        view = self._view
        if among is None:
            among = _candidates(self._key.keys, view)
            if self._is_about_flags:
                self._found += view.without_gone(among)
                return ()
        candidates = view.without_gone(among)
        if self._depths and Depth.VIEW not in self._depths:
            return candidates
        return await self._decide_all(candidates)

    async def _decide_all(self, uids: Sequence[int]) -> list[int]:
        """Decide with what needs no look at messages."""
        undecided: list[int] = []
        for start in range(0, len(uids), self._portion):
            for uid in uids[start : start + self._portion]:
                self._decide(Known(uid, Depth.VIEW), undecided)
            await self._pause()
        return undecided

    async def _ask_store(self, uids: Sequence[int], part: Key, condition: Condition) -> Sequence[int]:
        session = self._session
        answer = await ISearchedMail(session.store).search(session.account, self._view.mailbox_id, uids, condition)
        await self._pause()
        if self._key.keys == (part,):
            self._found += answer.found
            return answer.unread
        self._told.hear(part, answer)
        return await self._decide_all(uids)

    async def _look_at_rows(self, uids: Sequence[int], depth: Depth, want: Want) -> list[int]:
        session, undecided = self._session, list[int]()
        async for rows in session.store.rows(session.account, self._view.mailbox_id, uids, want):
            for start in range(0, len(rows), self._portion):
                for row in rows[start : start + self._portion]:
                    self._decide(Known(row.uid, depth, row, row.fields or b""), undecided)
                await self._pause()
        return undecided

    async def _look_into(self, uids: Sequence[int]) -> None:
        session, mailbox = self._session, self._view.mailbox_id
        done = 0
        async for rows in session.store.rows(session.account, mailbox, uids, self._want | Want.PARTS):
            async with aclosing(opened(session, rows, mailbox)) as messages:
                async for row, content in messages:
                    header, in_body, in_text = await self._finder.look(content, row.parts, self._pause)
                    self._decide(Known(row.uid, Depth.CONTENT, row, header, in_body, in_text), [])
                    done += 1
                    session.progress = done, len(uids)

    def _decide(self, known: Known, undecided: list[int]) -> None:
        answer = self._matcher.check(known)
        if answer:
            self._found.append(known.uid)
        elif answer is None:
            undecided.append(known.uid)


def _want(parts: Sequence[Key]) -> Want:
    want = Want.NOTHING
    for part in parts:
        match part:
            case Sent():
                want |= Want.SENT
            case Saved():
                want |= Want.SAVED
            case HasId(_, of_thread) if of_thread:
                want |= Want.THREAD
    return want


def _candidates(keys: Sequence[Key], view: View) -> Sequence[int]:
    """Return what a set or flags at the top of the search leave, so that a few messages of many are found at once."""
    for key in keys:
        if isinstance(key, IsAmong):
            return view.resolve(key.wanted, key.by_uid)
    checks = [check for check in map(about_flags, keys) if check is not None]
    return view.having(lambda flags: all(check(flags) for check in checks)) if checks else view.uids
