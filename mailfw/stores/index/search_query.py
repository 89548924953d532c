"""Finding messages in a search file: which rows match a condition, and of which the file cannot tell.  Blocks."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence, Set
from functools import partial
from typing import NamedTuple

from mailfw.mail.sought import AllOf, AnyOf, BodyHas, Condition, FieldHas, TextHas, Without
from mailfw.mail.terms import Clue, Terms, clues, is_told_by_clues
from mailfw.stores.index.search_file import COLUMNS, SECTION, SearchFile

#: Texts that are read at once; others may use the file in between.
BATCH = 500
#: Of so few messages the texts are looked at without asking for grams.
FEW = 64
#: Grams asked for; a text with more is rare enough with these.
CLUES = 24
_AMONG = "row IN (SELECT value FROM json_each(?1))"

#: A column is gone through as a whole where more than this share of the account is asked about.
SHARE = 8


class Told(NamedTuple):
    """Rows that match, and rows of which the file cannot tell; no row is in both."""

    true: Set[int]
    unknown: Set[int]


def find(file: SearchFile, condition: Condition, among: Set[int]) -> Told:
    """Look among rows that are in the file; any that is not in it any more is not found."""
    match condition:
        case FieldHas(name, text):
            return Told(_find_in_field(file, name, text, among), frozenset())
        case BodyHas() | TextHas():
            return _find_in_text(file, condition, among)
        case AllOf(conditions):
            return _find_all(file, conditions, among)
        case AnyOf(conditions):
            # Either holds where it does not hold that neither does.
            neither = _find_all(file, [Without(each) for each in conditions], among)
            return Told(among - neither.true - neither.unknown, neither.unknown)
        case Without(inner):
            told = find(file, inner, among)
            return Told(among - told.true - told.unknown, told.unknown)


def _find_all(file: SearchFile, conditions: Sequence[Condition], among: Set[int]) -> Told:
    """Look for the cheap ones first, and then only among what they left."""
    unknown: Set[int] = frozenset()
    for condition in sorted(conditions, key=_cost):
        told = find(file, condition, among)
        unknown = (unknown & (told.true | told.unknown)) | told.unknown
        among = told.true | told.unknown
    return Told(among - unknown, unknown)


def _cost(condition: Condition) -> int:
    match condition:
        case FieldHas(name, _):
            return 0 if name in COLUMNS else 2
        case Without(inner):
            return _cost(inner)
        case AllOf(conditions) | AnyOf(conditions):
            return 1 + max(map(_cost, conditions), default=0)
    return 1


# ---------------------------------------------------------------- fields


def _find_in_field(file: SearchFile, name: str, text: str, among: Set[int]) -> Set[int]:
    column = COLUMNS.get(name)
    if column is not None:
        return file.use(lambda connection: _in_column(file, connection, column, text, among))
    found = _candidates(file, clues(f"{name}:") + clues(text), among)
    if not text:
        return set(_with_head(file, found, f"{name}:".encode(), lambda head: _has_value(head, name, "")))
    return set(_with_head(file, found, text.encode(), lambda head: _has_value(head, name, text)))


def _with_head(file: SearchFile, rows: Set[int], sought: bytes, check: Callable[[bytes], bool]) -> Iterator[int]:
    for batch in _batches(rows):
        yield from file.use(partial(_heads, rows=batch, sought=sought, check=check))


def _heads(connection: sqlite3.Connection, rows: str, sought: bytes, check: Callable[[bytes], bool]) -> list[int]:
    query = f"SELECT row, head FROM text WHERE {_AMONG} AND instr(head, ?2)"  # noqa: S608 -- ours
    return [row for row, head in connection.execute(query, (rows, sought)) if check(head)]


def _has_value(head: bytes, name: str, text: str) -> bool:
    return any(text in value for value in Terms(head.decode("utf-8"), "", "").values(name))


def _in_column(file: SearchFile, connection: sqlite3.Connection, column: str, text: str, among: Set[int]) -> Set[int]:
    is_share = not _has(connection, len(among) * SHARE)
    if text and is_share and (texts := file.texts(connection, column)) is not None:
        return texts.having(text.encode("utf-8")) & among
    # An empty text is in every field that is there.
    what = f"instr({column}, ?)" if text else f"{column} NOTNULL"
    query = f"SELECT row FROM email WHERE {what}"  # noqa: S608 -- ours
    parameters: list[object] = [text] if text else []
    if not is_share:
        query += " AND row IN (SELECT value FROM json_each(?))"
        parameters.append(json.dumps(list(among)))
    found = {row for (row,) in connection.execute(query, parameters)}
    return found & among


def _has(connection: sqlite3.Connection, count: int) -> bool:
    """Whether there are so many messages."""
    first, last = connection.execute("SELECT (SELECT min(row) FROM email), (SELECT max(row) FROM email)").fetchone()
    if first is None or last - first + 1 < count:  # which costs nothing to know
        return False
    return connection.execute("SELECT 1 FROM email LIMIT 1 OFFSET ?", (count - 1,)).fetchone() is not None


# ---------------------------------------------------------------- text


def _find_in_text(file: SearchFile, condition: BodyHas | TextHas, among: Set[int]) -> Told:
    text = condition.text
    if not text:
        return Told(among, frozenset())
    found: Set[int] = _candidates(file, clues(text), among)
    if not (isinstance(condition, TextHas) and is_told_by_clues(text) and len(among) > FEW):
        found = set(_verified(file, found, condition))
    return Told(found, file.use(_cut) & among - found)


def _verified(file: SearchFile, rows: Set[int], condition: BodyHas | TextHas) -> Iterator[int]:
    sought = condition.text.encode("utf-8")
    in_text = isinstance(condition, TextHas)
    plain = "(instr(body, ?2) OR instr(head, ?2) OR instr(rest, ?2))" if in_text else "instr(body, ?2)"
    packed = "NOT instr(head, ?2)" if in_text else "?2 NOTNULL"
    for batch in _batches(rows):
        yield from file.use(partial(_plain, rows=batch, what=plain, sought=sought))
        if in_text:
            yield from file.use(partial(_plain, rows=batch, what="packed NOTNULL AND instr(head, ?2)", sought=sought))
        yield from file.use(partial(_packed, rows=batch, what=packed, sought=sought, in_text=in_text))


def _plain(connection: sqlite3.Connection, rows: str, what: str, sought: bytes) -> list[int]:
    query = f"SELECT row FROM text WHERE {_AMONG} AND {what}"  # noqa: S608 -- ours
    return [row for (row,) in connection.execute(query, (rows, sought))]


def _packed(connection: sqlite3.Connection, rows: str, what: str, sought: bytes, in_text: bool) -> list[int]:
    """Look into texts one after the other: 500 of the largest are more than memory should hold."""
    query = f"SELECT row, packed FROM text WHERE {_AMONG} AND packed NOTNULL AND {what}"  # noqa: S608 -- ours
    return [row for row, octets in connection.execute(query, (rows, sought)) if _is_in(octets, sought, in_text)]


def _is_in(octets: bytes, sought: bytes, in_text: bool) -> bool:
    text = zlib.decompress(octets)
    # No text is found across the end of a section.
    return sought in (text if in_text else text[: text.index(SECTION)])


def _batches(rows: Set[int]) -> Iterator[str]:
    """Yield rows as JSON; others may use the file between two batches."""
    ordered = sorted(rows)
    for start in range(0, len(ordered), BATCH):
        yield json.dumps(ordered[start : start + BATCH])


def _candidates(file: SearchFile, found: Sequence[Clue], among: Set[int]) -> Set[int]:
    """Return the rows that have all these grams; all of them where that would not save anything."""
    if not found or len(among) <= FEW:
        return among
    expression = " AND ".join([f'"{clue.gram}"*' if clue.begins else f'"{clue.gram}"' for clue in found[:CLUES]])
    rows = file.use(lambda connection: _matching(connection, expression, min(among), max(among)))
    return among & rows


def _matching(connection: sqlite3.Connection, expression: str, first: int, last: int) -> set[int]:
    query = "SELECT rowid FROM gram WHERE gram MATCH ? AND rowid BETWEEN ? AND ?"
    return {row for (row,) in connection.execute(query, (expression, first, last))}


def _cut(connection: sqlite3.Connection) -> set[int]:
    return {row for (row,) in connection.execute("SELECT row FROM email WHERE whole = 0")}
