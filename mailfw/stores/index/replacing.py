"""
A message in another's place: both steps or neither, whatever dies over it.

With a source that does it in steps: a note says that the new message is to be taken away again; it is placed; one
commit adds it to the index, removes the old one, and notes that the old one is to be dropped; it is dropped, and the
note goes.  Whoever opens the account after a death does what the note says.
"""

from __future__ import annotations

from twisted.logger import Logger

from mailfw.mail.failure import NoSuchMessage
from mailfw.mail.mailbox import Replaced
from mailfw.stores.index import intents
from mailfw.stores.index.account import ATTEMPTS, Account
from mailfw.stores.index.deposit import Coming, plan_all, staged_of
from mailfw.stores.index.ledger import Expected, Intent, Outdated
from mailfw.stores.index.mailbox import Mailbox
from mailfw.stores.index.schema import CLEAR_INTENT
from mailfw.stores.index.transaction import Transaction

log = Logger()


async def replace(account: Account, id_: str, uid: int, to_id: str, coming: Coming) -> Replaced:
    """Add a message that is staged, and remove another."""
    replaced = await _in_turn(account, id_, uid, to_id, coming)
    if replaced is None:
        raise NoSuchMessage("the message is not there any more")
    return replaced


async def _in_turn(account: Account, id_: str, uid: int, to_id: str, coming: Coming) -> Replaced | None:
    async with account.changing(account.box(id_), account.box(to_id)):
        for _ in range(ATTEMPTS):
            box, to = account.box(id_), account.box(to_id)
            messages = await account.ready(box)
            await account.ready(to)
            places = messages.places([uid])
            if not places:
                return None
            await _check_room(account, messages.sizes[places[0]], coming)
            try:
                return await _replace(account, box, places[0], to, coming)
            except Outdated:
                for each in {box.id: box, to.id: to}.values():
                    await account.survey(each)
        raise Outdated(to_id)


async def _check_room(account: Account, octets: int, coming: Coming) -> None:
    """Raise `OverQuota` where the message does not fit, even without the old one of so many octets."""
    room = await account.room()
    room.take(-octets, -1)
    room.check(staged_of(coming).summary.size, 1)


async def _replace(account: Account, box: Mailbox, place: int, to: Mailbox, coming: Coming) -> Replaced:
    assert box.messages is not None
    name, source, key = account.name, account.source, box.messages.keys[place]
    plan, in_steps = Transaction(account), source.notes_intents
    if in_steps:
        await intents.note(account, intents.undoing(account, to, coming))
    try:
        placed = await source.place(name, to.key, [(staged_of(coming), coming.flags)])
        try:
            await account.find_threads(plan, [staged_of(coming).summary])
            plan_all(plan, to, [coming], placed)
            plan.keep(box, [place])
            plan.remove(box, [place])
            if in_steps:
                intents.follow(plan, Intent(box.key, [Expected(old=key)], box.key, is_committed=True))
            await account.databases.write(name, plan.finish())
        except BaseException:
            await source.drop(name, to.key, [message.item.key for message in placed])
            raise
    except Outdated:
        raise  # nothing has happened
    except BaseException:
        if in_steps:
            await intents.settle_now(account)
        raise
    plan.take_effect()
    if in_steps:
        await _drop(account, box, key)
    assert coming.answer is not None
    return Replaced(coming.answer, box.tally.modseq)


async def _drop(account: Account, box: Mailbox, key: str) -> None:
    """Have the source drop the old message; where that fails it is done before the account is next looked at."""
    try:
        await account.source.drop(account.name, box.key, [key])
        plan = Transaction(account)
        plan.changes.add(CLEAR_INTENT, ())
        plan.set_tally(box, plan.tally(box))
        await plan.commit()
    except Exception:
        log.failure("a message of {account} that was replaced cannot be dropped yet", account=account.name)
        await intents.settle_now(account)
