"""Taking the texts from messages and putting them into a search file, a few at a time."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from twisted.logger import Logger

from mailfw.interfaces import IContent
from mailfw.mail.content import blocking_reader
from mailfw.mail.part_table import decode_parts
from mailfw.mail.terms import pieces, terms_of
from mailfw.stores.index import search_file
from mailfw.stores.index.account import Account
from mailfw.stores.index.search_file import Found
from mailfw.stores.index.search_progress import Progress
from mailfw.stores.threads import Threads

log = Logger()

#: Messages read at once, and the octets they may have together; one that is larger is read alone.
MESSAGES, OCTETS = 32, 1024 * 1024

Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A message whose text is missing, where one of its copies is; `mailbox` is a row."""

    row: int
    id: str
    mailbox: int
    key: str
    size: int
    parts: bytes


def find_ids(connection: sqlite3.Connection, first: int, last: int) -> dict[int, str]:
    """Return the email ids of the messages whose summaries have rows in a range, by row."""
    return dict(connection.execute("SELECT email, email_id FROM message WHERE email BETWEEN ? AND ?", (first, last)))


def find_rows(connection: sqlite3.Connection, rows: Sequence[int]) -> set[int]:
    """Return those of the rows of summaries that still are of a message."""
    found = connection.execute(
        "SELECT email FROM message WHERE email IN (SELECT value FROM json_each(?))", (json.dumps(list(rows)),)
    )
    return {row for (row,) in found}


def find_candidates(connection: sqlite3.Connection, rows: Sequence[int]) -> list[Candidate]:
    """Return messages by the rows of their summaries."""
    found = connection.execute(
        "SELECT email, email_id, mailbox, key, size, parts FROM message JOIN summary ON summary.row = message.email "
        "WHERE email IN (SELECT value FROM json_each(?)) GROUP BY email",
        (json.dumps(list(rows)),),
    )
    return [Candidate(*columns) for columns in found]


async def make_some(account: Account, progress: Progress, threads: Threads, count: int = MESSAGES) -> int | None:
    """Put up to `count` texts that are missing into the file, the newest first; of how many, None if none is."""
    rows = progress.missing(count)
    if not rows:
        return None
    candidates = await account.databases.read(account.name, partial(find_candidates, rows=rows))
    progress.are_gone(set(rows) - {each.row for each in candidates})
    chosen = _chosen(sorted(candidates, key=lambda each: -each.row))
    opened = await _opened(account, chosen)
    try:
        jobs = [(each, await _reader(each, content)) for each, content in opened]
        made = await threads.run(_make, progress, jobs)
    finally:
        for _, content in opened:
            await content.close()
    progress.are_there(made)
    # One that cannot be read now is read by whoever searches.
    progress.are_gone({each.row for each in chosen} - made)
    return len(chosen)


def _chosen(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return as many as may be in memory together, but one at least."""
    chosen: list[Candidate] = []
    room = OCTETS
    for each in candidates:
        room -= each.size
        if chosen and room < 0:
            break
        chosen.append(each)
    return chosen


async def _opened(account: Account, chosen: Sequence[Candidate]) -> list[tuple[Candidate, IContent]]:
    boxes = {box.row: box.key for box in account.boxes.values()}
    by_box: dict[str, list[Candidate]] = defaultdict(list)
    for each in chosen:
        if each.mailbox in boxes:
            by_box[boxes[each.mailbox]].append(each)
    opened: list[tuple[Candidate, IContent]] = []
    for box, inside in by_box.items():
        try:
            contents = await account.source.open_many(account.name, box, [each.key for each in inside])
        except FileNotFoundError:
            continue  # another program has renamed the folder or deleted it
        opened += [(each, content) for each, content in zip(inside, contents, strict=True) if content is not None]
    return opened


async def _reader(candidate: Candidate, content: IContent) -> Read:
    """Return what reads a content in a thread; of one that cannot be read there, its text is read now."""
    read_now = blocking_reader(content)
    if read_now is not None:
        return read_now
    asked = [piece for piece in pieces(decode_parts(candidate.parts)) if piece.size]
    octets = {(piece.start, piece.size): await content.read(piece.start, piece.size) for piece in asked}
    return lambda offset, length: octets[offset, length]


def _make(progress: Progress, jobs: Sequence[tuple[Candidate, Read]]) -> set[int]:
    """Put texts into the file, and return their rows.  Blocks."""
    made: list[Found] = []
    for each, read in jobs:
        try:
            made.append(Found(each.row, each.id, terms_of(decode_parts(each.parts), read)))
        except Exception:
            log.failure("the text of message {id} cannot be taken", id=each.id)
    progress.file.use(lambda connection: search_file.add(connection, made))
    return {each.row for each in made}
