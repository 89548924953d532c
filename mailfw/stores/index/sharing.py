"""A mailbox that others use too: who may do what, and what each of them has seen."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from mailfw.mail.mailbox import Altered, FlagChange, Flags, MailboxInfo, Snapshot
from mailfw.mail.personal import Mark, check_change, combined, merged, parted
from mailfw.mail.rights import NO_RIGHTS, Rights, changed, entries_of, is_grant, rights_of
from mailfw.stores.index import reading, tree
from mailfw.stores.index.account import Account
from mailfw.stores.index.mailbox import Mailbox, Messages
from mailfw.stores.index.readers import Reader
from mailfw.stores.index.schema import DROP_ANNOTATOR, DROP_READER
from mailfw.stores.index.transaction import Transaction

# ---------------------------------------------------------------- who may do what


async def grant(account: Account, id_: str, identifier: str, rights: Rights, change: str = "") -> None:
    """Change one entry of an access list; whoever is in the mailbox hears of it as of any change."""
    async with account.changing_messages(id_) as (box, _):
        access = {each: given for each, given in box.access.items() if each != identifier}
        if given := changed(box.access.get(identifier, NO_RIGHTS), change, rights):
            access[identifier] = given
        if access == box.access:
            return
        plan = Transaction(account)
        plan.grant(box, identifier, access)
        await plan.commit()


def has_grants(account: Account, identifier: str) -> bool:
    """Whether anything is shared with an identifier."""
    return any(identifier in box.access for box in account.boxes.values())


def grantees(account: Account) -> frozenset[str]:
    """Return the identifiers with which anything is shared."""
    return frozenset(each for box in account.boxes.values() for each in box.access if is_grant(each))


async def forget_user(account: Account, user: str) -> None:
    """Take a user out of all access lists, and drop what he has seen and noted."""
    for box in list(account.boxes.values()):
        for identifier in entries_of(user):
            if identifier in box.access:
                await grant(account, box.id, identifier, frozenset())
        await _forget_reader(account, box, user)


async def _forget_reader(account: Account, box: Mailbox, user: str) -> None:
    async with account.changing(box):
        plan = Transaction(account)
        plan.changes.add(DROP_READER, (box.row, user))
        plan.changes.add(DROP_ANNOTATOR, (box.row, user))
        await account.databases.write(account.name, plan.changes)
        box.counted.pop(user, None)
        if box.messages is not None:
            box.messages.readers.pop(user, None)


# ---------------------------------------------------------------- what a user sees


async def mailboxes_for(account: Account, user: str) -> list[MailboxInfo]:
    """Return the mailboxes on which a user has any right."""
    await tree.mailboxes(account)
    return [await _info(account, box, user) for box in list(account.boxes.values()) if rights_of(box.access, user)]


async def mailbox_for(account: Account, id_: str, user: str) -> MailboxInfo:
    """Return one mailbox as a user sees it."""
    return await _info(account, await account.fresh(id_, now=True), user)


async def _info(account: Account, box: Mailbox, user: str) -> MailboxInfo:
    """Count what a user has not seen; where the messages are not in memory, the index does it once."""
    if box.messages is None and user not in box.counted:
        query = partial(count_seen, row=box.row, user=user)
        box.counted[user] = await account.databases.read(account.name, query)
    return _seen_by(account.info(box), box, user)


def _seen_by(info: MailboxInfo, box: Mailbox, user: str) -> MailboxInfo:
    if box.messages is not None:
        reader = box.messages.readers.get(user)
        seen = reader.seen if reader is not None else 0
    else:
        seen = box.counted[user]
    return replace(info, unseen=info.messages - seen, rights=rights_of(box.access, user))


def count_seen(connection: sqlite3.Connection, row: int, user: str) -> int:
    """Count what a user has seen of a mailbox."""
    (count,) = connection.execute(
        "SELECT count(*) FROM seen WHERE mailbox = ? AND user = ? AND seen", (row, user)
    ).fetchone()
    return int(count)


async def snapshot_for(account: Account, id_: str, user: str, since: int) -> Snapshot:
    """Return what changed for a user: messages, and what he has marked as seen."""
    snapshot = await reading.snapshot(account, id_, since)
    box = account.box(id_)
    messages = box.messages
    assert messages is not None  # nothing was waited for since the snapshot was made
    info = _seen_by(snapshot.info, box, user)
    reader = messages.readers.get(user)
    if reader is None:
        flags = [merged(each, False) for each in snapshot.flags]
        return Snapshot(info, snapshot.uids, snapshot.modseqs, flags, snapshot.vanished)
    if not since:
        return _whole(info, messages, reader)
    uids = sorted({*snapshot.uids, *reader.since(since)})
    return _merge(info, messages, messages.places(uids), reader, snapshot.vanished)


def _merge(
    info: MailboxInfo, messages: Messages, places: Sequence[int], reader: Reader, vanished: Sequence[int]
) -> Snapshot:
    uids, modseqs, flags = array("I"), array("Q"), []
    for place in places:
        uid = messages.uids[place]
        mark = reader.mark(uid)
        uids.append(uid)
        modseqs.append(max(messages.modseqs[place], mark.modseq) if mark else messages.modseqs[place])
        flags.append(merged(messages.flags[place], mark is not None and mark.seen))
    return Snapshot(info, uids, modseqs, flags, vanished)


def _whole(info: MailboxInfo, messages: Messages, reader: Reader) -> Snapshot:
    marks = reader.all()
    columns = zip(messages.uids, messages.modseqs, messages.flags, strict=True)
    modseqs, flags = array("Q"), []
    for uid, modseq, each in columns:
        mark = marks.get(uid)
        modseqs.append(max(modseq, mark.modseq) if mark else modseq)
        flags.append(merged(each, mark is not None and mark.seen))
    return Snapshot(info, messages.uids[:], modseqs, flags, ())


async def readers(account: Account, id_: str) -> frozenset[str]:
    """Return who has marked anything."""
    _, messages = await account.messages(id_)
    return frozenset(messages.readers)


async def marks(account: Account, id_: str, user: str, uids: Sequence[int]) -> list[Mark]:
    """Return a user's marks of messages."""
    _, messages = await account.messages(id_)
    reader = messages.readers.get(user)
    if reader is None:
        return []
    return [mark for uid in uids if (mark := reader.mark(uid)) is not None]


# ---------------------------------------------------------------- what a user changes


async def alter_for(
    account: Account,
    id_: str,
    user: str,
    uids: Sequence[int],
    change: FlagChange,
    flags: Flags,
    unchanged_since: int | None,
) -> Altered:
    """Change a user's marks and everybody's other flags, with one modification sequence."""
    async with account.changing_messages(id_) as (box, messages):
        rights = rights_of(box.access, user)
        check_change(rights, change, flags)
        reader = messages.readers.get(user) or Reader(box.tally.modseq)
        conflicts: list[int] = []
        result: dict[int, Flags] = {}
        changed: dict[int, Flags] = {}
        marked: dict[int, bool] = {}
        for place in messages.places(uids):
            uid, own = messages.uids[place], messages.flags[place]
            mark = reader.mark(uid)
            seen = mark is not None and mark.seen
            modseq = max(messages.modseqs[place], mark.modseq if mark else 0)
            if unchanged_since is not None and modseq > unchanged_since:
                conflicts.append(uid)
                continue
            before = merged(own, seen)
            after = combined(before, change, flags, rights)
            if after != before:
                result[uid] = after
                shared, now_seen = parted(after, own)
                if shared != own:
                    changed[place] = shared
                if now_seen != seen:
                    marked[uid] = now_seen
        await _write(account, box, user, changed, marked)
        return Altered(box.tally.modseq, result, tuple(conflicts))


async def _write(account: Account, box: Mailbox, user: str, changed: dict[int, Flags], marked: dict[int, bool]) -> None:
    assert box.messages is not None
    plan, keys = Transaction(account), box.messages.keys
    if changed:
        await account.source.set_flags(account.name, box.key, {keys[place]: each for place, each in changed.items()})
        plan.alter(box, changed)
    if marked:
        plan.mark(box, user, marked, again=bool(changed))
    if changed or marked:
        await plan.commit()
