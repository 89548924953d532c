"""The index files of all accounts, each read and written by one connection, in threads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mailfw.disk import full_is_no_space
from mailfw.stores.index import queries
from mailfw.stores.index.pool import Pool
from mailfw.stores.index.queries import AccountState
from mailfw.stores.index.schema import open_index
from mailfw.stores.index.shares import NAME as SHARES
from mailfw.stores.index.shares import ShareFile
from mailfw.stores.places import account_directory
from mailfw.stores.threads import Threads

T = TypeVar("T")

NAME = "mailfw-index.sqlite"

#: Connections kept open; each has two descriptors or three, and a process commonly 1,024.
CONNECTIONS = 100


class Changes:
    """Statements for one transaction, in order; those that only the index remembers make it `synced`."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, list[tuple[Any, ...]]]] = []
        self.synced = False

    def add(self, statement: str, *rows: tuple[Any, ...]) -> None:
        """Add a statement, to be done once for each row of parameters."""
        self.steps.append((statement, list(rows)))


@dataclass(frozen=True, slots=True)
class Keeping:
    """
    Statements of an index that has the bodies and keeps expunged messages, done before those that remove them.

    `messages` and `mailbox` take the time and the mailbox's row, and the first a UID as well.  `give_back` takes the
    mailbox's row, UID, modification sequence and flags, the row of what is kept, which alone `forget` takes, and when.
    Unless it `goes_on`, no more is kept than there is.
    """

    goes_on: bool
    messages: str
    mailbox: str
    give_back: str
    forget: str


class Indexes(Protocol):
    """
    Where the indexes of all accounts are; who opens an account calls `load_account` before all else.

    `keeping` is None where the index never keeps what was expunged.
    """

    keeping: Keeping | None

    def check(self, account: str) -> None:
        """Raise `NoSuchAccount` if this cannot be the name of an account."""

    async def exists(self, account: str) -> bool:
        """Whether an account has an index."""

    async def load_account(self, account: str) -> AccountState:
        """Read all of an account but its messages."""

    async def last_mailbox(self, account: str) -> int:
        """Return a row than which no mailbox of the account ever had a higher one."""

    def file_of(self, account: str) -> object:
        """Return what is the same for accounts that one query can ask for together."""

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

    async def owners(self, identifiers: Iterable[str]) -> frozenset[str]:
        """Return the accounts of which it was noted that they share something with one of the identifiers."""

    async def note_share(self, identifier: str, owner: str, shares: bool) -> None:
        """Note that an account shares something with an identifier, or no longer does.  Raises `NoSpace`."""

    async def close(self) -> None:
        """Close every file."""


class _Connection:
    def __init__(self, path: Path, synced: bool, shared: bool) -> None:
        self.lock = threading.Lock()
        self._path = path
        self._synced = synced
        self._shared = shared
        self._connection: sqlite3.Connection | None = None

    def use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self.lock, full_is_no_space():
            if self._connection is None:
                self._connection = open_index(self._path, self._synced, self._shared)
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

    `synced` commits are on stable storage when they return, the others only after a while.  `shared` files can be read
    by other processes meanwhile (`mailfw.stores.index.read_only`).
    """

    keeping: Keeping | None = None

    def __init__(self, directory: Path, threads: Threads, synced: bool, shared: bool = False) -> None:
        self._directory = directory
        self._threads = threads
        self._synced = synced
        self._shared = shared
        self._pool = Pool(self._connection, CONNECTIONS)
        self._shares = ShareFile(directory / SHARES)

    def _connection(self, account: str) -> _Connection:
        return _Connection(self.path(account), self._synced, self._shared)

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

    def file_of(self, account: str) -> object:
        """Return what no other account has: each has a file of its own."""
        return account

    async def read(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in a thread."""
        return await self._threads.run(self.read_now, account, query)

    def read_now(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query; blocks."""
        return self._pool.of(account).use(query)

    async def write(self, account: str, changes: Changes) -> None:
        """Do all changes or none.  Raises `NoSpace`."""
        await self._threads.run(self.write_now, account, changes)

    def write_now(self, account: str, changes: Changes) -> None:
        """Do all changes or none; blocks.  Raises `NoSpace`."""
        self._pool.of(account).write(changes)

    def write_all(self, changes: Sequence[tuple[str, Changes]]) -> list[Exception | None]:
        """Write to one index after the other; blocks."""
        return [self._try_to_write(account, each) for account, each in changes]

    def _try_to_write(self, account: str, changes: Changes) -> Exception | None:
        try:
            self.write_now(account, changes)
        except Exception as error:
            return error
        return None

    async def remove(self, account: str) -> None:
        """Destroy an account's index, and what was put aside of it."""
        await self._threads.run(self._remove, account)

    async def begin_anew(self, account: str) -> None:
        """Destroy an account's index, to make another."""
        await self._threads.run(self._remove_file, account)

    def _remove_file(self, account: str) -> None:
        self._pool.let_go(account)
        path = self.path(account)
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)

    def _remove(self, account: str) -> None:
        self._remove_file(account)
        path = self.path(account)
        for aside in path.parent.glob(f"{path.name}.*"):
            aside.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    async def owners(self, identifiers: Iterable[str]) -> frozenset[str]:
        """Return who may share something with one of the identifiers."""
        known = self._shares.known_owners(identifiers)
        return known if known is not None else await self._threads.run(self._shares.owners, identifiers)

    async def note_share(self, identifier: str, owner: str, shares: bool) -> None:
        """Note that an account shares something with an identifier, or no longer does."""
        await self._threads.run(self._shares.note, identifier, owner, shares)

    async def close(self) -> None:
        """Close every file."""
        await self._threads.run(self._pool.close)


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
