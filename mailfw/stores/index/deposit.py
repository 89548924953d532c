"""All that is done in a thread to append messages to mailboxes of many accounts; and what of it other ways share."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from mailfw.mail.content import Prefixed, blocking_reader, read_whole_now
from mailfw.mail.mailbox import Appended, Flags
from mailfw.mail.quota import Room
from mailfw.mail.summary import Summary, behind, summarise
from mailfw.stores.index import intents, queries
from mailfw.stores.index.conversations import find_threads, keys_of
from mailfw.stores.index.database import Changes, Indexes
from mailfw.stores.index.ledger import Numbered, Parcel, Staged
from mailfw.stores.index.mailbox import Mailbox
from mailfw.stores.index.transaction import Transaction

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Coming:
    """
    A message on its way into a mailbox; unless it is staged already, it is read and written when its turn comes.

    `answer` is where it is, once it is there.
    """

    content: Any
    flags: Flags
    received: int
    mark: str | None
    summary: Summary | None
    staged: Staged | None = None
    answer: Appended | None = None


@dataclass(slots=True, eq=False)
class Order:
    """Messages of one call, all of them or none; `failure` is why they are not kept."""

    mailbox: str
    messages: list[Coming]
    failure: BaseException | None = None


@dataclass(slots=True, eq=False)
class Deposit:
    """
    What is appended to one mailbox with one visit to a thread; `plan` is left to take effect.

    `room` is what still fits into the account.  After the visit `failure` is what concerns all `orders`, such as
    `Outdated`; what was staged then stays so.
    """

    account: str
    plan: Transaction
    box: Mailbox
    orders: Sequence[Order]
    room: Room
    failure: Exception | None = None
    held: dict[str, Appended] = field(default_factory=dict)
    new: list[Coming] = field(default_factory=list)

    @property
    def messages(self) -> list[Coming]:
        """The messages of all orders that have not failed."""
        return [message for order in self.orders if order.failure is None for message in order.messages]


def deposit_all(databases: Indexes, depositor: Any, deposits: Sequence[Deposit], patience: float | None) -> None:
    """
    Write, place, number and index messages; what fails is in the deposits.

    Blocks, in the queues of all the accounts.
    """
    summaries = _Summaries(message for each in deposits for message in each.messages)
    _find_held(databases, deposits)
    for each in deposits:
        if each.failure is None:
            _stage(depositor, each, summaries)
    _find_threads(databases, [each for each in deposits if each.new])
    _note(databases, depositor, [each for each in deposits if each.new and each.failure is None])
    waiting = [each for each in deposits if each.new and each.failure is None]
    parcels = [
        Parcel(each.account, each.box.key, [(staged_of(one), one.flags) for one in each.new]) for each in waiting
    ]
    placed = depositor.place(parcels, patience) if parcels else []
    _index(databases, depositor, list(zip(waiting, placed, strict=True)))
    for each in deposits:
        if each.failure is None:
            answer(each.messages, each.held)


def _stage(depositor: Any, deposit: Deposit, summaries: _Summaries) -> None:
    """Write what is new of a deposit; an order that cannot be written fails alone."""
    seen = set(deposit.held)
    for order in deposit.orders:
        if order.failure is not None:
            continue
        new = without_those(seen, order.messages)
        try:
            octets = check_room(deposit.room, new)
            for each in new:
                if each.staged is None:
                    each.staged = _staged(depositor, deposit.account, each, summaries)
        except Exception as error:
            order.failure = error
            continue
        deposit.room.take(octets, len(new))
        deposit.new += new
        seen.update(each.mark for each in new if each.mark is not None)


def _find_held(databases: Indexes, deposits: Sequence[Deposit]) -> None:
    """Find what mailboxes have already, with one query for all the accounts that are in one file."""
    for together in _by_file(databases, deposits):
        if marks := set().union(*(_marks(each.box, each.messages) for each in together)):
            found = _read(databases, together, partial(queries.find_marks, marks=marks)) or {}
            boxes = {each.box.row: each for each in together}
            for (row, mark), there in found.items():
                boxes[row].held[mark] = Appended(*there)


def _find_threads(databases: Indexes, deposits: Sequence[Deposit]) -> None:
    """Find the threads of new messages, in the same way."""
    for together in _by_file(databases, deposits):
        summaries = [(each.plan.number, staged_of(new).summary) for each in together for new in each.new]
        if keys := {key for number, summary in summaries for key in keys_of(number, summary)}:
            known = _read(databases, together, partial(find_threads, keys=keys)) or {}
            for each in together:
                each.plan.threads = known  # the keys of each account begin with its number


def _by_file(databases: Indexes, deposits: Sequence[Deposit]) -> Iterable[list[Deposit]]:
    by_file: dict[object, list[Deposit]] = {}
    for each in deposits:
        by_file.setdefault(databases.file_of(each.account), []).append(each)
    return by_file.values()


def _read(databases: Indexes, deposits: Sequence[Deposit], query: Callable[[sqlite3.Connection], T]) -> T | None:
    """Run a query for deposits in one file; None where it fails, and with it all of them."""
    try:
        return databases.read_now(deposits[0].account, query)
    except Exception as error:
        for each in deposits:
            each.failure = error
        return None


def _note(databases: Indexes, depositor: Any, deposits: Sequence[Deposit]) -> None:
    """Note what consists of several messages that must be there together; most orders are of one."""
    noted: list[tuple[Deposit, Changes]] = []
    for each in deposits:
        here = {id(message) for message in each.new}
        parted = [[message for message in order.messages if id(message) in here] for order in each.orders]
        if all(len(messages) < 2 for messages in parted):
            continue
        intent = intents.intent_of(each.box, parted, partial(depositor.expect, each.account))
        if intent is not None:
            noted.append((each, intents.noting(intent)))
            intents.conclude(each.plan)
    failures = databases.write_all([(each.account, changes) for each, changes in noted]) if noted else []
    for (each, _), failure in zip(noted, failures, strict=True):
        each.failure = failure


def _staged(depositor: Any, account: str, message: Coming, summaries: _Summaries) -> Staged:
    read_now = blocking_reader(message.content)
    assert read_now is not None
    octets = read_whole_now(read_now, 0, message.content.size)
    summary = message.summary or summaries.of(message.content, octets)
    staged: Staged = depositor.stage(account, octets, message.received, message.mark, summary)
    return staged


def _index(databases: Indexes, depositor: Any, deposits: Sequence[tuple[Deposit, list[Numbered] | Exception]]) -> None:
    """Write all that was placed to the indexes at once; what cannot be is taken back."""
    planned: list[tuple[Deposit, Changes, list[Numbered]]] = []
    for deposit, placed in deposits:
        if isinstance(placed, Exception):
            deposit.failure = placed
            continue
        plan_all(deposit.plan, deposit.box, deposit.new, placed)
        planned.append((deposit, deposit.plan.finish(), placed))
    failures = databases.write_all([(deposit.account, changes) for deposit, changes, _ in planned])
    for (deposit, _, placed), failure in zip(planned, failures, strict=True):
        if failure is not None:
            deposit.failure = failure
            depositor.drop(deposit.account, deposit.box.key, [message.item.key for message in placed])


class _Summaries:
    """Summarises a message once that several recipients get, each behind trace fields of his own."""

    def __init__(self, messages: Iterable[Coming]) -> None:
        contents = (message.content for message in messages if message.staged is None)
        self._times = Counter(id(each.content) for each in contents if isinstance(each, Prefixed) and each.is_whole)
        self._made: dict[int, Summary] = {}

    def of(self, content: Any, octets: bytes) -> Summary:
        """Return the summary of a content with these octets."""
        if isinstance(content, Prefixed) and content.is_whole and self._times[id(content.content)] > 1:
            shared = self._shared(content, octets)
            if shared is not None:
                return shared
        return summarise(octets)

    def _shared(self, content: Prefixed, octets: bytes) -> Summary | None:
        size = len(content.prefix)
        if octets[size : size + 1] in (b" ", b"\t"):
            return None
        key = id(content.content)  # which all the orders hold on to
        if key not in self._made:
            self._made[key] = summarise(octets[size:])
        return behind(content.prefix, self._made[key])


# ---------------------------------------------------------------- what other ways share


def find_held(index: sqlite3.Connection, box: Mailbox, messages: Sequence[Coming]) -> dict[str, Appended]:
    """Return the messages the mailbox has already, by the marks of the tokens they came with."""
    found = queries.find_marks(index, _marks(box, messages))
    return {mark: Appended(*there) for (_, mark), there in found.items()}


def _marks(box: Mailbox, messages: Sequence[Coming]) -> set[tuple[int, str]]:
    return {(box.row, each.mark) for each in messages if each.mark}


def without_those(held: Iterable[str], messages: Sequence[Coming]) -> list[Coming]:
    """Return the messages whose tokens the mailbox does not hold, each token once."""
    seen = set(held)
    new = []
    for message in messages:
        mark = message.mark
        if mark is None or mark not in seen:
            new.append(message)
        if mark is not None:
            seen.add(mark)
    return new


def check_room(room: Room, new: Sequence[Coming]) -> int:
    """Return the octets of messages.  Raises `OverQuota` where they do not fit."""
    octets: int = sum([each.content.size for each in new])
    room.check(octets, len(new))
    return octets


def plan_all(plan: Transaction, box: Mailbox, new: Sequence[Coming], placed: Sequence[Numbered]) -> None:
    """Plan rows for messages that were placed."""
    rows = [(message, each.flags, staged_of(each).summary) for each, message in zip(new, placed, strict=True)]
    for entry, message, each in zip(plan.add(box, rows), placed, new, strict=True):
        each.answer = Appended(entry.uid, entry.modseq, message.email_id, entry.thread_id)


def answer(messages: Sequence[Coming], held: Mapping[str, Appended]) -> None:
    """Say of messages that were not new where the mailbox has them already, under their tokens."""
    old = [message for message in messages if message.answer is None]
    if old:
        marked = {**held, **{each.mark: each.answer for each in messages if each.mark and each.answer}}
        for message in old:
            message.answer = marked[message.mark or ""]


def staged_of(message: Coming) -> Staged:
    """Return where a message is staged."""
    assert message.staged is not None
    return message.staged
