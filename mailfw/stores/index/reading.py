"""What is asked of an account without changing it."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from functools import partial

from mailfw.interfaces import IContent
from mailfw.mail.mailbox import MailboxInfo, Snapshot
from mailfw.stores.index import queries
from mailfw.stores.index.account import ATTEMPTS, Account
from mailfw.stores.index.journal import Gaps
from mailfw.stores.index.mailbox import Mailbox, Messages

#: Messages that are opened at once, and the octets they may have together; one that is larger is opened alone.
OPENED = 128
OCTETS = 512 * 1024


async def mailbox(account: Account, id_: str) -> MailboxInfo:
    """Return one mailbox as it is now."""
    return account.info(await account.fresh(id_, now=True))


async def snapshot(account: Account, id_: str, since: int) -> Snapshot:
    """Return what changed; a whole snapshot is compared with the source now, another was a moment ago."""
    box, messages = await account.messages(id_, now=not since)
    older: set[int] = set()
    while box.floor <= since < messages.vanished.floor:
        journal = messages.vanished
        query = partial(queries.find_vanished, row=box.row, since=since)
        older = await account.databases.read(account.name, query)
        box, messages = await account.messages(id_)
        if messages.vanished is journal:
            # What vanished since the index was read is in this journal.
            break
    if not since:
        return Snapshot(account.info(box), messages.uids[:], messages.modseqs[:], messages.flags[:], vanished=())
    return _changes(account, box, messages, since, older)


def _changes(account: Account, box: Mailbox, messages: Messages, since: int, older: set[int]) -> Snapshot:
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


async def batches(account: Account, id_: str, uids: Sequence[int]) -> tuple[str, list[list[tuple[int, str]]]]:
    """Return a mailbox's key, and the UIDs and keys of messages in batches that can be in memory at once."""
    box, messages = await account.messages(id_)
    found: list[list[tuple[int, str]]] = []
    room = 0
    for place in messages.places(uids):
        if messages.sizes[place] > room or len(found[-1]) >= OPENED:
            found.append([])
            room = OCTETS
        found[-1].append((messages.uids[place], messages.keys[place]))
        room -= messages.sizes[place]
    return box.key, found


async def content(account: Account, id_: str, uid: int) -> IContent | None:
    """Open one message."""
    for _ in range(ATTEMPTS):
        box, messages = await account.messages(id_)
        places = messages.places([uid])
        if not places:
            return None
        try:
            opened: IContent = await account.source.open(account.name, box.key, messages.keys[places[0]])
        except KeyError:
            # Another program removed it, or another call of ours moved it: the next look will tell.
            box.checked = time.monotonic() - 3600
        else:
            return opened
    return None
