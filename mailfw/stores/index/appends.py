"""
The committer: messages that are to be appended at the same time are placed, numbered and indexed together.

While one batch is placed the next gathers, so that a directory, a UID list and an index see one change for each
batch.  Where the source allows it small messages are written in the same visit to a thread as all that follows;
others are written and synced before they get in line.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from mailfw.mail.mailbox import Appended, NewMessage
from mailfw.stores.index.account import ATTEMPTS, Account
from mailfw.stores.index.deposit import (
    Coming,
    Unwritten,
    answers,
    deposit,
    find_held,
    plan_all,
    read_whole,
    without_those,
)
from mailfw.stores.index.ledger import Outdated, Staged
from mailfw.stores.index.mailbox import Mailbox
from mailfw.stores.index.transaction import Transaction
from mailfw.stores.marks import mark_of

#: Messages of one call that are written at the same time.
SIDE_BY_SIDE = 16

#: Calls that are committed together.
TOGETHER = 64

#: Octets of one call's messages that wait in memory for their turn; more are written first.
IN_MEMORY = 64 * 1024


@dataclass(slots=True)
class _Order:
    """One call's messages, waiting for their place."""

    mailbox: str
    messages: list[Coming]
    done: Deferred[list[Appended]] = field(default_factory=Deferred)


class Committer:
    """Appends to the mailboxes of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._waiting: list[_Order] = []
        self._is_busy = False

    async def append(self, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        """Add messages, all or none."""
        account = self._account
        account.box(mailbox)
        if not messages:
            return []
        if account.source.depositor(account.name) is not None and _size(messages) <= IN_MEMORY:
            return await self._in_line(mailbox, [Coming(await _fetched(each), each.flags) for each in messages])
        staged = await self._stage(messages)
        coming = [Coming(each, message.flags) for each, message in zip(staged, messages, strict=True)]
        try:
            return await self._in_line(mailbox, coming)
        finally:
            await account.source.discard(account.name, staged)

    async def _in_line(self, mailbox: str, messages: list[Coming]) -> list[Appended]:
        order = _Order(mailbox, messages)
        self._waiting.append(order)
        if not self._is_busy:
            self._is_busy = True
            Deferred.fromCoroutine(self._commit_all())
        return await order.done

    async def _stage(self, messages: Sequence[NewMessage]) -> list[Staged]:
        staged: list[Staged] = []
        for start in range(0, len(messages), SIDE_BY_SIDE):
            part = [Deferred.fromCoroutine(self._stage_one(each)) for each in messages[start : start + SIDE_BY_SIDE]]
            results = await DeferredList(part, consumeErrors=True)
            staged += [result for success, result in results if success]
            failure: Any = next((failure for success, failure in results if not success), None)
            if failure is not None:
                await self._account.source.discard(self._account.name, staged)
                failure.raiseException()
        return staged

    async def _stage_one(self, message: NewMessage) -> Staged:
        return await self._account.source.stage(
            self._account.name, message.content, _received(message), _mark(message), message.summary
        )

    # ------------------------------------------------------------ batches

    async def _commit_all(self) -> None:
        try:
            while self._waiting:
                await self._commit_some()
        finally:
            self._is_busy = False

    async def _commit_some(self) -> None:
        """Commit those who wait for one mailbox."""
        mailbox = self._waiting[0].mailbox
        orders: list[_Order] = []
        try:
            box = self._account.box(mailbox)
            async with self._account.changing(box):
                orders = self._take(mailbox)
                self._account.box(mailbox)
                answers = await self._commit(box, orders)
        except BaseException:
            failure = Failure()
            for order in orders or self._take(mailbox):
                order.done.errback(failure)
        else:
            for order, answer in zip(orders, answers, strict=True):
                order.done.callback(answer)

    def _take(self, mailbox: str) -> list[_Order]:
        taken = [order for order in self._waiting if order.mailbox == mailbox][:TOGETHER]
        self._waiting = [order for order in self._waiting if order not in taken]
        return taken

    async def _commit(self, box: Mailbox, orders: Sequence[_Order]) -> list[list[Appended]]:
        messages = [message for order in orders for message in order.messages]
        appended = iter(await self._commit_messages(box, messages))
        return [[next(appended) for _ in order.messages] for order in orders]

    async def _commit_messages(self, box: Mailbox, messages: Sequence[Coming]) -> list[Appended]:
        account = self._account
        work = self._place if account.source.depositor(account.name) is None else self._deposit
        try:
            for _ in range(ATTEMPTS):
                # Both may find messages whose tokens say that they need not be placed again.
                await account.ready(box)
                try:
                    return await work(box, messages)
                except Outdated:
                    await account.survey(box)
            raise Outdated(box.key)
        finally:
            await account.source.discard(
                account.name, [each.what for each in messages if isinstance(each.what, Staged)]
            )

    async def _deposit(self, box: Mailbox, messages: Sequence[Coming]) -> list[Appended]:
        account, plan = self._account, Transaction(self._account)
        depositor = account.source.depositor(account.name)
        appended = await account.databases.visit(
            lambda: deposit(account.databases, account.name, depositor, plan, box, messages)
        )
        plan.take_effect()
        return appended

    async def _place(self, box: Mailbox, messages: Sequence[Coming]) -> list[Appended]:
        """Do what `deposit` does, with a source that needs the reactor."""
        account, name, plan = self._account, self._account.name, Transaction(self._account)
        held = await account.databases.read(name, lambda index: find_held(index, box, messages))
        new = without_those(held, messages)
        placed = await account.source.place(name, box.key, [(each.staged, each.flags) for each in new]) if new else []
        if placed:
            try:
                added = plan_all(plan, box, new, placed)
                await plan.commit()
            except BaseException:
                await account.source.drop(name, box.key, [message.item.key for message in placed])
                raise
            return answers(messages, held, new, added)
        return answers(messages, held, (), ())


def _size(messages: Sequence[NewMessage]) -> int:
    contents: list[Any] = [message.content for message in messages]
    return sum(content.size for content in contents)


async def _fetched(message: NewMessage) -> Unwritten:
    octets = await read_whole(message.content)
    return Unwritten(octets, _received(message), _mark(message), message.summary)


def _received(message: NewMessage) -> int:
    return int(time.time()) if message.received is None else message.received


def _mark(message: NewMessage) -> str | None:
    return mark_of(message.token) if message.token is not None else None
