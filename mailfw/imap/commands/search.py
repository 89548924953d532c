"""SEARCH and UID SEARCH: which messages match."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from mailfw.imap import grammar_search, responses
from mailfw.imap.body_text import TextFinder
from mailfw.imap.commands.contents import opened
from mailfw.imap.grammar_search import And, HasId, InBody, InText, IsAmong, Key, Sent
from mailfw.imap.lexer import Cursor
from mailfw.imap.matching import Depth, Known, Matcher, compile_key, depth_of, leaves
from mailfw.imap.responses import Completion
from mailfw.imap.told import Told, gathered
from mailfw.imap.view import View
from mailfw.mail.mailbox import Want
from mailfw.mail.sought import Condition
from mailfw.optional import ISearchedMail

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: Keys tried before other sessions may have their turn.
_TRIES = 2000


async def search(session: Session, cursor: Cursor, by_uid: bool) -> Completion:
    """RFC 3501 sections 6.4.4 and 6.4.8."""
    try:
        key = grammar_search.search(cursor)
    except grammar_search.UnknownCharset:
        code = b"BADCHARSET (%b)" % b" ".join(grammar_search.CHARSETS)
        return responses.no("That charset is not known here", code)
    view = session.selected
    found = await _Search(session, gathered(key)).run()
    numbers = found if by_uid else [number for uid in found if (number := view.number_of(uid)) is not None]
    session.stream.write(b" ".join([b"* SEARCH", *[b"%d" % number for number in numbers]]) + b"\r\n")
    return responses.ok("Searched")


class _Search:
    """
    One search, in passes: each looks deeper into the messages on which the one before could not decide.

    The last pass opens messages, and no other does.
    """

    def __init__(self, session: Session, key: And) -> None:
        self._session = session
        self._view = session.selected
        self._key = key
        # A store that finds text by itself is asked before any message is looked at.
        self._told = Told.of(key) if ISearchedMail.providedBy(session.store) else Told()
        self._matcher: Matcher = compile_key(key, self._view, self._told)
        parts = list(leaves(key))
        self._depths = {depth_of(part) for part in parts}
        self._portion = max(1, _TRIES // (len(parts) + 1))
        self._sent = Want.SENT if any(isinstance(part, Sent) for part in parts) else Want.NOTHING
        if any(isinstance(part, HasId) and part.of_thread for part in parts):
            self._sent |= Want.THREAD
        self._finder = TextFinder(
            frozenset(part.text for part in parts if isinstance(part, InBody)),
            frozenset(part.text for part in parts if isinstance(part, InText)),
        )
        self._found: list[int] = []

    async def run(self) -> list[int]:
        """Return the UIDs of what matches, ascending."""
        undecided = await self._look_at_view()
        for part, condition in self._told.questions():
            if undecided:
                undecided = await self._ask_store(undecided, part, condition)
        if undecided and Depth.ROW in self._depths:
            undecided = await self._look_at_rows(undecided, Depth.ROW, self._sent)
        if undecided and Depth.FIELDS in self._depths:
            undecided = await self._look_at_rows(undecided, Depth.FIELDS, self._sent | Want.FIELDS)
        if undecided:
            await self._look_into(undecided)
        return sorted(self._found)

    async def _look_at_view(self) -> Sequence[int]:
        view = self._view
        candidates = view.without_gone(_candidates(self._key.keys, view))
        if self._depths and Depth.VIEW not in self._depths:
            return candidates
        return await self._decide_all(candidates)

    async def _decide_all(self, uids: Sequence[int]) -> list[int]:
        """Decide with what needs no look at messages."""
        undecided: list[int] = []
        for start in range(0, len(uids), self._portion):
            for uid in uids[start : start + self._portion]:
                self._decide(Known(uid, Depth.VIEW), undecided)
            await self._session.stream.give_way()
        return undecided

    async def _ask_store(self, uids: Sequence[int], part: Key, condition: Condition) -> Sequence[int]:
        session = self._session
        answer = await ISearchedMail(session.store).search(session.account, self._view.mailbox_id, uids, condition)
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
                await session.stream.give_way()
        return undecided

    async def _look_into(self, uids: Sequence[int]) -> None:
        session, view = self._session, self._view
        async for rows in session.store.rows(session.account, view.mailbox_id, uids, self._sent | Want.PARTS):
            async with aclosing(opened(session, rows)) as messages:
                async for row, content in messages:
                    header, in_body, in_text = await self._finder.look(content, row.parts, session.stream.give_way)
                    self._decide(Known(row.uid, Depth.CONTENT, row, header, in_body, in_text), [])

    def _decide(self, known: Known, undecided: list[int]) -> None:
        answer = self._matcher.check(known)
        if answer:
            self._found.append(known.uid)
        elif answer is None:
            undecided.append(known.uid)


def _candidates(keys: Sequence[Key], view: View) -> Sequence[int]:
    """Return what a set at the top of the search leaves, so that a few messages of many are found at once."""
    for key in keys:
        if isinstance(key, IsAmong):
            return view.resolve(key.wanted, key.by_uid)
    return view.uids
