"""
Who may have something shared with him, by whom: one small SQLite file beside the indexes of all accounts.

It has no more than hints.  What an access list says is in its owner's index; here stands where to look.  A hint is
written before the list that it leads to and removed after it, so that after a crash there may be one too many.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from twisted.logger import Logger

from mailfw.disk import full_is_no_space

log = Logger()

NAME = ".mailfw-shares.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS share (identifier TEXT NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (identifier, owner))
    WITHOUT ROWID
"""
_ADD = "INSERT OR IGNORE INTO share VALUES (?, ?)"
_DROP = "DELETE FROM share WHERE identifier = ? AND owner = ?"


class ShareFile:
    """All hints are in memory, and the file is opened to read or write them only.  Other methods than one block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        self._owners: dict[str, set[str]] | None = None

    def owners(self, identifiers: Iterable[str]) -> frozenset[str]:
        """Return who may have shared something with one of the identifiers."""
        with self._turn:
            known = self._known()
            return frozenset().union(*(known.get(each, ()) for each in identifiers))

    def known_owners(self, identifiers: Iterable[str]) -> frozenset[str] | None:
        """Return what `owners` does without blocking, None while the file has not been read."""
        known = self._owners
        return None if known is None else frozenset().union(*(known.get(each, ()) for each in identifiers))

    def note(self, identifier: str, owner: str, shares: bool) -> None:
        """Note that somebody shares something with an identifier, or no longer does.  Raises `NoSpace`."""
        with self._turn:
            known = self._known()
            if (owner in known.get(identifier, ())) == shares:
                return
            with full_is_no_space():
                self._write(_ADD if shares else _DROP, (identifier, owner))
            (known.setdefault(identifier, set()).add if shares else known[identifier].discard)(owner)

    def _known(self) -> dict[str, set[str]]:
        if self._owners is None:
            self._owners = self._read() if self._path.exists() else {}
        return self._owners

    def _read(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        try:
            connection = self._open()
        except sqlite3.OperationalError:
            raise  # locked, or no room: the file may be well
        except sqlite3.DatabaseError as error:
            aside = self._path.with_name(f"{self._path.name}.broken-{int(time.time())}")
            log.error("{path} is broken ({error}): it is {aside} now", path=self._path, error=error, aside=aside)
            self._path.rename(aside)
            return found
        try:
            for identifier, owner in connection.execute("SELECT identifier, owner FROM share"):
                found.setdefault(identifier, set()).add(owner)
        finally:
            connection.close()
        return found

    def _write(self, statement: str, row: tuple[str, str]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = self._open()
        try:
            with connection:
                connection.execute(statement, row)
        finally:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=2)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection
