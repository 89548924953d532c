"""The index files of all accounts, each read and written by one connection, in threads."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mailfw.disk import full_is_no_space
from mailfw.stores.index import queries
from mailfw.stores.index.queries import AccountState
from mailfw.stores.index.schema import open_index
from mailfw.stores.places import account_directory
from mailfw.stores.threads import Threads

T = TypeVar("T")

NAME = "mailfw-index.sqlite"

#: Connections kept open; each has two descriptors, and a process commonly 1,024.
CONNECTIONS = 100


class Changes:
    """Statements for one transaction, in order; those that only the index remembers make it `synced`."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, list[tuple[Any, ...]]]] = []
        self.synced = False

    def add(self, statement: str, *rows: tuple[Any, ...]) -> None:
        """Add a statement, to be done once for each row of parameters."""
        self.steps.append((statement, list(rows)))


class Indexes(Protocol):
    """Where the indexes of all accounts are; who opens an account calls `load_account` before all else."""

    def check(self, account: str) -> None:
        """Raise `NoSuchAccount` if this cannot be the name of an account."""

    async def exists(self, account: str) -> bool:
        """Whether an account has an index."""

    async def load_account(self, account: str) -> AccountState:
        """Read all of an account but its messages."""

    async def last_mailbox(self, account: str) -> int:
        """Return a row than which no mailbox of the account ever had a higher one."""

    async def read(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query, which changes nothing, in a thread."""

    def read_now(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query; blocks."""

    async def write(self, account: str, changes: Changes) -> None:
        """Do all changes or none.  Raises `NoSpace`."""

    def write_all(self, changes: Sequence[tuple[str, Changes]]) -> list[Exception | None]:
        """Do all changes of each account or none of its, and say what failed; blocks."""

    async def remove(self, account: str) -> None:
        """Destroy an account's index."""

    async def close(self) -> None:
        """Close every file."""


class _Connection:
    def __init__(self, path: Path, synced: bool) -> None:
        self.lock = threading.Lock()
        self._path = path
        self._synced = synced
        self._connection: sqlite3.Connection | None = None

    def use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self.lock, full_is_no_space():
            if self._connection is None:
                self._connection = open_index(self._path, self._synced)
            return work(self._connection)

    def write(self, changes: Changes) -> None:
        self.use(lambda connection: _write(connection, changes, self._synced))

    def close(self) -> None:
        """Close the file; the lock is held by the caller, or nobody uses it any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Databases:
    """
    Every account's index, in ``directory/domain/local``.

    `synced` commits are on stable storage when they return, the others only after a while.
    """

    def __init__(self, directory: Path, threads: Threads, synced: bool) -> None:
        self._directory = directory
        self._threads = threads
        self._synced = synced
        self._guard = threading.Lock()
        self._open: OrderedDict[str, _Connection] = OrderedDict()

    def check(self, account: str) -> None:
        """Raise `NoSuchAccount` if this cannot be the name of an account."""
        self.path(account)

    def path(self, account: str) -> Path:
        """Return where an account's index is.  Raises `NoSuchAccount`."""
        return account_directory(self._directory, account) / NAME

    async def exists(self, account: str) -> bool:
        """Whether an account has an index."""
        return await self._threads.run(self.path(account).exists)

    async def load_account(self, account: str) -> AccountState:
        """Read all of an account but its messages."""
        return await self.read(account, queries.load_account)

    async def last_mailbox(self, account: str) -> int:
        """Return the highest row that a mailbox ever had."""
        return await self.read(account, queries.last_mailbox)

    async def read(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in a thread."""
        return await self._threads.run(self.read_now, account, query)

    def read_now(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query; blocks."""
        return self._of(account).use(query)

    async def write(self, account: str, changes: Changes) -> None:
        """Do all changes or none.  Raises `NoSpace`."""
        await self._threads.run(self.write_now, account, changes)

    def write_now(self, account: str, changes: Changes) -> None:
        """Do all changes or none; blocks.  Raises `NoSpace`."""
        self._of(account).write(changes)

    def write_all(self, changes: Sequence[tuple[str, Changes]]) -> list[Exception | None]:
        """Write to one index after the other; blocks."""
        return [self._try_to_write(account, each) for account, each in changes]

    def _try_to_write(self, account: str, changes: Changes) -> Exception | None:
        try:
            self.write_now(account, changes)
        except Exception as error:
            return error
        return None

    def _of(self, account: str) -> _Connection:
        with self._guard:
            found = self._open.get(account)
            if found is None:
                found = self._open[account] = _Connection(self.path(account), self._synced)
                self._close_one()
            self._open.move_to_end(account)
            return found

    def _close_one(self) -> None:
        """Close the connection that was used longest ago, unless it is in use."""
        if len(self._open) <= CONNECTIONS:
            return
        account, oldest = next(iter(self._open.items()))
        if oldest.lock.acquire(blocking=False):
            try:
                oldest.close()
                del self._open[account]
            finally:
                oldest.lock.release()

    async def remove(self, account: str) -> None:
        """Destroy an account's index."""
        await self._threads.run(self._remove, account)

    def _remove(self, account: str) -> None:
        self._let_go(account)
        path = self.path(account)
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def _let_go(self, account: str) -> None:
        with self._guard:
            connection = self._open.pop(account, None)
        if connection is not None:
            with connection.lock:
                connection.close()

    async def close(self) -> None:
        """Close every file."""
        for account in list(self._open):
            await self._threads.run(self._let_go, account)


def _write(connection: sqlite3.Connection, changes: Changes, synced: bool) -> None:
    if changes.synced and not synced:
        connection.execute("PRAGMA synchronous = FULL")
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement, rows in changes.steps:
                connection.executemany(statement, rows)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    finally:
        if changes.synced and not synced:
            connection.execute("PRAGMA synchronous = NORMAL")
