"""The store over a plain source dies at every call of its source and every commit of its index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailfw.interfaces import IContent, IMailStore, IMessageSource
from mailfw.mail.mailbox import INBOX, SEEN, CreateMailbox, Flags, Folder, Item, MailboxEdit, NewMessage, Scan, Want
from mailfw.stores.index.database import Changes, Databases
from mailfw.stores.indexed import IndexedStore
from mailfw.testing.contents import MemoryContent
from mailfw.testing.disk import Crashed
from tests.stores.test_maildir_crashes import Inline
from tests.testing.test_source import DictSource

T = TypeVar("T")
ANN = "ann@example.org"
WORK = ("Work",)


class Fuse:
    """Counts what changes anything, and lets the process die before or after one of these."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        if self.at is not None and self.steps >= self.at:
            raise Crashed


@implementer(IMessageSource)
class Fused:
    """A source that keeps what it has when the process dies."""

    def __init__(self, source: DictSource, fuse: Fuse) -> None:
        self._source = source
        self._fuse = fuse

    async def open_account(self, account: str) -> None:
        await self._source.open_account(account)

    async def remove_account(self, account: str) -> None:
        await self._source.remove_account(account)

    async def folders(self, account: str) -> Sequence[Folder]:
        return await self._source.folders(account)

    async def edit_folder(self, account: str, edit: MailboxEdit) -> None:
        await self._source.edit_folder(account, edit)

    async def scan(self, account: str, folder: str, cursor: str | None) -> Scan:
        return await self._source.scan(account, folder, cursor)

    async def open(self, account: str, folder: str, key: str) -> IContent:
        return await self._source.open(account, folder, key)

    async def put(self, account: str, folder: str, content: IContent, flags: Flags, received: int) -> Item:
        self._fuse.step()
        item = await self._source.put(account, folder, content, flags, received)
        self._fuse.step()
        return item

    async def set_flags(self, account: str, folder: str, flags: Mapping[str, Flags]) -> None:
        self._fuse.step()
        await self._source.set_flags(account, folder, flags)

    async def drop(self, account: str, folder: str, keys: Sequence[str]) -> None:
        for key in keys:
            self._fuse.step()
            await self._source.drop(account, folder, [key])
        self._fuse.step()

    async def close(self) -> None:
        """Keep what there is for the next life."""


class FusedDatabases(Databases):
    """Indexes of which any commit may be the last."""

    fuse: Fuse

    def write_now(self, account: str, changes: Changes) -> None:
        self.fuse.step()
        super().write_now(account, changes)
        self.fuse.step()


def message(subject: str, *flags: str, token: bool = True) -> NewMessage:
    octets = f"Subject: {subject}\r\n\r\nthe same length\r\n".encode()
    return NewMessage(MemoryContent(octets), frozenset(flags), 1_700_000_000, f"token of {subject}" if token else None)


class Life:
    """A few steps of a user's life; `done` counts those that were acknowledged."""

    def __init__(self, store: IMailStore, ids: Mapping[tuple[str, ...], str]) -> None:
        self._store = store
        self._ids = ids
        self.done = 0

    def steps(self) -> list[Callable[[], Awaitable[object]]]:
        store, inbox, work = self._store, self._ids[INBOX], self._ids[WORK]
        return [
            lambda: store.append(ANN, inbox, [message("one")]),
            lambda: store.append(ANN, inbox, [message("two", SEEN, "$Label"), message("abc")]),
            lambda: store.append(ANN, work, [message("six", token=False), message("ten", token=False)]),
            lambda: store.copy(ANN, inbox, [1, 2], work),
            lambda: store.copy(ANN, inbox, [2, 3], work, True),
            lambda: store.copy(ANN, inbox, [1], work, True),
            lambda: store.append(ANN, inbox, [message("eno")]),
        ]

    async def live(self) -> list[Counter[tuple[str, str, Flags]]]:
        states = [await look(self._store, self._ids)]
        for step in self.steps():
            await step()
            self.done += 1
            states.append(await look(self._store, self._ids))
        return states


async def look(store: IMailStore, ids: Mapping[tuple[str, ...], str]) -> Counter[tuple[str, str, Flags]]:
    """Return where every message is, with its flags."""
    found: Counter[tuple[str, str, Flags]] = Counter()
    for path, mailbox in ids.items():
        uids = (await store.snapshot(ANN, mailbox, 0)).uids
        async for batch in store.rows(ANN, mailbox, uids, Want.NOTHING):
            for row in batch:
                content = await store.content(ANN, mailbox, row.uid)
                assert content is not None
                octets = await content.read(0, content.size)
                found[path[0], octets.partition(b"\r\n")[0].decode().removeprefix("Subject: "), row.flags] += 1
    return found


async def open_ids(store: IMailStore) -> dict[tuple[str, ...], str]:
    await store.open_account(ANN)
    ids = {info.path: info.id for info in await store.mailboxes(ANN)}
    if WORK not in ids:
        await store.edit_mailbox(ANN, CreateMailbox(WORK))
        ids = {info.path: info.id for info in await store.mailboxes(ANN)}
    return {path: ids[path] for path in (INBOX, WORK)}


class LastFirst(DictSource):
    """Lists what came last first."""

    async def scan(self, account: str, folder: str, cursor: str | None) -> Scan:
        found = await super().scan(account, folder, cursor)
        return replace(found, items=found.items[::-1])


class PlainCrashTests(SynchronousTestCase):
    """One life, cut short at each step in turn."""

    def run_now(self, coroutine: Coroutine[Any, Any, T]) -> T:
        result: T = self.successResultOf(Deferred.fromCoroutine(coroutine))
        return result

    def open(self, source: DictSource, index: Path, fuse: Fuse) -> IMailStore:
        threads = Inline()
        databases = FusedDatabases(index, threads, True)
        databases.fuse = fuse
        store: IMailStore = IndexedStore(Fused(source, fuse), databases, Clock(), 0.0, threads)
        return store

    def live(self, source: DictSource, index: Path, at: int | None) -> tuple[Life, Fuse, Any]:
        fuse = Fuse()
        store = self.open(source, index, fuse)
        life = Life(store, self.run_now(open_ids(store)))
        fuse.steps, fuse.at = 0, at
        return life, fuse, store

    def test_every_step(self) -> None:
        root = Path(self.mktemp()).absolute()
        life, fuse, store = self.live(DictSource(), root / "whole", None)
        states = self.run_now(life.live())
        self.run_now(store.close())
        steps = fuse.steps
        self.assertGreater(steps, 50)
        for at in range(1, steps + 1):
            source = DictSource()
            life, _, store = self.live(source, root / str(at), at)
            self.failureResultOf(Deferred.fromCoroutine(life.live()), Crashed)
            self.run_now(store.close())
            self.check(source, root / str(at), states[life.done : life.done + 2], f"step {at}, {life.done}")

    def test_two_copies_of_one_message_keep_their_order(self) -> None:
        """Each has flags of its own, and a source may list what came last first."""
        root = Path(self.mktemp()).absolute()
        copied, at = False, 0
        while not copied:
            at += 1
            source = LastFirst()
            _, fuse, store = self.live(source, root / str(at), None)
            ids = self.run_now(open_ids(store))
            same = [message("one", "$First", token=False), message("one", "$Second", token=False)]
            self.run_now(store.append(ANN, ids[INBOX], same))
            fuse.steps, fuse.at = 0, at
            copying = Deferred.fromCoroutine(store.copy(ANN, ids[INBOX], [1, 2], ids[WORK]))
            copying.addErrback(lambda why: why.trap(Crashed))
            copied = fuse.steps < at
            self.run_now(store.close())
            store = self.open(source, root / str(at), Fuse())
            ids = self.run_now(open_ids(store))
            flags = self.run_now(store.snapshot(ANN, ids[WORK], 0)).flags
            self.run_now(store.close())
            self.assertIn(list(flags), [[], [{"$First"}, {"$Second"}]], f"step {at}")
        self.assertGreater(at, 8)

    def check(self, source: DictSource, index: Path, states: list[Counter[tuple[str, str, Flags]]], what: str) -> None:
        """Open what is left: a call was done as a whole or not at all, and is there once when it is done again."""
        store = self.open(source, index, Fuse())
        ids = self.run_now(open_ids(store))
        found = self.run_now(look(store, ids))
        self.assertIn(found, states, what)
        for subject in sorted({each[1] for each in states[-1] - states[0] if each[0] == "INBOX"}):
            before = sum(count for each, count in found.items() if each[1] == subject)
            self.run_now(store.append(ANN, ids[INBOX], [message(subject)]))
            again = self.run_now(look(store, ids))
            after = sum(count for each, count in again.items() if each[1] == subject)
            self.assertEqual(after, max(before, 1), f"{what}: {subject} is there twice")
        self.run_now(store.close())
