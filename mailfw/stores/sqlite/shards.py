"""The files of all accounts, as the index wants them: what is written at the same time is committed together."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from mailfw.disk import Disk
from mailfw.mail.failure import NoSuchAccount
from mailfw.stores.index.database import Changes, Keeping
from mailfw.stores.index.queries import AccountState
from mailfw.stores.sqlite import schema
from mailfw.stores.sqlite.shard import Shard, Steps
from mailfw.stores.threads import Threads

T = TypeVar("T")

#: Octets of an account's name.
NAME_LIMIT = 512

#: Changes that are committed together.
TOGETHER = 256


class Shards:
    """
    Provides `Indexes` with `count` files in a directory; a name's hash says in which an account is.

    What is expunged can come back if it `retains`.
    `write` hands changes to a committer for each file: those that come while it commits go with the next.
    """

    def __init__(self, directory: Path, count: int, threads: Threads, disk: Disk, retains: bool = False) -> None:
        self.keeping: Keeping | None = schema.keeping(retains)
        self._directory = directory
        self._threads = threads
        self._shards = [Shard(directory / name, disk) for name in file_names(count)]
        self._lines = [_Line(shard, threads) for shard in self._shards]
        self._numbers: dict[str, int] = {}
        self._is_counted = False

    # ------------------------------------------------------------ which account, and where

    def check(self, account: str) -> None:
        """Raise `NoSuchAccount` if this cannot be the name of an account."""
        local, _, domain = account.rpartition("@")
        if not local or not domain or "\0" in account or len(account.encode(errors="replace")) > NAME_LIMIT:
            raise NoSuchAccount(f"{account!r} cannot be the name of an account")
        try:
            account.encode()
        except UnicodeEncodeError:
            raise NoSuchAccount(f"{account!r} cannot be the name of an account")

    def _place(self, account: str) -> int:
        return place_of(account, len(self._shards))

    def shard(self, account: str) -> Shard:
        """Return the file that an account is in.  Blocks.  Raises `ValueError` where mail is spread over others."""
        self._check_count()
        return self._shards[self._place(account)]

    def _check_count(self) -> None:
        if not self._is_counted:
            there = {path.name for path in self._directory.glob("mail-*.sqlite")}
            if there - set(file_names(len(self._shards))):
                raise ValueError(f"{self._directory} is not spread over {len(self._shards)} files: {min(there)}")
            self._is_counted = True

    def _number(self, account: str) -> int | None:
        """Return an account's number; blocks."""
        if account not in self._numbers:
            number = self.shard(account).read(lambda connection: schema.find_number(connection, account))
            if number is None:
                return None
            self._numbers[account] = number
        return self._numbers[account]

    def number(self, account: str) -> int:
        """Return an account's number.  Blocks.  Raises `NoSuchAccount`."""
        number = self._number(account)
        if number is None:
            raise NoSuchAccount(f"there is no account {account}")
        return number

    # ------------------------------------------------------------ accounts

    async def create(self, account: str) -> None:
        """Make an account with its inbox where it is not."""
        if not await self.exists(account):
            await self.commit(account, schema.account_steps(account))
            await self.exists(account)

    async def exists(self, account: str) -> bool:
        """Whether there is such an account."""
        return await self._threads.run(self._number, account) is not None

    async def load_account(self, account: str) -> AccountState:
        """Read all of an account but its messages."""
        return await self.ask(account, schema.load_account)

    async def last_mailbox(self, account: str) -> int:
        """Return a row than which no mailbox of the account ever had a higher one."""
        return await self.ask(account, schema.last_mailbox)

    async def remove(self, account: str) -> None:
        """Destroy an account, with all its mail."""
        number = await self._threads.run(self.number, account)
        await self.commit(account, schema.removal_steps(number))
        self._numbers.pop(account, None)
        # However much it is, others have their turn between; what a dying process leaves, `forget` removes.
        while await self._threads.run(self._shards[self._place(account)].clear):
            pass

    async def forget(self, before: float) -> bool:
        """Remove some of what was expunged before a time, and of what is left of accounts; whether there is more."""
        return await self._threads.run(self._forget, before)

    def _forget(self, before: float) -> bool:
        self._check_count()
        return any(shard.clear() or shard.forget(before) for shard in self._shards if shard.is_made())

    # ------------------------------------------------------------ shares

    async def owners(self, identifiers: Iterable[str]) -> frozenset[str]:
        """Return who may share something with one of the identifiers."""
        return await self._threads.run(self._owners, identifiers)

    def _owners(self, identifiers: Iterable[str]) -> frozenset[str]:
        found: set[str] = set()
        for each in identifiers:
            if self.shard(each).is_made():
                found.update(self.shard(each).read(partial(schema.find_owners, identifier=each)))
        return frozenset(found)

    async def note_share(self, identifier: str, owner: str, shares: bool) -> None:
        """Note that an account shares something with an identifier, or no longer does."""
        await self.commit(identifier, [(schema.ADD_SHARE if shares else schema.DROP_SHARE, [(identifier, owner)])])

    # ------------------------------------------------------------ reading

    async def ask(self, account: str, query: Callable[[sqlite3.Connection, int], T]) -> T:
        """Run a query for an account's number.  Raises `NoSuchAccount`."""

        def run() -> T:
            number = self.number(account)
            return self.shard(account).read(lambda connection: query(connection, number))

        return await self._threads.run(run)

    def file_of(self, account: str) -> object:
        """Return which of the files an account is in."""
        return self._place(account)

    async def read(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in a thread."""
        return await self._threads.run(self.read_now, account, query)

    def read_now(self, account: str, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query; blocks."""
        return self.shard(account).read(query)

    # ------------------------------------------------------------ writing

    async def write(self, account: str, changes: Changes) -> None:
        """Do all changes or none, with those of others.  Raises `NoSpace`."""
        await self.commit(account, _steps(changes, self._numbers[account]))

    async def commit(self, account: str, steps: Steps) -> None:
        """Do all steps or none, with those of others.  Raises `NoSpace`."""
        await self._lines[self._place(account)].join(steps)

    def write_all(self, changes: Sequence[tuple[str, Changes]]) -> list[Exception | None]:
        """Do all changes of each account or none of its, with one sync for each file; blocks."""
        failures: list[Exception | None] = [None] * len(changes)
        by_shard: dict[int, list[int]] = {}
        for index, (account, _) in enumerate(changes):
            by_shard.setdefault(self._place(account), []).append(index)
        for place, indexes in by_shard.items():
            orders = [_steps(changes[index][1], self._numbers[changes[index][0]]) for index in indexes]
            for index, failure in zip(indexes, self._shards[place].write(orders), strict=True):
                failures[index] = failure
        return failures

    async def close(self) -> None:
        """Close every file."""
        for shard in self._shards:
            await self._threads.run(shard.close)


def file_names(count: int) -> list[str]:
    """Return the names of files, which say how many there are: with another number accounts would be elsewhere."""
    return [f"mail-{number:02}-of-{count:02}.sqlite" for number in range(1, count + 1)]


def place_of(account: str, count: int) -> int:
    """Return in which of the files an account is."""
    digest = hashlib.sha256(account.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4]) % count


class _Line:
    """Those who wait for one file's committer."""

    def __init__(self, shard: Shard, threads: Threads) -> None:
        self._shard = shard
        self._threads = threads
        self._waiting: list[tuple[Steps, Deferred[None]]] = []
        self._is_busy = False

    async def join(self, steps: Steps) -> None:
        """Wait until the steps are on stable storage."""
        done: Deferred[None] = Deferred()
        self._waiting.append((steps, done))
        if not self._is_busy:
            self._is_busy = True
            # Whatever else arrives in this turn of the reactor comes along.
            self._threads.soon(self._commit)
        await done

    def _commit(self) -> None:
        taken, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
        if not taken:
            self._is_busy = False
            return
        committing = self._threads.run(self._shard.write, [steps for steps, _ in taken])
        committing.addBoth(self._tell, [done for _, done in taken])

    def _tell(self, failures: Any, waiting: Sequence[Deferred[None]]) -> None:
        for index, done in enumerate(waiting):
            failure = failures[index] if isinstance(failures, list) else failures
            if failure is not None:
                done.errback(failure)
            else:
                done.callback(None)
        self._commit()


def _steps(changes: Changes, number: int) -> Steps:
    """Return changes with what concerns the account as a whole said of this one."""
    return [
        (own, [(*row, number) for row in rows]) if (own := schema.OF_ACCOUNT.get(statement)) else (statement, rows)
        for statement, rows in changes.steps
    ]
