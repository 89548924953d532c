"""THREAD and UID THREAD: messages as conversations, by what the store has kept of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import grammar_results, grammar_search, responses, results
from mailfw.imap.commands import search
from mailfw.imap.commands.finder import Finder, TookTooLong, make_ready
from mailfw.imap.commands.order import sent
from mailfw.imap.grammar_results import Algorithm
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion
from mailfw.mail.forest import Forest, Node, ordered_subject
from mailfw.mail.mailbox import Row, Want
from mailfw.mail.steps import Steps, in_turns

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: Messages that are threaded before other sessions may have their turn.
_PORTION = 1000


async def thread(session: Session, cursor: Cursor, by_uid: bool) -> Completion:
    """RFC 5256 section 3."""
    cursor.space()
    algorithm = grammar_results.algorithm(cursor)
    cursor.space()
    key = search.keys_of(cursor, grammar_search.search_in_charset)
    if isinstance(key, Completion):
        return key
    await make_ready(session, key)
    try:
        found = await Finder(session, session.selected, key).find()
    except TookTooLong:
        return search.TOO_LONG
    session.stream.write(await _answer(session, by_uid, found, algorithm))
    return responses.ok("Threaded")


async def _answer(session: Session, by_uid: bool, found: list[int], algorithm: Algorithm) -> bytes:
    # The same UIDs may have other message numbers than before.
    numbers = found if by_uid else session.selected.numbers_of(found)
    asked, question = [*found, *numbers], (session.selected.place, algorithm, by_uid)
    known: bytes | None = session.answered.get(question, asked)
    if known is not None:
        return known
    roots = await _Threading(session, by_uid).roots(found, algorithm)
    answer = await in_turns(results.thread(roots), session.stream.give_way)
    session.answered.keep(question, asked, answer)
    return answer


class _Threading:
    """Reads what threads are made of."""

    def __init__(self, session: Session, by_uid: bool) -> None:
        self._session = session
        self._view = session.selected
        self._by_uid = by_uid

    async def roots(self, uids: list[int], algorithm: Algorithm) -> list[Node]:
        """Return the threads of these messages."""
        session, forest = self._session, Forest()
        found: list[Node] = []
        by_subject = algorithm is Algorithm.ORDEREDSUBJECT
        want = Want.SORT if by_subject else Want.SORT | Want.THREAD
        async for rows in session.store.rows(session.account, self._view.mailbox_id, uids, want):
            for start in range(0, len(rows), _PORTION):
                portion = rows[start : start + _PORTION]
                nodes = self._nodes(portion)
                if by_subject:
                    found += nodes
                else:
                    forest.add(zip(nodes, [row.ids or b"" for row in portion], strict=True))
                await session.stream.give_way()
        return await in_turns(_steps(algorithm, forest, found), session.stream.give_way)

    def _nodes(self, rows: list[Row]) -> list[Node]:
        uids = [row.uid for row in rows]
        numbers = uids if self._by_uid else self._view.numbers_of(uids)
        parts = [(row.sort or b"\0\0").split(b"\0", 3) for row in rows]
        subjects, answers = [part[2] for part in parts], [part[1] == b"1" for part in parts]
        return list(map(Node, numbers, sent(rows), subjects, answers))


def _steps(algorithm: Algorithm, forest: Forest, messages: list[Node]) -> Steps[list[Node]]:
    match algorithm:
        case Algorithm.ORDEREDSUBJECT:
            return ordered_subject(messages)
        case Algorithm.REFERENCES:
            return forest.references()
        case Algorithm.REFS:
            return forest.refs()
