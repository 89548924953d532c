"""Opening bodies, in the process that writes them and in others."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from mailfw.disk import Disk, full_is_no_space
from mailfw.interfaces import IContent
from mailfw.stores.kept import KeptContent
from mailfw.stores.sqlite import schema
from mailfw.stores.sqlite.bodies import LargeBodies, LargeContent
from mailfw.stores.threads import Threads

T = TypeVar("T")


class OneShard(Protocol):
    """A file's large bodies."""

    bodies: LargeBodies


class Shelves(Protocol):
    """Where the bodies of all accounts are.  Every method blocks."""

    def shard(self, account: str) -> OneShard:
        """Return the file that an account is in."""

    def read_now(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query."""


class Opener:
    """Opens bodies by the rows that they have."""

    def __init__(self, shards: Shelves, threads: Threads, disk: Disk) -> None:
        self._shards = shards
        self._threads = threads
        self._disk = disk

    async def open_many(self, account: str, keys: Sequence[str]) -> list[IContent | None]:
        """Open messages in one visit to a thread; a small one is read at once, None stands for those that are gone."""
        found = await self._threads.run(self._open_all, account, [int(key) for key in keys])
        return [None if each is None else self.content(each) for each in found]

    def _open_all(self, account: str, rows: Sequence[int]) -> list[bytes | int | None]:
        """Return octets, or open files."""
        with full_is_no_space():
            bodies = self._shards.read_now(account, partial(schema.find_bodies, rows=rows))
            return [self._open_body(account, *bodies.get(row, (None, None))) for row in rows]

    def _open_body(self, account: str, octets: bytes | None, file: str | None) -> bytes | int | None:
        if file is None:
            return octets
        try:
            return self._shards.shard(account).bodies.open(file)
        except KeyError:
            return None

    def content(self, body: bytes | int) -> IContent:
        """Return what is read from octets, or from an open file."""
        return KeptContent(body) if isinstance(body, bytes) else LargeContent(self._threads, self._disk, body)
