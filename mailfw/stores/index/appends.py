"""
The committer: messages that are to be appended at the same time are placed, numbered and indexed together.

Each is written and synced by itself, many at once; whoever is done gets in line.  While one batch is placed the
next gathers, so that a directory, a UID list and an index see one change for each batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from mailfw.mail.mailbox import Appended, Flags, NewMessage
from mailfw.stores.index import queries
from mailfw.stores.index.account import ATTEMPTS, Account
from mailfw.stores.index.ledger import Numbered, Outdated, Staged
from mailfw.stores.index.mailbox import Mailbox
from mailfw.stores.index.transaction import Transaction
from mailfw.stores.marks import mark_of

#: Messages of one call that are written at the same time.
SIDE_BY_SIDE = 16

#: Calls that are committed together.
TOGETHER = 64


@dataclass(slots=True)
class _Order:
    """One call's messages, written and waiting for their place."""

    mailbox: str
    messages: list[tuple[Staged, Flags]]
    done: Deferred[list[Appended]] = field(default_factory=Deferred)


class Committer:
    """Appends to the mailboxes of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._waiting: list[_Order] = []
        self._is_busy = False

    async def append(self, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        """Add messages, all or none."""
        self._account.box(mailbox)
        if not messages:
            return []
        staged = await self._stage(messages)
        order = _Order(mailbox, [(each, message.flags) for each, message in zip(staged, messages, strict=True)])
        self._waiting.append(order)
        if not self._is_busy:
            self._is_busy = True
            Deferred.fromCoroutine(self._commit_all())
        try:
            return await order.done
        finally:
            await self._account.source.discard(self._account.name, staged)

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
        received = int(time.time()) if message.received is None else message.received
        mark = mark_of(message.token) if message.token is not None else None
        return await self._account.source.stage(self._account.name, message.content, received, mark, message.summary)

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
        for _ in range(ATTEMPTS):
            # Both may find messages whose tokens say that they need not be placed again.
            await self._account.ready(box)
            held = await self._find_marks(box, orders)
            new = _without_those(held, orders)
            try:
                return await self._place(box, new, held, orders)
            except Outdated:
                await self._account.survey(box)
        raise Outdated(box.key)

    async def _find_marks(self, box: Mailbox, orders: Sequence[_Order]) -> dict[str, Appended]:
        marks = {staged.mark for order in orders for staged, _ in order.messages if staged.mark}
        if not marks:
            return {}
        found = await self._account.databases.read(
            self._account.name, lambda connection: queries.find_marks(connection, box.row, marks)
        )
        return {mark: Appended(*each) for mark, each in found.items()}

    async def _place(
        self, box: Mailbox, new: Sequence[tuple[Staged, Flags]], held: dict[str, Appended], orders: Sequence[_Order]
    ) -> list[list[Appended]]:
        account = self._account
        placed = await account.source.place(account.name, box.key, new) if new else []
        appended: dict[int, Appended] = {}
        if placed:
            try:
                entries = await self._index(box, new, placed)
            except BaseException:
                await account.source.drop(account.name, box.key, [message.item.key for message in placed])
                raise
            for (staged, _), answer in zip(new, entries, strict=True):
                appended[id(staged)] = answer
                if staged.mark:
                    held[staged.mark] = answer
        return [
            [appended.get(id(staged)) or held[staged.mark or ""] for staged, _ in order.messages] for order in orders
        ]

    async def _index(
        self, box: Mailbox, new: Sequence[tuple[Staged, Flags]], placed: Sequence[Numbered]
    ) -> list[Appended]:
        plan = Transaction(self._account)
        entries = [
            plan.add(box, message, flags, staged.summary) for (staged, flags), message in zip(new, placed, strict=True)
        ]
        await plan.commit()
        return [
            Appended(entry.uid, entry.modseq, message.email_id) for entry, message in zip(entries, placed, strict=True)
        ]


def _without_those(held: dict[str, Appended], orders: Sequence[_Order]) -> list[tuple[Staged, Flags]]:
    """Return the messages whose tokens the mailbox does not hold, each token once."""
    seen = set(held)
    new = []
    for order in orders:
        for staged, flags in order.messages:
            if staged.mark is None or staged.mark not in seen:
                new.append((staged, flags))
            if staged.mark is not None:
                seen.add(staged.mark)
    return new
