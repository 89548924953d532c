"""What a store over an index does of `IAnnotatedMail`: annotations are the index's alone, as access lists are."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from zope.interface import alsoProvides, implementer

from mailfw.mail.annotation import AnnotationEdits, Annotations, check_edits, check_room, holder_of
from mailfw.optional import ACCOUNT_ANNOTATIONS, IAnnotatedMail
from mailfw.stores.index.account import Account
from mailfw.stores.index.mailbox import Mailbox
from mailfw.stores.index.transaction import Transaction

#: A value by whose it is and its name, as `mailfw.mail.annotation.holder_of` has it.
Entries = Mapping[tuple[str, str], bytes]


@implementer(IAnnotatedMail)
class AnnotatedMail:
    """``ask(name, work)`` does something with an account that exists."""

    def __init__(self, ask: Callable[[str, Callable[[Account], Awaitable[Any]]], Awaitable[Any]]) -> None:
        self._ask = ask

    def lend(self, store: Any) -> None:
        """Let a store provide the interface by this part of it."""
        for name in IAnnotatedMail:
            setattr(store, name, getattr(self, name))
        alsoProvides(store, IAnnotatedMail)

    async def annotations(self, account: str, mailbox: str | None, user: str | None = None) -> Annotations:
        """Return what a user may see of a mailbox, or of the account."""

        async def look(owner: Account) -> Annotations:
            row = owner.own_row if mailbox is None else owner.box(mailbox).row
            return _seen((await _find(owner, [row], user)).get(row, {}), user)

        found: Annotations = await self._ask(account, look)
        return found

    async def all_annotations(self, account: str, user: str | None = None) -> Mapping[str, Annotations]:
        """Return the same of all mailboxes."""

        async def look(owner: Account) -> Mapping[str, Annotations]:
            ids = {box.row: box.id for box in owner.boxes.values()}
            found = {row: _seen(entries, user) for row, entries in (await _find(owner, list(ids), user)).items()}
            return {ids[row]: entries for row, entries in found.items() if entries}

        found: Mapping[str, Annotations] = await self._ask(account, look)
        return found

    async def annotate(
        self, account: str, mailbox: str | None, edits: AnnotationEdits, user: str | None = None
    ) -> None:
        """Give entries other values, or remove them."""
        check_edits(edits)
        await self._ask(account, lambda owner: _annotate(owner, mailbox, edits, user))

    async def annotators(self, account: str, mailbox: str) -> frozenset[str]:
        """Return who else has private entries."""

        async def look(owner: Account) -> frozenset[str]:
            return await owner.read(partial(find_annotators, row=owner.box(mailbox).row))

        users: frozenset[str] = await self._ask(account, look)
        return users


async def _annotate(owner: Account, mailbox: str | None, edits: AnnotationEdits, user: str | None) -> None:
    async with _place(owner, mailbox) as box:
        row = owner.own_row if box is None else box.row
        kept = (await _find(owner, [row], user)).get(row, {})
        asked = {(holder_of(name, user), name): value for name, value in edits.items()}
        changed = {key: value for key, value in asked.items() if kept.get(key) != value}
        if not changed:
            return
        after = {key: value for key, value in {**kept, **changed}.items() if value is not None}
        for holder in {holder for (holder, _), value in changed.items() if value is not None}:
            await _check_room(owner, holder, kept, after)
        plan = Transaction(owner)
        plan.annotate(box, changed)
        await plan.commit()
        if box is None:
            owner.notify(ACCOUNT_ANNOTATIONS, plan.modseq)


@asynccontextmanager
async def _place(owner: Account, mailbox: str | None) -> AsyncIterator[Mailbox | None]:
    """Wait for one's turn to change a mailbox, or the account itself."""
    if mailbox is None:
        async with owner.changing():
            yield None
    else:
        async with owner.changing_messages(mailbox) as (box, _):
            yield box


async def _check_room(owner: Account, holder: str, before: Entries, after: Entries) -> None:
    rows = [owner.own_row, *(box.row for box in owner.boxes.values())]
    octets = await owner.read(partial(count_octets, rows=rows, user=holder))
    octets += _octets(after, holder) - _octets(before, holder)
    check_room(sum(whose == holder for whose, _ in after), octets)


def _octets(entries: Entries, holder: str) -> int:
    return sum(len(name) + len(value) for (whose, name), value in entries.items() if whose == holder)


async def _find(owner: Account, rows: Sequence[int], user: str | None) -> dict[int, dict[tuple[str, str], bytes]]:
    """Return the entries of mailboxes that are the owner's, shared, or the user's."""
    return await owner.read(partial(find_entries, rows=rows, users=["", user or ""]))


def _seen(entries: Entries, user: str | None) -> Annotations:
    return {name: value for (whose, name), value in entries.items() if whose == holder_of(name, user)}


# ---------------------------------------------------------------- queries


def find_entries(
    connection: sqlite3.Connection, rows: Sequence[int], users: Sequence[str]
) -> dict[int, dict[tuple[str, str], bytes]]:
    """Return entries by the row of their mailbox."""
    found: dict[int, dict[tuple[str, str], bytes]] = defaultdict(dict)
    for row, user, name, value in connection.execute(
        "SELECT mailbox, user, name, value FROM annotation "
        "WHERE mailbox IN (SELECT value FROM json_each(?)) AND user IN (SELECT value FROM json_each(?))",
        (json.dumps(list(rows)), json.dumps(list(users))),
    ):
        found[row][user, name] = value
    return found


def count_octets(connection: sqlite3.Connection, rows: Sequence[int], user: str) -> int:
    """Return the octets of all names and values that mailboxes have of a user."""
    (octets,) = connection.execute(
        "SELECT coalesce(sum(length(name) + length(annotation.value)), 0) FROM json_each(?) AS asked "
        "CROSS JOIN annotation ON mailbox = asked.value AND user = ?",
        (json.dumps(list(rows)), user),
    ).fetchone()
    return int(octets)


def find_annotators(connection: sqlite3.Connection, row: int) -> frozenset[str]:
    """Return the users who have entries of their own at a mailbox."""
    found = connection.execute("SELECT DISTINCT user FROM annotation WHERE mailbox = ? AND user <> ''", (row,))
    return frozenset(user for (user,) in found.fetchall())


def find_all(connection: sqlite3.Connection) -> list[tuple[int, str, str, bytes, int]]:
    """Return all that an account's own index has, as `SET_ANNOTATION` takes it."""
    return connection.execute("SELECT mailbox, user, name, value, modseq FROM annotation").fetchall()
