"""One SQLite file, written by one connection and read by others.  Everything here blocks, in any thread."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from twisted.logger import Logger

from mailfw.disk import Disk, full_is_no_space
from mailfw.stores.pragmas import with_pragmas
from mailfw.stores.sqlite.bodies import LargeBodies
from mailfw.stores.sqlite.connections import Connections
from mailfw.stores.sqlite.schema import (
    FORGET_LITTER,
    FORGET_OLD,
    SCHEMA,
    VERSION,
    clear_some,
    find_litter,
    find_removed,
    has_file,
)

log = Logger()
T = TypeVar("T")

#: Statements with the rows of parameters they are done for, all of them or none.
Steps = Sequence[tuple[str, Sequence[tuple[Any, ...]]]]

#: SQLite from 3.7.0 to 3.51.2 may damage a file that two connections write or checkpoint at the same moment.
SOUND = (3, 51, 3)

#: Messages of an account that is removed, or that are forgotten, with one commit.
CLEARED = 500

WRITING = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "mmap_size = 0",
    "secure_delete = OFF",
    "cache_size = -16384",
    # Pages of 4 KiB: what a checkpoint costs is paid for more messages.
    "wal_autocheckpoint = 4000",
    "journal_size_limit = 67108864",
)
READING = ("query_only = ON", "mmap_size = 0", "cache_size = -4096", "wal_autocheckpoint = 0")


class Shard:
    """
    A file with the mail of many accounts, opened when it is first used.

    A lock beside it keeps every other process from opening it: SQLite's own would let two of them write in turn,
    and the versions below `SOUND` do not survive that.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._turn = threading.Lock()
        self._readers = Connections(lambda: _connect(disk, path, READING))
        self._writer: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._swept: list[str] = []
        self.bodies = LargeBodies(disk, path.with_suffix(".bodies"), self.has_file)

    # ------------------------------------------------------------ reading

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query, which changes nothing; it sees all that was written before, and waits for no writing."""
        if self._writer is None:
            with self._turn:
                self._ready()
        with full_is_no_space(), self._readers.one() as connection:
            return query(connection)

    def is_made(self) -> bool:
        """Whether there is such a file yet."""
        return self._writer is not None or self._path.exists()

    def has_file(self, name: str) -> bool:
        """Whether a body is in this file."""
        return self.read(lambda connection: has_file(connection, name))

    # ------------------------------------------------------------ writing

    def write(self, orders: Sequence[Steps]) -> list[Exception | None]:
        """
        Do each order as a whole or not at all, with one sync for all; for each what failed.

        If one cannot be done each is done alone, so that it fails alone.
        """
        with self._turn:
            try:
                writer = self._ready()
            except Exception as error:
                return [error] * len(orders)
            failure = self._try(writer, orders)
            if failure is None or len(orders) == 1:
                failures = [failure] * len(orders)
            else:
                failures = [self._try(writer, [order]) for order in orders]
            self._sweep(writer)
        return failures

    def clear(self) -> bool:
        """Remove some of what is left of accounts that were removed; whether there is more."""
        with self._turn:
            writer = self._ready()
            if left := find_removed(writer):
                with self._transaction(writer):
                    clear_some(writer, left[0], CLEARED)
                self._sweep(writer)
            return bool(find_removed(writer))

    def forget(self, before: float) -> bool:
        """Remove for good some of what was expunged before a time; whether there may be more."""
        with self._turn:
            writer = self._ready()
            with self._transaction(writer):
                forgotten = writer.execute(FORGET_OLD, (before, CLEARED)).rowcount
            self._sweep(writer)
            return forgotten == CLEARED

    @contextmanager
    def _transaction(self, writer: sqlite3.Connection) -> Iterator[None]:
        """Do what is in the body of the ``with`` as a whole or not at all."""
        with full_is_no_space():
            writer.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._disk.commit(writer)
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise

    def _try(self, writer: sqlite3.Connection, orders: Sequence[Steps]) -> Exception | None:
        swept = self._swept
        try:
            with self._transaction(writer):
                for statement, rows in [*_joined(orders), (FORGET_LITTER, [(name,) for name in swept])]:
                    writer.executemany(statement, rows)
        except Exception as error:
            return error
        self._swept = []
        return None

    def _sweep(self, writer: sqlite3.Connection) -> None:
        """Remove the files of bodies that are gone; the next commit notes it."""
        try:
            names = [name for name in find_litter(writer) if name not in self._swept]
            if names:
                self.bodies.remove(names)
                self._swept = self._swept + names
        except (OSError, sqlite3.Error):
            log.failure("files of bodies that are gone stay for now")

    # ------------------------------------------------------------ opening and closing

    def _ready(self) -> sqlite3.Connection:
        """Return the one connection that writes; the turn is held."""
        if self._writer is None:
            with full_is_no_space():
                self._writer = self._open()
                # What a process that died has left.
                self.bodies.settle_all()
                self._sweep(self._writer)
        return self._writer

    def _open(self) -> sqlite3.Connection:
        self._disk.make_directory(self._path.parent)
        self._lock = _locked(self._path.with_suffix(".lock"))
        try:
            writer = _connect(self._disk, self._path, WRITING)
            try:
                _make_tables(writer, self._path)
                self._disk.sync_directory(self._path.parent)
            except BaseException:
                writer.close()
                raise
        except BaseException:
            self._unlock()
            raise
        if sqlite3.sqlite_version_info < SOUND:
            log.warn(  # noqa: G010 -- Twisted's logger
                "SQLite {version} may damage {path} if any other program writes to it: none must",
                version=sqlite3.sqlite_version,
                path=self._path,
            )
        return writer

    def close(self) -> None:
        """Close the file, the writing connection last: it is the one that checkpoints."""
        with self._turn:
            self._readers.close()
            if self._writer is not None:
                self._writer.close()
            self._writer = None
            self._unlock()

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def _joined(orders: Sequence[Steps]) -> Iterator[tuple[str, Sequence[tuple[Any, ...]]]]:
    """Join orders of the same statements, so that each statement is done once for the rows of all."""
    alike: dict[tuple[str, ...], list[Steps]] = {}
    for order in orders:
        alike.setdefault(tuple([statement for statement, _ in order]), []).append(order)
    for statements, group in alike.items():
        for place, statement in enumerate(statements):
            yield statement, list(chain.from_iterable([order[place][1] for order in group]))


def _connect(disk: Disk, path: Path, pragmas: Sequence[str]) -> sqlite3.Connection:
    with with_pragmas(disk.connect(path), pragmas) as connection:
        return connection


def _make_tables(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    if version:
        raise _of_another_version(path, version)
    connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")


def check_version(path: Path) -> None:
    """
    Refuse a file of another version, by its first octets alone: nothing is opened and no lock is needed.

    Blocks; raises `ValueError`.
    """
    with path.open("rb") as file:
        head = file.read(64)
    version = int.from_bytes(head[60:64], "big")  # the user version: https://www.sqlite.org/fileformat.html section 1.3
    if version not in (0, VERSION):
        raise _of_another_version(path, version)


def _of_another_version(path: Path, version: int) -> ValueError:
    return ValueError(
        f"{path} was written by another version of mailfw ({version}, not {VERSION}): "
        "have that version write a backup, and restore it with this one"
    )


def _locked(path: Path) -> int:
    """Take the lock of a file, for as long as the descriptor is open."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise RuntimeError(f"{path}: another process has this store open") from error
    return descriptor
