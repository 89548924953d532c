"""
What is about to be done to a source in several steps, noted in the index before the first of them.

A process that dies over it leaves the note, and whoever opens the account next sees to it that all of it is there, or
none, before anybody looks.  The note goes in the transaction that makes the change: there is never more than one, as
one change of an account follows the other.  Notes are on stable storage before the first step, and gone before the
change is acknowledged.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from twisted.logger import Logger

from mailfw.mail.failure import NoSuchMailbox
from mailfw.mail.mailbox import Item
from mailfw.stores.index import queries
from mailfw.stores.index.account import Account
from mailfw.stores.index.database import Changes
from mailfw.stores.index.ledger import Expected, Intent, Numbered, Staged
from mailfw.stores.index.mailbox import Mailbox, Messages
from mailfw.stores.index.schema import CLEAR_INTENT, SET_INTENT
from mailfw.stores.index.transaction import Transaction

if TYPE_CHECKING:
    from mailfw.stores.index.deposit import Coming

log = Logger()


def noting(intent: Intent) -> Changes:
    """Return what writes the note."""
    changes = Changes()
    changes.add(CLEAR_INTENT, ())
    changes.add(SET_INTENT, (json.dumps(asdict(intent)),))
    changes.synced = True
    return changes


def intent_of(
    to: Mailbox, orders: Sequence[Sequence[Coming]], expect: Callable[[Staged], Expected | None]
) -> Intent | None:
    """
    Return what is to be noted before new messages are placed; None where there is no need.

    There is for orders of several messages, and for tokens of which a source's own names do not tell.
    """
    found: list[Expected] = []
    for number, messages in enumerate(orders):
        for message in messages:
            staged = message.staged
            expected = expect(staged) if staged is not None else None
            if staged is None or expected is None:
                return None
            is_said = expected.new != "" or message.mark is None
            found.append(
                replace(_filled(expected, staged, message), order=number, mark=None if is_said else message.mark)
            )
    is_needed = any(each.mark for each in found) or any(len(messages) > 1 for messages in orders)
    return Intent(to.key, found) if is_needed else None


def _filled(expected: Expected, staged: Staged, message: Coming) -> Expected:
    """Add to how a message will be known what is known of it."""
    return replace(
        expected,
        flags=sorted(message.flags),
        size=staged.summary.size,
        received=staged.received,
        email_id=staged.email_id,
    )


def undoing(account: Account, to: Mailbox, message: Coming) -> Intent:
    """Return what is to be noted before a message is placed that must not be there unless the index has it."""
    staged = message.staged
    assert staged is not None
    expected = account.source.expect(account.name, staged)
    assert expected is not None  # of a source that does anything in steps
    return Intent(to.key, [_filled(expected, staged, message)], is_undone=True)


def follow(plan: Transaction, intent: Intent) -> None:
    """Put another note in place of the present one when the plan is committed, which is on stable storage then."""
    plan.changes.steps += noting(intent).steps
    plan.changes.synced = True


def conclude(plan: Transaction) -> None:
    """Let the note go when the plan is committed, which is on stable storage then."""
    plan.changes.add(CLEAR_INTENT, ())
    plan.changes.synced = True


async def note(account: Account, intent: Intent) -> None:
    """Write the note; in the queue."""
    await account.databases.write(account.name, noting(intent))


async def forget(account: Account) -> None:
    """Let the note go of what has failed and was taken back."""
    changes = Changes()
    changes.add(CLEAR_INTENT, ())
    await account.databases.write(account.name, changes)


def find(connection: sqlite3.Connection) -> Intent | None:
    """Return what a note says, None without one."""
    found = connection.execute("SELECT note FROM intent").fetchone()
    if found is None:
        return None
    values = json.loads(found[0])
    return Intent(**{**values, "messages": [Expected(**each) for each in values["messages"]]})


# ---------------------------------------------------------------- after the process has died


async def settle(account: Account) -> None:
    """Finish or undo what was noted; in the queue, before anything is compared with the source."""
    intent = await account.databases.read(account.name, find)
    if intent is None:
        return
    if intent.is_committed:
        await _drop(account, intent)
        return
    boxes = {box.key: box for box in account.boxes.values()}
    to, origin = boxes.get(intent.to), boxes.get(intent.folder or "")
    plan = Transaction(account)
    if to is not None and (intent.folder is None or origin is not None):
        messages = await _read(account, to)
        there = await account.source.settle(account.name, intent, messages.known(to.uid_validity))
        stayed = [(each, key) for each, key in zip(intent.messages, there, strict=True) if key is not None]
        if stayed and origin is not None:
            await _note_landed(account, plan, intent, origin, to, stayed)
        elif stayed:
            await _adopt(account, plan, to, stayed)
        log.info(
            "{account}: what was under way with {count} messages is {result}",
            account=account.name,
            count=len(intent.messages),
            result="finished" if stayed else "undone",
        )
    conclude(plan)
    await plan.commit()
    for box in filter(None, (to, origin)):
        box.messages = box.cursor = None


async def settle_now(account: Account) -> None:
    """Settle what has failed while the process lives on; if that fails too, when the account is opened again."""
    try:
        await settle(account)
    except Exception as why:
        log.warn("what was under way in {account} cannot be settled now: {why!r}", account=account.name, why=why)  # noqa: G010 -- of Twisted
        account.is_open = False


async def _read(account: Account, box: Mailbox) -> Messages:
    """Read a mailbox's messages from the index alone."""
    row, messages = await account.databases.read(
        account.name, lambda connection: queries.load_messages(connection, box.row)
    )
    account.count(box, row.tally)
    box.messages = messages
    return messages


async def _drop(account: Account, intent: Intent) -> None:
    """Drop what the index has removed already."""
    assert intent.folder is not None
    with suppress(NoSuchMailbox):
        await account.source.drop(account.name, intent.folder, [each.old for each in intent.messages])
    account.source.forget(account.name, intent.folder)
    await forget(account)


async def _note_landed(
    account: Account,
    plan: Transaction,
    intent: Intent,
    origin: Mailbox,
    to: Mailbox,
    stayed: list[tuple[Expected, str]],
) -> None:
    """Take a copy or move into the index that the source has finished."""
    messages = to.messages if origin is to else await _read(account, origin)
    assert messages is not None
    place_of = {key: place for place, key in enumerate(messages.keys)}
    landed = [(place_of[each.old], key) for each, key in stayed if each.old in place_of]
    for place, key in landed:
        plan.copy(origin, place, to, key, None)
    if intent.move and landed:
        plan.remove(origin, sorted(place for place, _ in landed))


async def _adopt(account: Account, plan: Transaction, to: Mailbox, stayed: list[tuple[Expected, str]]) -> None:
    """Take a delivery into the index that the source has, under its token."""
    summaries = await account.source.summaries(account.name, to.key, [key for _, key in stayed])
    rows = []
    for (each, key), summary in zip(stayed, summaries, strict=True):
        if summary is not None:
            flags = frozenset(each.flags)
            item = Item(key, each.size, each.received, flags)
            rows.append((Numbered(item, None, each.email_id, each.mark), flags, summary))
    await account.find_threads(plan, [summary for _, _, summary in rows])
    plan.add(to, rows)


def dropping(intent: Intent, landed: Sequence[tuple[str, int | None] | None]) -> Intent:
    """Return the intent when all its messages have been copied: what is left is to drop the originals."""
    messages = [replace(each, new=at[0]) for each, at in zip(intent.messages, landed, strict=True) if at is not None]
    return replace(intent, messages=messages, dropping=True)
