"""
The process that a crash case kills: it calls `main` with the arguments SPEC, DATA and SEED.

Workers change mailboxes of their own, as fast as they can.  Each notes on standard output what it begins, and what the
store has answered; nobody but the process that reads it knows what must be there afterwards.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import DELETED, FLAGGED, SEEN, CreateMailbox, Flags
from mailfw.testing.store.making import Maker, find
from mailfw.testing.store.truth import Change, perform

ACCOUNT = "doomed@example.org"

#: Workers, each with two mailboxes.
WORKERS = 4
PATHS = tuple((f"Worker {number // 2}", "AB"[number % 2]) for number in range(2 * WORKERS))

#: Letters of one worker in one life of the process.
LETTERS = 100_000

#: Messages in a mailbox from which on more are expunged than come.
ENOUGH = 40

FLAG_SETS: tuple[Flags, ...] = tuple(map(frozenset, ((), (SEEN,), (DELETED,), (FLAGGED, "$Keep"), (SEEN, DELETED))))


def note(*what: Any) -> None:
    """Write a line at once: a pipe keeps it when the writer is killed."""
    os.write(sys.stdout.fileno(), json.dumps(what).encode() + b"\n")


async def mailbox_ids(store: IMailStore) -> list[str]:
    """Make the account and its mailboxes where they are missing, and return their ids."""
    await store.open_account(ACCOUNT)
    there = {info.path: info.id for info in await store.mailboxes(ACCOUNT)}
    for path in PATHS:
        if path not in there:
            await store.edit_mailbox(ACCOUNT, CreateMailbox(path))
    there = {info.path: info.id for info in await store.mailboxes(ACCOUNT)}
    return [there[path] for path in PATHS]


class Worker:
    """Changes two mailboxes for ever."""

    def __init__(self, store: IMailStore, ids: Sequence[str], number: int, seed: int) -> None:
        self._store = store
        self._ids = ids
        self._number = number
        self._chance = random.Random(f"{seed} {number}")  # noqa: S311  # no secret
        self._letters = itertools.count((seed * WORKERS + number) * LETTERS)

    async def work(self) -> None:
        """Make one change after the other."""
        while True:
            change = await self._next()
            note("began", self._number, change.noted())
            answer = await perform(self._store, ACCOUNT, self._ids, change)
            note("done", self._number, change.noted(), answer.noted())

    async def _next(self) -> Change:
        box = 2 * self._number + self._chance.randrange(2)
        uids = list((await self._store.snapshot(ACCOUNT, self._ids[box], 0)).uids)
        kinds = ["add", "remove", "copy", "move", "expunge"] if uids else []
        what = self._chance.choice(["append", *kinds] if len(uids) < ENOUGH else ["add", "expunge"])
        flags = self._chance.choice(FLAG_SETS)
        if what == "append":
            numbers = tuple(next(self._letters) for _ in range(self._chance.randrange(1, 4)))
            return Change(what, box, numbers, flags)
        share = uids if what == "expunge" else self._chance.sample(uids, self._chance.randrange(1, len(uids) + 1))
        return Change(what, box, tuple(sorted(share)), flags, box ^ 1)


async def live(reactor: Any, spec: str, data: str, seed: str) -> None:
    """Open the store and let the workers work."""
    note("opening")
    store = Maker(find("store", spec), Path(data), reactor).make_store()
    ids = await mailbox_ids(store)
    note("open")
    workers = [Deferred.fromCoroutine(Worker(store, ids, number, int(seed)).work()) for number in range(WORKERS)]
    for worker in workers:
        await worker


def main() -> None:
    """Work until somebody kills the process."""
    task.react(lambda reactor, *told: Deferred.fromCoroutine(live(reactor, *told)), sys.argv[1:])
