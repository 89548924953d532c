"""What is asked of an account without changing it, by the process that writes it and by those that only read."""

from __future__ import annotations

import sqlite3
import time
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

from mailfw.interfaces import IContent
from mailfw.mail.mailbox import Flags, MailboxInfo, Snapshot
from mailfw.stores.index import queries
from mailfw.stores.index.account import ATTEMPTS
from mailfw.stores.index.journal import Gaps
from mailfw.stores.index.mailbox import Mailbox, Messages
from mailfw.stores.threads import shielded

T = TypeVar("T")

#: Messages that are opened at once, and the octets they may have together; one that is larger is opened alone.
OPENED = 128
OCTETS = 512 * 1024


class Readable(Protocol):
    """Mailboxes that can be brought up to date: an account where it is written, or a `Replica` elsewhere."""

    def box(self, id_: str) -> Mailbox:
        """Return a mailbox.  Raises `NoSuchMailbox`."""

    def info(self, box: Mailbox) -> MailboxInfo:
        """Return a mailbox as it is now."""

    async def fresh(self, id_: str, now: bool = False) -> Mailbox:
        """Return a mailbox with all that anybody was told of it; what other programs did too, a moment ago or `now`."""

    async def messages(self, id_: str, now: bool = False) -> tuple[Mailbox, Messages]:
        """Return a mailbox and its messages, as `fresh` does."""

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query, which changes nothing, on the index."""

    def at_hand(self, box: Mailbox, wanted: Sequence[tuple[str, Flags]]) -> list[IContent | None]:
        """Return messages that are in memory, without waiting; None says nothing of one."""

    async def open_many(self, box: Mailbox, wanted: Sequence[tuple[str, Flags]]) -> Sequence[IContent | None]:
        """Open messages by key and flags; None for those that are gone."""


async def mailbox(account: Readable, id_: str) -> MailboxInfo:
    """Return one mailbox as it is now."""
    return account.info(await account.fresh(id_, now=True))


async def snapshot(account: Readable, id_: str, since: int) -> Snapshot:
    """Return what changed; a whole snapshot is compared with the source now, another was a moment ago."""
    box, messages = await account.messages(id_, now=not since)
    older: set[int] = set()
    while since and box.floor <= since < messages.vanished.floor:
        until = messages.vanished.floor
        older = set(await account.read(partial(queries.find_vanished, row=box.row, since=since, until=until)))
        box, messages = await account.messages(id_)
        if messages.vanished.floor == until:
            # What vanished later is in this journal.
            break
    if not since:
        return Snapshot(account.info(box), messages.uids[:], messages.modseqs[:], messages.flags[:], vanished=())
    return _changes(account, box, messages, since, older)


def _changes(account: Readable, box: Mailbox, messages: Messages, since: int, older: set[int]) -> Snapshot:
    if since >= box.tally.modseq:
        return Snapshot(account.info(box), array("I"), array("Q"), [], ())
    vanished: Sequence[int]
    if since < box.floor:
        vanished = Gaps(messages.uids, box.tally.uid_next)
    else:
        vanished = sorted(older | messages.vanished.since(since))
    places = messages.since(since)
    return Snapshot(
        account.info(box),
        array("I", [messages.uids[place] for place in places]),
        array("Q", [messages.modseqs[place] for place in places]),
        [messages.flags[place] for place in places],
        vanished,
    )


#: UIDs of messages, with their keys and flags.
Batch = Sequence[tuple[int, tuple[str, Flags]]]
Opened = list[tuple[int, IContent]]


async def batches(account: Readable, id_: str, uids: Sequence[int]) -> tuple[Mailbox, list[Batch]]:
    """Return a mailbox, and those of these messages that are there in batches that can be in memory at once."""
    box, messages = await account.messages(id_)
    found: list[list[tuple[int, tuple[str, Flags]]]] = []
    room = 0
    for place in messages.places(uids):
        if not found or messages.sizes[place] > room or len(found[-1]) >= OPENED:
            found.append([])
            room = OCTETS
        found[-1].append((messages.uids[place], (messages.keys[place], messages.flags[place])))
        room -= messages.sizes[place]
    return box, list(found)


async def opened(
    account: Readable, box: Mailbox, batches: Sequence[Batch], again: Callable[[int], Awaitable[IContent | None]]
) -> AsyncGenerator[Opened, None]:
    """
    Open batches of messages; while the caller is busy with some, the next are read.

    One that is not where it was may only have moved: it is asked for `again`.
    """

    def start(batch: Batch) -> Deferred[Opened]:
        # What a thread has opened has to be closed, though nobody may wait for it any more.
        return Deferred.fromCoroutine(shielded(_open(account, box, batch, again)))

    ahead = start(batches[0]) if batches else None
    try:
        for following in [*batches[1:], None]:
            if ahead is not None:
                found, ahead = await ahead, None
                ahead = start(following) if following else None
                yield found
    finally:
        if ahead is not None:
            ahead.addCallbacks(_close_all, lambda _: None)


async def _open(
    account: Readable, box: Mailbox, batch: Batch, again: Callable[[int], Awaitable[IContent | None]]
) -> Opened:
    contents = account.at_hand(box, [wanted for _, wanted in batch])
    far = [place for place, content in enumerate(contents) if content is None]
    if far:
        fetched = await account.open_many(box, [batch[place][1] for place in far])
        for place, content in zip(far, fetched, strict=True):
            contents[place] = content
    found: Opened = []
    for (uid, _), content in zip(batch, contents, strict=True):
        if (there := content or await again(uid)) is not None:
            found.append((uid, there))
    return found


def _close_all(opened: Opened) -> Deferred[None]:
    async def close() -> None:
        for _, content in opened:
            await content.close()

    return Deferred.fromCoroutine(close())


def content_at_hand(account: Readable, id_: str, uid: int) -> IContent | None:
    """Return a message that is in memory; None says nothing of it.  Raises `NoSuchMailbox`."""
    box = account.box(id_)
    messages = box.messages
    places = messages.places((uid,)) if messages is not None else ()
    if messages is None or not places:
        return None
    return account.at_hand(box, [(messages.keys[places[0]], messages.flags[places[0]])])[0]


async def content(account: Readable, id_: str, uid: int) -> IContent | None:
    """Open one message."""
    for _ in range(ATTEMPTS):
        box, messages = await account.messages(id_)
        places = messages.places([uid])
        if not places:
            return None
        [found] = await account.open_many(box, [(messages.keys[places[0]], messages.flags[places[0]])])
        if found is not None:
            return found
        # Another program removed it, or another call of ours moved it: the next look will tell.
        box.checked = time.monotonic() - 3600
    return None
