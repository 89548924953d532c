"""Changes of an account as a whole: opening, the tree of mailboxes, subscriptions."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import replace

from mailfw.mail.failure import MailboxExists, NameRefused, NoSuchMailbox, RoleTaken
from mailfw.mail.mailbox import (
    FIRST_MAILBOXES,
    INBOX,
    TREE,
    CreateMailbox,
    DeleteMailbox,
    Folder,
    MailboxEdit,
    MailboxInfo,
    Path,
    RenameMailbox,
    Role,
    SetRole,
    Subscribe,
)
from mailfw.mail.rights import AccessList, format_rights
from mailfw.stores.index import intents
from mailfw.stores.index.account import FRESH, Account
from mailfw.stores.index.database import Changes
from mailfw.stores.index.mailbox import Mailbox, Tally
from mailfw.stores.index.schema import (
    ADD_MAILBOX,
    CLEAR_ACCESS,
    CLEAR_ANNOTATIONS,
    DROP_MAILBOX,
    EMPTY_MAILBOX,
    SET_ACCESS,
    SET_ACCOUNT,
    SET_MAILBOX,
    SET_PREPARED,
    SET_VALIDITY,
    SUBSCRIBE,
    UNSUBSCRIBE,
)
from mailfw.stores.index.transaction import Transaction, mailbox_columns


async def open_account(account: Account) -> None:
    """Make the account ready for use, with what a new one starts with."""
    if account.is_open:
        return
    async with account.changing():
        if account.is_open:
            return
        await account.source.open_account(account.name)
        is_prepared = await account.load()
        if account.source.notes_intents:
            await intents.settle(account)
        await _compare_tree(account)
        if not is_prepared:
            await _prepare(account)
        await _compare_subscriptions(account)
        account.is_open, account.tree_checked = True, time.monotonic()


async def _prepare(account: Account) -> None:
    """
    Give a new account its first mailboxes; done again if it was not finished, and then it finds its own.

    Where another program has kept mail before, nothing is added to what its clients know.
    """
    if not _was_used_before(account):
        for path, role in FIRST_MAILBOXES:
            taken = any(box.path == path or box.role is role for box in account.boxes.values())
            if not taken:
                await account.source.edit_folder(account.name, CreateMailbox(path, role))
        await _compare_tree(account)
        for path in (INBOX, *(path for path, _ in FIRST_MAILBOXES)):
            await _subscribe(account, path, True)
    changes = Changes()
    changes.add(SET_PREPARED, ())
    changes.synced = True
    await account.databases.write(account.name, changes)


def _was_used_before(account: Account) -> bool:
    """Whether there is mail, or any mailbox but the first ones."""
    first = {INBOX, *(path for path, _ in FIRST_MAILBOXES)}
    return any(box.path not in first or box.tally.messages for box in account.boxes.values())


async def mailboxes(account: Account) -> list[MailboxInfo]:
    """Return every mailbox, as they are or were a moment ago."""
    if time.monotonic() - account.tree_checked > FRESH:
        await compare(account)
        boxes = list(account.boxes.values())
        stale = await account.source.stale([(account.name, box.key, box.cursor) for box in boxes])
        for box, is_stale in zip(boxes, stale, strict=True):
            if is_stale:
                with suppress(NoSuchMailbox):
                    await account.fresh(box.id, now=True)
        account.tree_checked = time.monotonic()
    return [account.info(box) for box in account.boxes.values()]


async def compare(account: Account) -> None:
    """Take over what other programs have done to folders and subscriptions."""
    async with account.changing():
        await _compare_tree(account)
    await _compare_subscriptions(account)


async def _compare_tree(account: Account, roles: dict[Path, Role | None] | None = None) -> None:
    """Take over folders that came, went or moved; `roles` are those of mailboxes being made.  In the queue."""
    folders = {folder.key: folder for folder in await account.source.folders(account.name)}
    changes, modseq = Changes(), account.modseq
    gone = [box for box in account.boxes.values() if box.key not in folders]
    for box in gone:
        if (keeping := account.databases.keeping) is not None and keeping.goes_on:
            changes.add(keeping.mailbox, (time.time(), box.row))
        for statement in (*EMPTY_MAILBOX, CLEAR_ACCESS, CLEAR_ANNOTATIONS, DROP_MAILBOX):
            changes.add(statement, (box.row,))
    known = {box.key: box for box in account.boxes.values()}
    moved = [box for key, box in known.items() if key in folders and folders[key].path != box.path]
    for box in moved:
        box.path = folders[box.key].path
        changes.add(SET_MAILBOX, mailbox_columns(box, box.tally))
    row = max((box.row for box in account.boxes.values()), default=0)
    new = [key for key in folders if key not in known]
    if gone or moved or new:
        changes.add(SET_ACCOUNT, (modseq + 1,))
        await account.databases.write(account.name, changes)
        account.modseq = modseq + 1
    for box in gone:
        account.count(box, replace(box.tally, messages=0, size=0))
        del account.boxes[box.id]
        box.messages = None
        account.dropped(None)
    if gone or moved:
        account.changed()
    for box in gone:
        account.notify(box.id, account.modseq)
    for key in new:
        row = await _add(account, folders[key], row, roles)
    if gone or moved or new:
        account.notify(TREE, account.modseq)


async def _add(account: Account, folder: Folder, row: int, roles: dict[Path, Role | None] | None) -> int:
    """Take over a new folder, with what is in it."""
    account.validity = max(account.validity + 1, int(time.time()))
    row = max(row, await account.databases.last_mailbox(account.name)) + 1
    role = folder.role or (roles[folder.path] if roles and folder.path in roles else _usual_role(account, folder.path))
    unique = f"{folder.key}\0{account.validity}\0{row}"
    id_ = "F" + hashlib.sha256(unique.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    tally = Tally(modseq=account.modseq)
    box = Mailbox(row, id_, folder.key, folder.path, role, account.validity, 0, tally)
    box.access = _inherited(account, folder.path)
    changes = Changes()
    changes.add(ADD_MAILBOX, mailbox_row(box, tally))
    changes.add(SET_VALIDITY, (account.validity,))
    if box.access:
        changes.add(SET_ACCESS, *((row, each, format_rights(rights)) for each, rights in box.access.items()))
        changes.synced = True
    await account.databases.write(account.name, changes)
    account.boxes[box.id] = box
    account.changed()
    with suppress(NoSuchMailbox):  # another program has removed it at once: the next look at the tree finds it gone
        await account.ready(box)
    return row


def _inherited(account: Account, path: Path) -> AccessList:
    """Return the access list of the nearest mailbox above."""
    above = [box for box in account.boxes.values() if path[: len(box.path)] == box.path]
    return max(above, key=lambda box: len(box.path)).access if above else {}


def mailbox_row(box: Mailbox, tally: Tally) -> tuple[object, ...]:
    """Return the parameters of `ADD_MAILBOX`."""
    role = box.role.value if box.role else None
    numbers = (tally.messages, tally.unseen, tally.deleted, tally.size)
    return (
        *(box.row, box.id, box.key, json.dumps(box.path), role, box.uid_validity),
        *(tally.uid_next, tally.modseq, tally.recent_uid, box.floor, *numbers, box.cursor),
    )


def _usual_role(account: Account, path: Path) -> Role | None:
    """Return the role that a mailbox of this name has where no other has it."""
    role = dict(FIRST_MAILBOXES).get(path)
    return None if any(box.role is role for box in account.boxes.values()) else role


# ---------------------------------------------------------------- edits


async def edit_mailbox(account: Account, edit: MailboxEdit) -> None:
    """Change the tree."""
    async with account.changing():
        if isinstance(edit, Subscribe):
            await _subscribe(account, edit.path, edit.subscribed)
            return
        await _compare_tree(account)
        _check(account, edit)
        if isinstance(edit, SetRole):
            await _set_role(account, edit)
            return
        await account.source.edit_folder(account.name, edit)
        await _compare_tree(account, {edit.path: edit.role} if isinstance(edit, CreateMailbox) else None)


def _check(account: Account, edit: MailboxEdit) -> None:
    """Refuse what no source could do."""
    paths = {box.path for box in account.boxes.values()}
    for path in (edit.path, *([edit.to] if isinstance(edit, RenameMailbox) else [])):
        if not path or not all(path):
            raise NameRefused("a mailbox needs a name")
    if isinstance(edit, CreateMailbox):
        if edit.path in paths or _is_inbox(edit.path):
            raise MailboxExists(f"there is a mailbox {'/'.join(edit.path)} already")
        _check_role(account, edit)
    elif isinstance(edit, SetRole):
        if _is_inbox(edit.path):
            raise NameRefused("the inbox is used for what arrives, and nothing else")
        if edit.path not in paths:
            raise NoSuchMailbox(f"there is no mailbox {'/'.join(edit.path)}")
        _check_role(account, edit)
    elif isinstance(edit, DeleteMailbox):
        _check_delete(edit, paths)
    elif isinstance(edit, RenameMailbox):
        _check_rename(edit, paths)


def _check_role(account: Account, edit: CreateMailbox | SetRole) -> None:
    taken = {box.role for box in account.boxes.values() if box.path != edit.path} - {None}
    if edit.role in taken:
        raise RoleTaken("another mailbox is used for this")


async def _set_role(account: Account, edit: SetRole) -> None:
    """Say what a mailbox is for, which the index alone keeps."""
    [box] = [box for box in account.boxes.values() if box.path == edit.path]
    if box.role is edit.role:
        return
    before, plan = box.role, Transaction(account)
    plan.give_role(box, edit.role)
    try:
        await plan.commit()
    except BaseException:
        box.role = before
        raise
    account.notify(TREE, account.modseq)


def _check_delete(edit: DeleteMailbox, paths: set[Path]) -> None:
    if _is_inbox(edit.path):
        raise NameRefused("the inbox cannot be deleted")
    if edit.path not in paths:
        raise NoSuchMailbox(f"there is no mailbox {'/'.join(edit.path)}")


def _check_rename(edit: RenameMailbox, paths: set[Path]) -> None:
    if _is_inbox(edit.path):
        raise NameRefused("the inbox cannot be renamed")
    length = len(edit.path)
    moving = {path for path in paths if path[:length] == edit.path}
    if not moving:
        raise NoSuchMailbox(f"there is no mailbox {'/'.join(edit.path)}")
    targets = {edit.to + path[length:] for path in moving}
    if any(_is_inbox(path) or path in paths for path in targets):
        raise MailboxExists("a mailbox of this name exists already")
    if edit.to[:length] == edit.path:
        raise NameRefused("a mailbox cannot be moved below itself")


def _is_inbox(path: Path) -> bool:
    return len(path) == 1 and path[0].casefold() == INBOX[0].casefold()


# ---------------------------------------------------------------- subscriptions


async def subscriptions(account: Account) -> frozenset[Path]:
    """Return the subscribed paths."""
    await _compare_subscriptions(account)
    return account.subscribed


async def _compare_subscriptions(account: Account) -> None:
    kept = await account.source.subscriptions(account.name)
    if kept is not None and kept != account.subscribed:
        account.subscribed = kept
        account.changed()
        account.notify(TREE, account.modseq)


async def _subscribe(account: Account, path: Path, subscribed: bool) -> None:
    if not path or not all(path):
        raise NameRefused("a mailbox needs a name")
    await account.source.subscribe(account.name, path, subscribed)
    changes = Changes()
    changes.add(SUBSCRIBE if subscribed else UNSUBSCRIBE, (json.dumps(path),))
    await account.databases.write(account.name, changes)
    account.subscribed = account.subscribed | {path} if subscribed else account.subscribed - {path}
    account.changed()
    account.notify(TREE, account.modseq)
