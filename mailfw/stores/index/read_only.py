"""
The index files of all accounts, read by a process that does not write them.

Its connections read, and never write or checkpoint: SQLite before 3.51.3 could damage a file that two connections write
or checkpoint (see "The WAL Reset Bug" in its documentation), and another process is doing that.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import quote

from mailfw.mail.failure import NoSuchAccount
from mailfw.stores.index.database import NAME
from mailfw.stores.index.pool import Pool
from mailfw.stores.places import account_directory
from mailfw.stores.pragmas import with_pragmas
from mailfw.stores.threads import Threads

T = TypeVar("T")

#: Connections kept open; each has three descriptors.
CONNECTIONS = 64

READING = ("query_only = ON", "mmap_size = 0", "wal_autocheckpoint = 0", "cache_size = -1024")


class ReadIndexes(Protocol):
    """Indexes that another process writes."""

    async def read(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in a thread; it sees all that was committed before, and nothing that is while it runs."""

    async def close(self) -> None:
        """Close every file."""


def connect(path: Path, pragmas: tuple[str, ...] = READING) -> sqlite3.Connection:
    """Open a file that there is, for reading, in any one thread at a time; blocks."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", timeout=20, isolation_level=None, check_same_thread=False, uri=True
    )
    with with_pragmas(connection, pragmas):
        return connection


def at_one_time(connection: sqlite3.Connection, query: Callable[[sqlite3.Connection], T]) -> T:
    """Run a query whose statements all see the same state of the file; blocks."""
    connection.execute("BEGIN")
    try:
        return query(connection)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


class _Connection:
    """A connection to the file that is at a path now, which need not be the one that was there."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self._path = path
        self._file: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None

    def use(self, query: Callable[[sqlite3.Connection], T]) -> T:
        with self.lock:
            return at_one_time(self._open(), query)

    def _open(self) -> sqlite3.Connection:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self.close()
            raise NoSuchAccount("the account is gone")
        file = status.st_dev, status.st_ino
        if self._connection is None or file != self._file:
            self.close()
            # Should another take its place just now, that is seen at the next query; this one sees a file that was.
            self._connection, self._file = connect(self._path), file
        return self._connection

    def close(self) -> None:
        """Close the file; the lock is held."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class ReadDatabases:
    """Every account's index, in ``directory/domain/local``, as `Databases` has them where they are written."""

    def __init__(self, directory: Path, threads: Threads) -> None:
        self._directory = directory
        self._threads = threads
        self._pool = Pool(self._connection, CONNECTIONS)

    def _connection(self, account: str) -> _Connection:
        return _Connection(account_directory(self._directory, account) / NAME)

    async def read(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in a thread.  Raises `NoSuchAccount` where there is no index."""
        return await self._threads.run(self._read, account, query)

    def _read(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        return self._pool.of(account).use(query)

    async def close(self) -> None:
        """Close every file."""
        await self._threads.run(self._pool.close)
