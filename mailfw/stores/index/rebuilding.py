"""Making an account's index anew: files are the truth, and what no file says is carried over where it can be read."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from twisted.logger import Logger

from mailfw.mail.failure import NoSuchMailbox
from mailfw.mail.mailbox import SYSTEM_FLAGS, FlagChange, Flags
from mailfw.mail.rights import format_rights
from mailfw.stores.index import operations, queries, sharing, tree
from mailfw.stores.index.account import Account
from mailfw.stores.index.annotated import find_all
from mailfw.stores.index.conversations import load_all
from mailfw.stores.index.database import Changes, Databases
from mailfw.stores.index.mailbox import Mailbox, Tally
from mailfw.stores.index.schema import (
    ADD_MAILBOX,
    ADD_THREAD,
    SET_ACCESS,
    SET_ACCOUNT,
    SET_ANNOTATION,
    SET_PREPARED,
    SET_SAVED,
    SET_VALIDITY,
)
from mailfw.stores.index.transaction import Transaction

log = Logger()


@dataclass(slots=True)
class Remnants:
    """
    What the old index knew and no file does: modification sequence, ids, roles, access lists and annotations of
    mailboxes, keywords, when messages came, and what others have seen.

    `keywords` and `saved` are by folder and message; who has seen messages, by folder and user.
    """

    modseq: int
    validity: int
    is_prepared: bool
    boxes: list[Mailbox]
    threads: list[tuple[bytes, bytes]]
    annotations: list[tuple[int, str, str, bytes, int]]
    keywords: dict[str, dict[str, Flags]] = field(default_factory=lambda: defaultdict(dict))
    saved: dict[str, dict[str, int]] = field(default_factory=dict)
    seen: dict[str, dict[str, set[str]]] = field(default_factory=lambda: defaultdict(dict))


async def rebuild(
    databases: Databases, name: str, fresh: Callable[[], Account], tell: Callable[[int], None]
) -> frozenset[str]:
    """
    Replace an account's index, telling `tell` of messages as they are taken over; nobody may use the account meanwhile.

    Modification sequences go on above the old ones, and clients that remember any are told everything anew.  What
    another program removes on the way is left out.  Returns with whom the account shares anything.
    """
    remnants = await _read(databases, name)
    await databases.begin_anew(name)
    if remnants is not None:
        await databases.write(name, _carried_over(remnants))
    account = fresh()
    seen: dict[str, int] = {}

    def notice(mailbox: str, modseq: int) -> None:
        box = account.boxes.get(mailbox)
        count = box.tally.messages if box is not None else 0
        tell(count - seen.get(mailbox, 0))
        seen[mailbox] = count

    stop = account.watch(notice)
    try:
        for folder in await account.source.folders(name):
            account.source.forget(name, folder.key)  # what it has told before, the new index does not know
        await tree.open_account(account)
        for box in list(account.boxes.values()):
            with suppress(NoSuchMailbox):
                await account.fresh(box.id, now=True)
    finally:
        stop()
    if remnants is not None:
        await _restore_saved(account, remnants)
        for box in list(account.boxes.values()):
            with suppress(NoSuchMailbox):
                await _restore_keywords(account, box, remnants)
                await _restore_marks(account, box, remnants)
    return sharing.grantees(account)


async def _read(databases: Databases, name: str) -> Remnants | None:
    if not await databases.exists(name):
        return None
    try:
        return await databases.read(name, _remnants)
    except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
        log.warn("the old index of {account} cannot be read: {error}", account=name, error=error)  # noqa: G010 -- of Twisted
        return None


def _remnants(connection: sqlite3.Connection) -> Remnants:
    state = queries.load_account(connection)
    threads, annotations = load_all(connection), find_all(connection)
    found = Remnants(state.modseq, state.validity, state.is_prepared, state.mailboxes, threads, annotations)
    for box in state.mailboxes:
        _, messages = queries.load_messages(connection, box.row)
        saved = connection.execute("SELECT key, saved FROM message WHERE mailbox = ?", (box.row,))
        found.saved[box.key] = dict(saved.fetchall())
        for key, flags in zip(messages.keys, messages.flags, strict=True):
            if flags - SYSTEM_FLAGS:
                found.keywords[box.key][key] = flags - SYSTEM_FLAGS
        for user, reader in messages.readers.items():
            marks = zip(messages.keys, map(reader.mark, messages.uids), strict=True)
            found.seen[box.key][user] = {key for key, mark in marks if mark is not None and mark.seen}
    return found


def _carried_over(remnants: Remnants) -> Changes:
    changes, modseq = Changes(), remnants.modseq + 1
    for box in remnants.boxes:
        # What a client remembers of before the floor is not compared with anything: it hears all there is.
        tally = Tally(uid_next=box.tally.uid_next, modseq=modseq, recent_uid=box.tally.recent_uid)
        changes.add(ADD_MAILBOX, tree.mailbox_row(_emptied(box, modseq), tally))
        changes.add(SET_ACCESS, *((box.row, each, format_rights(rights)) for each, rights in box.access.items()))
    changes.add(ADD_THREAD, *remnants.threads)
    changes.add(SET_ANNOTATION, *remnants.annotations)
    changes.add(SET_ACCOUNT, (modseq,))
    changes.add(SET_VALIDITY, (remnants.validity,))
    if remnants.is_prepared:
        changes.add(SET_PREPARED, ())
    changes.synced = True
    return changes


def _emptied(box: Mailbox, floor: int) -> Mailbox:
    return Mailbox(box.row, box.id, box.key, box.path, box.role, box.uid_validity, floor, Tally(modseq=floor))


async def _restore_saved(account: Account, remnants: Remnants) -> None:
    """Let messages have come when they did."""
    changes = Changes()
    for box in account.boxes.values():
        kept, messages = remnants.saved.get(box.key, {}), box.messages
        found = zip(messages.keys, messages.uids, strict=True) if messages else ()
        changes.add(SET_SAVED, *((kept[key], box.row, uid) for key, uid in found if key in kept))
    await account.databases.write(account.name, changes)


async def _restore_keywords(account: Account, box: Mailbox, remnants: Remnants) -> None:
    """Give messages the keywords that their files' names have no letter for.  Raises `NoSuchMailbox`."""
    kept, messages = remnants.keywords.get(box.key, {}), box.messages
    missing: dict[Flags, list[int]] = defaultdict(list)
    for key, uid, flags in zip(messages.keys, messages.uids, messages.flags, strict=True) if messages else ():
        lost = frozenset(
            each for each in kept.get(key, frozenset()) - flags if not account.source.keeps(account.name, box.key, each)
        )
        if lost:
            missing[lost].append(uid)
    for lost, uids in missing.items():
        await operations.alter(account, box.id, uids, FlagChange.ADD, lost, None)


async def _restore_marks(account: Account, box: Mailbox, remnants: Remnants) -> None:
    """Let others have seen what they had.  Raises `NoSuchMailbox`."""
    async with account.changing_messages(box.id) as (_, messages):
        plan = Transaction(account)
        for user, keys in remnants.seen.get(box.key, {}).items():
            seen = {messages.uids[place]: True for place in messages.places_of_keys(keys)}
            if seen:
                plan.mark(box, user, seen, again=False)
        if plan.changes.steps:
            await plan.commit()
