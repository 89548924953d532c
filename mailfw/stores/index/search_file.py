"""
The search file of one account: the text of its mail, folded, and which grams each message has.  Everything here blocks.

Made of what the index and the messages say, at any time: nothing is lost with it.  It is a file of its own, so that no
delivery waits for what is written here, and commits are not synced.  A message is known by the row of its summary in
the index, and its email id says whether that row is still the same message's.

Grams are an FTS5 table without content, positions or sizes.  They say which messages may contain a text, and their
folded text says which do: as it is where it is short, so that SQLite looks through it by itself, else compressed.
``from``, ``to``, ``cc``, ``bcc`` and ``subject`` are columns of a narrow table.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mailfw.disk import full_is_no_space
from mailfw.mail.terms import BREAK, Terms, as_tokens, grams
from mailfw.stores.index.search_columns import FieldTexts, KeptTexts
from mailfw.stores.places import account_directory
from mailfw.stores.pragmas import with_pragmas

T = TypeVar("T")

NAME = "mailfw-search.sqlite"

#: To be raised with whatever changes the text or the grams of a message: files of another version are made anew.
VERSION = 2

#: Fields that have a column.
COLUMNS = {"from": "sender", "to": "recipient", "cc": "cc", "bcc": "bcc", "subject": "subject"}

SCHEMA = """
CREATE TABLE email (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL, whole INTEGER NOT NULL,
    sender TEXT, recipient TEXT, cc TEXT, bcc TEXT, subject TEXT);
CREATE INDEX email_cut ON email (row) WHERE whole = 0;
CREATE TABLE text (row INTEGER PRIMARY KEY, head BLOB NOT NULL, body BLOB, rest BLOB, packed BLOB);
CREATE VIRTUAL TABLE gram USING fts5 (grams, content='', detail=none, columnsize=0, tokenize='ascii');
"""

#: Octets of body and rest together that are kept as they are.
SHORT = 4096
#: Between body and rest where they are compressed: no folded text has it.
SECTION = b"\0"
#: Fast, and nearly as small as the best for text of this length.
_LEVEL = 3


def search_place(root: Path) -> Callable[[str], Path]:
    """Return what says where accounts have their files below a directory; it raises `NoSuchAccount`."""
    return lambda account: account_directory(root, account) / NAME


@dataclass(frozen=True, slots=True)
class Found:
    """A message's text as it goes into the file; `row` and `id` are those of its summary."""

    row: int
    id: str
    terms: Terms


class SearchFile:
    """One account's file, opened when it is first used; one thread at a time uses it."""

    def __init__(self, path: Path, texts: KeptTexts) -> None:
        self._texts = texts
        #: Goes up whenever what was in the file is in it no more.
        self.generation = 0
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._is_over = False

    def use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """
        Run a query, or a change in a transaction.

        Raises `NoSpace` and `sqlite3.Error`; a file that is broken is removed then, and made anew the next time.
        """
        with self._lock, full_is_no_space():
            try:
                if self._is_over:
                    raise sqlite3.OperationalError("the search file is gone")
                if self._connection is None:
                    self._connection = _open(self._path)
                return work(self._connection)
            except sqlite3.DatabaseError as error:
                if type(error) is sqlite3.DatabaseError:  # not one of its kinds: the file is broken
                    self._remove()
                raise

    def texts(self, connection: sqlite3.Connection, column: str) -> FieldTexts | None:
        """Return a column of the table of messages, in a query; None if it is too large."""
        return self._texts.of(self, connection, column)

    def exists(self) -> bool:
        """Whether there is a file."""
        return self._path.exists()

    def clear(self) -> None:
        """Destroy what is in the file."""
        with self._lock:
            self._remove()

    def remove(self) -> None:
        """Destroy the file, and use it no more."""
        with self._lock:
            self._is_over = True
            self._remove()

    def _remove(self) -> None:
        self._close()
        self.generation += 1
        for end in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)
        if self._path.parent.is_dir() and not any(self._path.parent.iterdir()):
            self._path.parent.rmdir()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._texts.forget(self)
            connection.close()


_PRAGMAS = (
    "locking_mode = EXCLUSIVE",
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "mmap_size = 0",
    "secure_delete = OFF",
    "cache_size = -2048",
)


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=2, isolation_level=None, check_same_thread=False)
    with with_pragmas(connection, _PRAGMAS):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            if version:
                raise sqlite3.DatabaseError(f"{path} was written by another version of mailfw")
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")
    return connection


# ---------------------------------------------------------------- writing


def add(connection: sqlite3.Connection, messages: Sequence[Found]) -> None:
    """Put messages in, in place of whatever has their rows; all or none."""
    emails = [(each.row, each.id, each.terms.is_whole, *map(each.terms.column, COLUMNS)) for each in messages]
    texts = [(each.row, *_kept(each.terms)) for each in messages]
    tokens = [(each.row, as_tokens(_grams(each.terms))) for each in messages]
    with _Transaction(connection):
        _drop(connection, [each.row for each in messages])
        connection.executemany("INSERT INTO email VALUES (?, ?, ?, ?, ?, ?, ?, ?)", emails)
        connection.executemany("INSERT INTO text VALUES (?, ?, ?, ?, ?)", texts)
        connection.executemany("INSERT INTO gram (rowid, grams) VALUES (?, ?)", tokens)


def drop(connection: sqlite3.Connection, rows: Iterable[int]) -> None:
    """Take messages out; those that are not there are passed over."""
    with _Transaction(connection):
        _drop(connection, list(rows))


def _drop(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    asked = json.dumps(rows)
    found = connection.execute("SELECT * FROM text WHERE row IN (SELECT value FROM json_each(?))", (asked,))
    # A table without content has to be told what it forgets.  One after the other, since each may be large.
    gone = ((row, as_tokens(_grams(_terms(*columns)))) for row, *columns in found)
    connection.executemany("INSERT INTO gram (gram, rowid, grams) VALUES ('delete', ?, ?)", gone)
    for table in ("text", "email"):
        connection.execute(f"DELETE FROM {table} WHERE row IN (SELECT value FROM json_each(?))", (asked,))  # noqa: S608 -- ours


def _grams(terms: Terms) -> set[str]:
    return grams(BREAK.join((terms.head, terms.body, terms.rest)))


def _kept(terms: Terms) -> tuple[bytes | None, ...]:
    """Return a text as columns: head, body, rest, and the last two packed."""
    head, body, rest = (text.encode("utf-8") for text in (terms.head, terms.body, terms.rest))
    if len(body) + len(rest) <= SHORT:
        return head, body, rest, None
    return head, None, None, zlib.compress(body + SECTION + rest, _LEVEL)


def _terms(head: bytes, body: bytes | None, rest: bytes | None, packed: bytes | None) -> Terms:
    if packed is not None:
        body, rest = zlib.decompress(packed).split(SECTION)
    assert body is not None
    assert rest is not None
    return Terms(head.decode("utf-8"), body.decode("utf-8"), rest.decode("utf-8"))


class _Transaction:
    """All that is done within it, or none."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._connection.execute("COMMIT")
        elif self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


# ---------------------------------------------------------------- what is there


def ids_of(connection: sqlite3.Connection, first: int, last: int) -> dict[int, str]:
    """Return the email ids of the messages with rows in a range, by row."""
    return dict(connection.execute("SELECT row, id FROM email WHERE row BETWEEN ? AND ?", (first, last)))
