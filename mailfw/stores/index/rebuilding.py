"""Making an account's index anew: files are the truth, and what no file says is carried over where it can be read."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.logger import Logger

from mailfw.mail.mailbox import SYSTEM_FLAGS, FlagChange, Flags
from mailfw.stores.index import operations, queries, tree
from mailfw.stores.index.account import Account
from mailfw.stores.index.database import Changes, Databases
from mailfw.stores.index.mailbox import Mailbox, Tally
from mailfw.stores.index.schema import ADD_MAILBOX, SET_ACCOUNT, SET_PREPARED, SET_VALIDITY

log = Logger()


@dataclass(slots=True)
class Remnants:
    """
    What the old index knew and no file does: modification sequence, ids and roles of mailboxes, and keywords.

    `keywords` are by folder and message.
    """

    modseq: int
    validity: int
    is_prepared: bool
    boxes: list[Mailbox]
    keywords: dict[str, dict[str, Flags]] = field(default_factory=lambda: defaultdict(dict))


async def rebuild(databases: Databases, name: str, fresh: Callable[[], Account], tell: Callable[[int], None]) -> None:
    """
    Replace an account's index, telling `tell` of messages as they are taken over; nobody may use the account meanwhile.

    Modification sequences go on above the old ones, and clients that remember any are told everything anew.
    """
    remnants = await _read(databases, name)
    await databases.remove(name)
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
        await tree.open_account(account)
        for box in list(account.boxes.values()):
            await account.fresh(box.id, now=True)
    finally:
        stop()
    if remnants is not None:
        await _restore_keywords(account, remnants)


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
    found = Remnants(state.modseq, state.validity, state.is_prepared, state.mailboxes)
    for box in state.mailboxes:
        _, messages = queries.load_messages(connection, box.row)
        for key, flags in zip(messages.keys, messages.flags, strict=True):
            if flags - SYSTEM_FLAGS:
                found.keywords[box.key][key] = flags - SYSTEM_FLAGS
    return found


def _carried_over(remnants: Remnants) -> Changes:
    changes, modseq = Changes(), remnants.modseq + 1
    for box in remnants.boxes:
        # What a client remembers of before the floor is not compared with anything: it hears all there is.
        tally = Tally(uid_next=box.tally.uid_next, modseq=modseq, recent_uid=box.tally.recent_uid)
        changes.add(ADD_MAILBOX, tree.mailbox_row(_emptied(box, modseq), tally))
    changes.add(SET_ACCOUNT, (modseq,))
    changes.add(SET_VALIDITY, (remnants.validity,))
    if remnants.is_prepared:
        changes.add(SET_PREPARED, ())
    changes.synced = True
    return changes


def _emptied(box: Mailbox, floor: int) -> Mailbox:
    return Mailbox(box.row, box.id, box.key, box.path, box.role, box.uid_validity, floor, Tally(modseq=floor))


async def _restore_keywords(account: Account, remnants: Remnants) -> None:
    """Give messages the keywords that their files' names have no letter for."""
    for box in account.boxes.values():
        kept = remnants.keywords.get(box.key, {})
        missing: dict[Flags, list[int]] = defaultdict(list)
        messages = box.messages
        for key, uid, flags in zip(messages.keys, messages.uids, messages.flags, strict=True) if messages else ():
            lost = frozenset(
                each
                for each in kept.get(key, frozenset()) - flags
                if not account.source.keeps(account.name, box.key, each)
            )
            if lost:
                missing[lost].append(uid)
        for lost, uids in missing.items():
            await operations.alter(account, box.id, uids, FlagChange.ADD, lost, None)
