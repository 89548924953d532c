"""The files of all accounts, and the bodies in them, read by a process that does not write them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from mailfw.disk import Disk
from mailfw.interfaces import IContent
from mailfw.mail.mailbox import Flags
from mailfw.stores.index.mailbox import Mailbox
from mailfw.stores.index.read_only import READING, at_one_time, connect
from mailfw.stores.sqlite.bodies import LargeBodies
from mailfw.stores.sqlite.connections import Connections
from mailfw.stores.sqlite.opening import Opener
from mailfw.stores.sqlite.shards import file_names, place_of
from mailfw.stores.threads import Threads

T = TypeVar("T")

PRAGMAS = (*READING, "cache_size = -4096")


class ReadShard:
    """One file.  Everything here blocks, in any thread."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._connections = Connections(lambda: connect(path, PRAGMAS))
        self.bodies = LargeBodies(disk, path.with_suffix(".bodies"), self._never)

    def _never(self, name: str) -> bool:
        return True  # nothing is removed here

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query, which sees all that was committed before."""
        with self._connections.one() as connection:
            return at_one_time(connection, query)

    def close(self) -> None:
        """Close the file."""
        self._connections.close()


class ReadShards:
    """Provides `ReadIndexes` with the `count` files of a directory, and what opens bodies with them."""

    def __init__(self, directory: Path, count: int, threads: Threads, disk: Disk) -> None:
        self._threads = threads
        self._shards = [ReadShard(directory / name, disk) for name in file_names(count)]

    def shard(self, account: str) -> ReadShard:
        """Return the file that an account is in."""
        return self._shards[place_of(account, len(self._shards))]

    async def read(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in a thread."""
        return await self._threads.run(self.read_now, account, query)

    def read_now(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query; blocks."""
        return self.shard(account).read(query)

    async def close(self) -> None:
        """Close every file."""
        for shard in self._shards:
            await self._threads.run(shard.close)


class SqliteBodies:
    """Opens the bodies of these files."""

    is_ours = True

    def __init__(self, shards: ReadShards, threads: Threads, disk: Disk) -> None:
        self._opener = Opener(shards, threads, disk)
        self._disk = disk

    def at_hand(self, account: str, box: Mailbox, wanted: Sequence[tuple[str, Flags]]) -> list[IContent | None]:
        """Return nothing: SQLite does not tell what it would have to read."""
        return [None] * len(wanted)

    async def open_many(
        self, account: str, box: Mailbox, wanted: Sequence[tuple[str, Flags]]
    ) -> Sequence[IContent | None]:
        """Open messages in one visit to a thread."""
        return await self._opener.open_many(account, [key for key, _ in wanted])

    async def close(self) -> None:
        """Let go of files."""
        self._disk.release()
