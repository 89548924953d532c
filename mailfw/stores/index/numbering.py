"""Mail that brings its UIDs along, and a mailbox that gets another UIDVALIDITY."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from mailfw.mail.failure import NumberRefused
from mailfw.mail.mailbox import UID_LIMIT, Appended
from mailfw.stores.index import intents
from mailfw.stores.index.account import ATTEMPTS, Account
from mailfw.stores.index.deposit import Coming, answer, check_room, find_held, plan_all, staged_of, without_those
from mailfw.stores.index.ledger import Intent, Outdated
from mailfw.stores.index.mailbox import Mailbox
from mailfw.stores.index.schema import SET_VALIDITY
from mailfw.stores.index.transaction import Transaction

#: Numbers from here on are not taken over: a mailbox that begins near `UID_LIMIT` would soon be at it.
TOO_HIGH = UID_LIMIT - 2**20


async def renumber(account: Account, id_: str, uid_validity: int | None, uid_next: int) -> None:
    """Give a mailbox another UIDVALIDITY, and raise its next UID."""
    async with account.changing(account.box(id_)):
        for _ in range(ATTEMPTS):
            box = account.box(id_)
            await account.ready(box)
            _check_renumbering(box, uid_validity, uid_next)
            following = max(uid_next, box.tally.uid_next)
            if (uid_validity, following) == (box.uid_validity, box.tally.uid_next):
                return
            try:
                given = await account.source.renumber(account.name, box.key, uid_validity, following)
            except Outdated:
                await account.survey(box)
                continue
            await _write(account, box, given or uid_validity or _next_validity(account), following)
            return
        raise Outdated(id_)


def _check_renumbering(box: Mailbox, uid_validity: int | None, uid_next: int) -> None:
    if not 0 < uid_next < TOO_HIGH:
        raise NumberRefused(f"no mailbox can have {uid_next} as its next UID")
    if uid_validity is None or uid_validity == box.uid_validity:
        return
    if box.tally.uid_next > 1 or not 0 < uid_validity < TOO_HIGH:
        raise NumberRefused(f"this mailbox cannot have the UIDVALIDITY {uid_validity}")


def _next_validity(account: Account) -> int:
    return max(account.validity + 1, int(time.time()))


async def _write(account: Account, box: Mailbox, uid_validity: int, uid_next: int) -> None:
    plan = Transaction(account)
    tally = plan.tally(box)
    if uid_validity != box.uid_validity:
        plan.modseq += 1
        tally = replace(tally, modseq=plan.modseq)
        # Written with the mailbox's row, which is read again if that fails.
        box.uid_validity, box.floor = uid_validity, plan.modseq
        plan.changes.add(SET_VALIDITY, (max(account.validity, uid_validity),))
    plan.set_tally(box, replace(tally, uid_next=uid_next))
    plan.changes.synced = True
    await plan.commit()
    account.validity = max(account.validity, uid_validity)


async def append(account: Account, id_: str, coming: Sequence[Coming]) -> list[Appended]:
    """Add messages that are staged with their UIDs, all or none."""
    async with account.changing(account.box(id_)):
        for _ in range(ATTEMPTS):
            box = account.box(id_)
            await account.ready(box)
            held = await account.databases.read(account.name, lambda index, box=box: find_held(index, box, coming))  # type: ignore[misc] # mypy cannot infer a lambda with a default
            new = without_those(held, coming)
            _check_uids(box, new)
            check_room(await account.room(), new)
            try:
                if new:
                    await place(account, box, [new], new)
            except Outdated:
                await account.survey(box)
                continue
            answer(coming, held)
            return [each.answer for each in coming if each.answer is not None]
        raise Outdated(id_)


def _check_uids(box: Mailbox, new: Sequence[Coming]) -> None:
    following = box.tally.uid_next
    for each in new:
        uid = staged_of(each).uid
        assert uid is not None
        if not following <= uid < TOO_HIGH:
            raise NumberRefused(f"the UID {uid} cannot be given in this mailbox any more")
        following = uid + 1


def _is_finished_later(new: Sequence[Coming], intent: Intent) -> bool:
    """
    Whether a source whose own names tell of messages finishes what a process that died has begun.

    To undo it would be no use to messages that bring UIDs along: those would have been passed.
    """
    return staged_of(new[0]).uid is not None and not any(each.mark or not each.new for each in intent.messages)


async def place(account: Account, box: Mailbox, orders: Sequence[Sequence[Coming]], new: Sequence[Coming]) -> None:
    """
    Place messages that are staged and write them to the index; in the queue.

    `new` is all of what is new in `orders`.
    """
    name, plan = account.name, Transaction(account)
    intent = intents.intent_of(box, orders, partial(account.source.expect, name))
    if intent is not None and _is_finished_later(new, intent):
        intent = None
    if intent is not None:
        await intents.note(account, intent)
        intents.conclude(plan)
    try:
        placed = await account.source.place(name, box.key, [(staged_of(each), each.flags) for each in new])
        try:
            await account.find_threads(plan, [staged_of(each).summary for each in new])
            plan_all(plan, box, new, placed)
            await plan.commit()
        except BaseException:
            await account.source.drop(name, box.key, [message.item.key for message in placed])
            raise
    except Outdated:
        raise  # nothing has happened
    except BaseException:
        if intent is not None:
            await intents.settle_now(account)
        raise
