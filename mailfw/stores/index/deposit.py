"""All that is done in a thread to append one batch of messages to a mailbox; and what of it other ways share."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mailfw.mail.mailbox import Appended, Flags
from mailfw.mail.summary import Summary
from mailfw.stores.index import queries
from mailfw.stores.index.database import Databases
from mailfw.stores.index.ledger import Numbered, Staged
from mailfw.stores.index.mailbox import Mailbox
from mailfw.stores.index.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Unwritten:
    """A message that is still in memory alone."""

    octets: bytes
    received: int
    mark: str | None
    summary: Summary | None


@dataclass(slots=True, eq=False)
class Coming:
    """A message on its way into a mailbox; it is written when its turn comes."""

    what: Unwritten | Staged
    flags: Flags

    @property
    def staged(self) -> Staged:
        """The message, which has been written."""
        assert isinstance(self.what, Staged)
        return self.what


def deposit(
    databases: Databases, account: str, depositor: Any, plan: Transaction, box: Mailbox, messages: Sequence[Coming]
) -> list[Appended]:
    """
    Write, place, number and index messages; `plan` is left to take effect.  Blocks, in the account's queue.

    Raises what the `IDepositor` raises; after `Outdated` those that were written are placed the next time.
    """
    held = databases.read_now(account, lambda index: find_held(index, box, messages))
    new = without_those(held, messages)
    if not new:
        return answers(messages, held, (), ())
    for each in new:
        if isinstance(each.what, Unwritten):
            each.what = depositor.stage(each.what.octets, each.what.received, each.what.mark, each.what.summary)
    placed = depositor.place(box.key, [(each.staged, each.flags) for each in new])
    try:
        added = plan_all(plan, box, new, placed)
        databases.write_now(account, plan.finish())
    except BaseException:
        depositor.drop(box.key, [message.item.key for message in placed])
        raise
    return answers(messages, held, new, added)


def find_held(index: sqlite3.Connection, box: Mailbox, messages: Sequence[Coming]) -> dict[str, Appended]:
    """Return the messages the mailbox has already, by the marks of the tokens they came with."""
    marks = {each.what.mark for each in messages if each.what.mark}
    if not marks:
        return {}
    return {mark: Appended(*found) for mark, found in queries.find_marks(index, box.row, marks).items()}


def without_those(held: Mapping[str, Appended], messages: Sequence[Coming]) -> list[Coming]:
    """Return the messages whose tokens the mailbox does not hold, each token once."""
    seen = set(held)
    new = []
    for message in messages:
        mark = message.what.mark
        if mark is None or mark not in seen:
            new.append(message)
        if mark is not None:
            seen.add(mark)
    return new


def plan_all(plan: Transaction, box: Mailbox, new: Sequence[Coming], placed: Sequence[Numbered]) -> list[Appended]:
    """Plan rows for messages that were placed."""
    added = []
    for each, message in zip(new, placed, strict=True):
        entry = plan.add(box, message, each.flags, each.staged.summary)
        added.append(Appended(entry.uid, entry.modseq, message.email_id))
    return added


def answers(
    messages: Sequence[Coming], held: Mapping[str, Appended], new: Sequence[Coming], added: Sequence[Appended]
) -> list[Appended]:
    """Return what became of each message: new, or there already under its token."""
    fresh = dict(zip(new, added, strict=True))
    marked = {**held, **{each.what.mark: answer for each, answer in fresh.items() if each.what.mark}}
    return [fresh.get(message) or marked[message.what.mark or ""] for message in messages]


async def read_whole(content: Any) -> bytes:
    """Read a small content.  One that ends before its size is a fault, and nothing of it may be kept."""
    octets: bytes = await content.read(0, content.size)
    while len(octets) < content.size:
        more = await content.read(len(octets), content.size - len(octets))
        if not more:
            raise ValueError(f"a content of {content.size} octets ended at {len(octets)}")
        octets += more
    return octets
