"""THREAD and UID THREAD: messages as conversations, by what the store has kept of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import grammar_results, grammar_search, limiting, responses, results
from mailfw.imap.commands import search
from mailfw.imap.commands.columns import columns
from mailfw.imap.commands.finder import Finder, TookTooLong
from mailfw.imap.commands.order import dated
from mailfw.imap.grammar_results import Algorithm
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion
from mailfw.mail.forest import Forest, Messages, Threads, ordered_subject
from mailfw.mail.mailbox import Want
from mailfw.mail.steps import in_turns

if TYPE_CHECKING:
    from mailfw.imap.server import Session


async def thread(session: Session, cursor: Cursor, by_uid: bool) -> Completion:
    """RFC 5256 section 3."""
    cursor.space()
    algorithm = grammar_results.algorithm(cursor)
    cursor.space()
    key = search.keys_of(cursor, search.reading(session, grammar_search.search_in_charset))
    if isinstance(key, Completion):
        return key
    await search.make_ready(session, key)
    finder = Finder(session, session.selected, key)
    refused = limiting.unordered(session, session.selected, key)
    if refused is not None:
        return refused
    try:
        found = await finder.find()
    except TookTooLong:
        return search.TOO_LONG
    session.stream.write(await _answer(session, by_uid, found, algorithm))
    return responses.ok("Threaded")


async def _answer(session: Session, by_uid: bool, found: list[int], algorithm: Algorithm) -> bytes:
    # The same UIDs may have other message numbers than before.
    numbers = found if by_uid else session.selected.numbers_of(found)
    asked, question = [*found, *numbers], (session.account, session.selected.place, algorithm, by_uid)
    known: bytes | None = session.answered.get(question, asked)
    if known is not None:
        return known
    threads = await _threads(session, by_uid, found, algorithm)
    answer = await in_turns(results.thread(threads), session.stream.give_way)
    session.answered.keep(question, asked, answer)
    return answer


async def _threads(session: Session, by_uid: bool, uids: list[int], algorithm: Algorithm) -> Threads:
    messages = await _messages(session, by_uid, uids, with_ids=algorithm is not Algorithm.ORDEREDSUBJECT)
    give_way = session.stream.give_way
    if algorithm is Algorithm.ORDEREDSUBJECT:
        return await in_turns(ordered_subject(messages), give_way)
    forest = Forest(messages)
    await give_way()
    return await in_turns(forest.references() if algorithm is Algorithm.REFERENCES else forest.refs(), give_way)


async def _messages(session: Session, by_uid: bool, uids: list[int], with_ids: bool) -> Messages:
    view, found = session.selected, Messages([], [], [], [], [])
    there: list[int] = []
    async for batch in columns(session, view, uids, Want.SORT | Want.THREAD if with_ids else Want.SORT):
        there += batch.uids
        parts = [keys.split(b"\0", 3) for keys in batch.sort]
        found.sent.extend(dated([part[0] for part in parts], batch.received))
        found.subjects.extend([part[2] for part in parts])
        found.answers.extend([part[1] == b"1" for part in parts])
        found.ids.extend(batch.ids)
    found.numbers.extend(there if by_uid else view.numbers_of(there))
    return found
