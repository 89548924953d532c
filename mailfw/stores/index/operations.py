"""Changes of the messages of a mailbox: flags, copies, moves, expunges, and claims of \\Recent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from twisted.logger import Logger

from mailfw.disk import takes_nothing
from mailfw.mail.mailbox import DELETED, Altered, Copied, Expunged, FlagChange, Flags
from mailfw.stores.index import intents, queries
from mailfw.stores.index.account import ATTEMPTS, Account
from mailfw.stores.index.ledger import Expected, Intent, Outdated
from mailfw.stores.index.mailbox import Mailbox, Messages
from mailfw.stores.index.transaction import Transaction

log = Logger()


async def alter(
    account: Account, id_: str, uids: Sequence[int], change: FlagChange, flags: Flags, unchanged_since: int | None
) -> Altered:
    """Change flags."""
    async with account.changing_messages(id_) as (box, _):
        for _ in range(ATTEMPTS):
            try:
                return await _alter(account, box, uids, change, flags, unchanged_since)
            except Outdated:
                await account.survey(box)
        raise Outdated(box.key)


async def _alter(
    account: Account, box: Mailbox, uids: Sequence[int], change: FlagChange, flags: Flags, unchanged_since: int | None
) -> Altered:
    messages = await account.ready(box)
    places = messages.places(uids)
    conflicts: list[int] = []
    if unchanged_since is not None:
        conflicts = [place for place in places if messages.modseqs[place] > unchanged_since]
        places = [place for place in places if messages.modseqs[place] <= unchanged_since]
    before = [messages.flags[place] for place in places]
    after = {old: _combine(old, change, flags) for old in set(before)}
    changed = {place: after[old] for place, old in zip(places, before, strict=True) if after[old] != old}
    if changed:
        by_key = {messages.keys[place]: each for place, each in changed.items()}
        await account.source.set_flags(account.name, box.key, by_key)
        plan = Transaction(account)
        plan.alter(box, changed)
        await plan.commit()
    result = {messages.uids[place]: each for place, each in changed.items()}
    return Altered(box.tally.modseq, result, tuple(messages.uids[place] for place in conflicts))


def _combine(old: Flags, change: FlagChange, flags: Flags) -> Flags:
    if change is FlagChange.ADD:
        return old | flags
    return old - flags if change is FlagChange.REMOVE else flags


async def expunge(account: Account, id_: str, uids: Sequence[int] | None) -> Expunged:
    """Remove messages with \\Deleted."""
    async with account.changing_messages(id_) as (box, messages):
        asked = range(len(messages)) if uids is None else messages.places(uids)
        places = [place for place in asked if DELETED in messages.flags[place]]
        gone = tuple(messages.uids[place] for place in places)
        if places:
            await account.source.drop(account.name, box.key, [messages.keys[place] for place in places])
            plan = Transaction(account)
            plan.keep(box, places)
            plan.remove(box, places)
            await plan.commit()
        return Expunged(gone, box.tally.modseq)


async def copy(account: Account, id_: str, uids: Sequence[int], to_id: str, move: bool) -> Copied:
    """Copy or move messages."""
    box, to = account.box(id_), account.box(to_id)
    async with account.changing(box, to):
        box, to = account.box(id_), account.box(to_id)
        for _ in range(ATTEMPTS):
            messages = await account.ready(box)
            await account.ready(to)
            places = messages.places(uids)
            if not places:
                return Copied(to.uid_validity, (), to.tally.modseq)
            if not move:
                (await account.room()).check(sum(messages.sizes[place] for place in places), len(places))
            try:
                landed, is_noted = await _transfer(account, box, messages, places, to, move)
            except Outdated:
                await account.survey(to)
                await account.survey(box)
                continue
            return await _note(
                account, box, [(place, at) for place, at in zip(places, landed, strict=True) if at], to, move, is_noted
            )
        raise Outdated(to.key)


async def _transfer(
    account: Account, box: Mailbox, messages: Messages, places: Sequence[int], to: Mailbox, move: bool
) -> tuple[list[tuple[str, int | None] | None], bool]:
    """Return where messages are now, and whether that was noted before."""
    uids = [messages.uids[place] for place in places]
    origins = await account.databases.read(
        account.name, lambda connection: queries.find_origins(connection, box.row, uids)
    )
    asked = [(messages.keys[place], messages.flags[place], *origins[messages.uids[place]]) for place in places]
    source, name = account.source, account.name
    landing = source.foresee(name, [key for key, *_ in asked])
    if landing is None:
        return await source.transfer(name, box.key, asked, to.key, move, landing), False
    is_blind = "" in landing
    intent = Intent(to.key, _expected(messages, places, asked, landing), box.key, move)
    is_noted = len(asked) > 1 or (move and is_blind)
    if is_noted:
        await intents.note(account, intent)
    try:
        landed = await source.transfer(name, box.key, asked, to.key, move, landing)
        if move and is_blind:
            intent = intents.dropping(intent, landed)
            await intents.note(account, intent)
            await source.drop(name, box.key, [each.old for each in intent.messages])
    except Outdated:
        raise  # nothing has happened
    except BaseException:
        if is_noted:
            await intents.settle_now(account)
        raise
    return landed, is_noted


def _expected(
    messages: Messages, places: Sequence[int], asked: Sequence[tuple[str, Flags, str, int]], landing: Sequence[str]
) -> list[Expected]:
    return [
        Expected(key, new, 0, sorted(flags), messages.sizes[place], received, "", email_id)
        for place, (key, flags, email_id, received), new in zip(places, asked, landing, strict=True)
    ]


async def _note(
    account: Account,
    box: Mailbox,
    landed: Sequence[tuple[int, tuple[str, int | None]]],
    to: Mailbox,
    move: bool,
    is_noted: bool,
) -> Copied:
    assert box.messages is not None
    uids = box.messages.uids
    plan = Transaction(account)
    pairs = tuple((uids[place], plan.copy(box, place, to, key, uid).uid) for place, (key, uid) in landed)
    if move and landed:
        plan.remove(box, [place for place, _ in landed])
    if is_noted:
        intents.conclude(plan)
    await plan.commit()
    return Copied(to.uid_validity, pairs, account.modseq)


async def claim_recent(account: Account, id_: str) -> int:
    """Take what is \\Recent for one session."""
    await account.fresh(id_)
    async with account.changing_messages(id_) as (box, _):
        first = box.tally.recent_uid
        if first != box.tally.uid_next:
            plan = Transaction(account)
            plan.set_tally(box, replace(box.tally, recent_uid=box.tally.uid_next))
            try:
                await plan.commit()
            except Exception as why:
                if not takes_nothing(why):
                    raise
                # Who reads must be able to where nothing can be written: what is \Recent now is so once more later.
                log.warn("nothing can be noted of {account}: {why!r}", account=account.name, why=why)  # noqa: G010
        return first
