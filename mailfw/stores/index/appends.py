"""
The committer: messages that are to be appended at the same time are placed, numbered and indexed together.

While one batch is placed the next gathers, so that a directory, a UID list and an index see one change for each
batch; nobody waits for a batch to grow.  Where the source allows it (`visits`) the batches of all accounts are written
and synced in the same visit to a thread; large messages are written before they get in line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from mailfw.mail.content import Octets, blocking_reader, read_whole
from mailfw.mail.failure import OverQuota
from mailfw.mail.mailbox import Appended, NewMessage, Replaced
from mailfw.mail.quota import Room
from mailfw.stores.index import numbering, replacing
from mailfw.stores.index.account import ATTEMPTS, Account
from mailfw.stores.index.deposit import (
    Coming,
    Deposit,
    Order,
    answer,
    check_room,
    find_held,
    staged_of,
    without_those,
)
from mailfw.stores.index.ledger import Outdated, SourceBusy
from mailfw.stores.index.mailbox import Mailbox
from mailfw.stores.index.transaction import Transaction
from mailfw.stores.index.visits import Visits
from mailfw.stores.marks import mark_of

#: Messages of one call that are written at the same time.
SIDE_BY_SIDE = 16

#: Calls that are committed together.
TOGETHER = 64

#: Octets of one call's messages that are written when their turn comes; more are written first.
IN_LINE = 64 * 1024


@dataclass(slots=True, eq=False)
class _Waiting(Order):
    """An order, and who waits for it."""

    done: Deferred[list[Appended]] = field(default_factory=Deferred)

    def tell(self) -> None:
        """Say where the messages are, or why they are not."""
        if self.failure is not None:
            self.done.errback(self.failure)
        else:
            self.done.callback([message.answer for message in self.messages if message.answer is not None])


class Committer:
    """
    Appends to the mailboxes of one account, which `using` keeps in memory.

    What is asked for is done, even if nobody waits for it any more.
    """

    def __init__(
        self, account: Account, visits: Visits | None, using: Callable[[], AbstractAsyncContextManager[object]]
    ) -> None:
        self._account = account
        self._visits = visits
        self._using = using
        self._waiting: dict[str, list[_Waiting]] = {}
        self._is_busy = False

    def can_wait(self, messages: Sequence[NewMessage]) -> bool:
        """Whether messages can wait in line unwritten."""
        return self._visits is not None and sum([message.content.size for message in messages]) <= IN_LINE  # type: ignore[attr-defined] # it provides IContent

    async def append(self, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        """Add messages, all or none."""
        self._account.box(mailbox)
        if not messages:
            return []
        coming = [_coming(message) for message in messages]
        if not self.can_wait(messages):
            await self._stage(coming)
        for each in coming:
            if each.staged is None and blocking_reader(each.content) is None:
                each.content = Octets(await read_whole(each.content, 0, each.content.size))
        return await self._in_line(_Waiting(mailbox, coming))

    async def append_numbered(
        self, mailbox: str, messages: Sequence[NewMessage], uids: Sequence[int]
    ) -> list[Appended]:
        """Add messages under UIDs that they bring along, all or none; these wait in no line."""
        self._account.box(mailbox)
        coming = [_coming(message) for message in messages]
        await self._stage(coming)
        try:
            for each, uid in zip(coming, uids, strict=True):
                each.staged = replace(staged_of(each), uid=uid)
            return await numbering.append(self._account, mailbox, coming)
        finally:
            await self._discard(coming)

    async def replace(self, mailbox: str, uid: int, to: str, message: NewMessage) -> Replaced:
        """Add a message in place of another; it waits in no line."""
        self._account.box(mailbox)
        self._account.box(to)
        coming = replace(_coming(message), mark=None)
        await self._stage([coming])
        try:
            return await replacing.replace(self._account, mailbox, uid, to, coming)
        finally:
            await self._discard([coming])

    async def _in_line(self, order: _Waiting) -> list[Appended]:
        self._waiting.setdefault(order.mailbox, []).append(order)
        if not self._is_busy:
            self._is_busy = True
            Deferred.fromCoroutine(self._commit_all())
        return await order.done

    async def _stage(self, messages: Sequence[Coming]) -> None:
        """Write messages, many at the same time; if one cannot be written, none is kept."""
        for start in range(0, len(messages), SIDE_BY_SIDE):
            part = [Deferred.fromCoroutine(self._stage_one(each)) for each in messages[start : start + SIDE_BY_SIDE]]
            for _, failure in await DeferredList(part, consumeErrors=True):
                if isinstance(failure, Failure):
                    await self._discard(messages)
                    failure.raiseException()

    async def _stage_one(self, message: Coming) -> None:
        message.staged = await self._account.source.stage(
            self._account.name, message.content, message.received, message.mark, message.summary
        )

    async def _discard(self, messages: Sequence[Coming]) -> None:
        staged = [message.staged for message in messages if message.staged is not None]
        await self._account.source.discard(self._account.name, staged)

    # ------------------------------------------------------------ batches

    async def _commit_all(self) -> None:
        try:
            async with self._using():
                while self._waiting:
                    await self._commit_some()
        finally:
            self._is_busy = False

    async def _commit_some(self) -> None:
        """Commit those who wait for one mailbox."""
        mailbox = next(iter(self._waiting))
        orders: list[_Waiting] = []
        try:
            async with self._account.changing(self._account.box(mailbox)):
                await self._commit(self._account.box(mailbox), orders)
        except BaseException:
            failure = Failure()
            self._board(mailbox, orders)
            for order in orders:
                order.done.errback(order.failure or failure)
        else:
            for order in orders:
                order.tell()

    def _board(self, mailbox: str, orders: list[_Waiting]) -> None:
        """Let those who wait for a mailbox join others."""
        waiting = self._waiting.get(mailbox, [])
        room = TOGETHER - len(orders)
        orders += waiting[:room]
        del waiting[:room]
        if not waiting:
            self._waiting.pop(mailbox, None)

    async def _commit(self, box: Mailbox, orders: list[_Waiting]) -> None:
        try:
            for _ in range(ATTEMPTS):
                # Another attempt may find messages whose tokens say that they need not be placed again.
                await self._account.ready(box)
                room = await self._account.room()
                try:
                    if self._visits is not None:
                        await self._deposit(self._visits, box, orders, room)
                    else:
                        await self._place(box, orders, room)
                    return
                except Outdated:
                    await self._account.survey(box)
            raise Outdated(box.key)
        finally:
            await self._discard([message for order in orders for message in order.messages])

    async def _deposit(self, visits: Visits, box: Mailbox, orders: list[_Waiting], room: Room) -> None:
        def begin() -> Deposit:
            self._board(box.id, orders)
            return Deposit(self._account.name, Transaction(self._account), box, orders, room.copy())

        deposit = await visits.make(begin)
        if isinstance(deposit.failure, SourceBusy):
            # Waiting for a folder that another program has locked must not keep others waiting.
            deposit = await visits.make_alone(begin())
        if deposit.failure is not None:
            raise deposit.failure
        if deposit.new:
            deposit.plan.take_effect()

    async def _place(self, box: Mailbox, orders: list[_Waiting], room: Room) -> None:
        """Do what `deposit_all` does, with a source that needs the reactor."""
        self._board(box.id, orders)
        account, name = self._account, self._account.name
        messages = [message for order in orders for message in order.messages]
        held = await account.databases.read(name, lambda index: find_held(index, box, messages))
        new = _fitting(held, orders, room)
        if new:
            here = {id(each) for each in new}
            parted = [[each for each in order.messages if id(each) in here] for order in orders]
            await numbering.place(account, box, parted, new)
        answer([message for order in orders if order.failure is None for message in order.messages], held)


def _fitting(held: Iterable[str], orders: Sequence[Order], room: Room) -> list[Coming]:
    """Return what is new of the orders that the account has room for; the others fail."""
    seen, fitting = set(held), []
    for order in orders:
        new = without_those(seen, order.messages)
        try:
            octets = check_room(room, new)
        except OverQuota as refused:
            order.failure = refused
            continue
        room.take(octets, len(new))
        seen.update(each.mark for each in new if each.mark is not None)
        fitting += new
    return fitting


def _coming(message: NewMessage) -> Coming:
    received = int(time.time()) if message.received is None else message.received
    mark = mark_of(message.token) if message.token is not None else None
    return Coming(message.content, message.flags, received, mark, message.summary)
