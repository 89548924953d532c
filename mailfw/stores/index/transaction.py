"""One change of an account: planned, written to its index, then made in memory and told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mailfw.mail.mailbox import Flags
from mailfw.mail.summary import Summary
from mailfw.stores.index.database import Changes
from mailfw.stores.index.ledger import Numbered
from mailfw.stores.index.mailbox import Entry, Mailbox, Messages, Tally, text_of
from mailfw.stores.index.schema import (
    ADD_BODY,
    ADD_EMAIL,
    ADD_EXPUNGED,
    ADD_MESSAGE,
    COPY_MESSAGE,
    DROP_EMAIL,
    DROP_MESSAGE,
    EMPTY_MAILBOX,
    SET_ACCOUNT,
    SET_FLAGS,
    SET_MAILBOX,
)

if TYPE_CHECKING:
    from mailfw.stores.index.account import Account


class Transaction:
    """
    Plans changes of mailboxes whose messages are loaded; nothing happens before `commit`.

    The account's lock is held from the plan to the commit, so places in the arrays stay what they are.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self.modseq = account.modseq
        self.changes = Changes()
        self._tallies: dict[str, Tally] = {}
        self._touched: dict[str, Mailbox] = {}
        self._effects: list[Callable[[], None]] = []

    def tally(self, box: Mailbox) -> Tally:
        """Return a mailbox's numbers as they will be."""
        return self._tallies.get(box.id, box.tally)

    def set_tally(self, box: Mailbox, tally: Tally) -> None:
        """Plan a mailbox's numbers."""
        self._touched[box.id] = box
        self._tallies[box.id] = tally

    def _next(self) -> int:
        self.modseq += 1
        return self.modseq

    def reset(self, box: Mailbox, uid_validity: int) -> None:
        """Begin the mailbox anew with another UIDVALIDITY: no message of it is known any more."""
        modseq = self._next()
        for statement in EMPTY_MAILBOX:
            self.changes.add(statement, (box.row,))
        self.set_tally(box, Tally(modseq=modseq))
        # Written with the mailbox's row, which has to be right before the effect.
        box.uid_validity, box.floor = uid_validity, modseq
        self._effects.append(lambda: setattr(box, "messages", Messages([], modseq)))

    def add(self, box: Mailbox, messages: Sequence[tuple[Numbered, Flags, Summary]]) -> list[Entry]:
        """Add messages."""
        account, tally = self._account, self.tally(box)
        entries: list[Entry] = []
        emails: list[tuple[object, ...]] = []
        rows: list[tuple[object, ...]] = []
        bodies: list[tuple[object, ...]] = []
        for message, flags, summary in messages:
            modseq, item, email = self._next(), message.item, account.next_email
            account.next_email += 1
            uid = message.uid if message.uid is not None else tally.uid_next
            tally = tally.counting(modseq, flags, summary.size, 1, uid)
            emails.append(summary_columns(email, summary))
            received, email_id, mark, key = item.received, message.email_id, message.mark, item.key
            if message.body is not None:
                key = str(email)
                bodies.append((email, message.body.octets, message.body.file))
            kept = text_of(flags)
            rows.append((box.row, uid, key, kept, modseq, summary.size, received, email_id, mark, email))
            entries.append(Entry(uid, modseq, flags, key, summary.size, email))
        self.changes.add(ADD_EMAIL, *emails)
        self.changes.add(ADD_MESSAGE, *rows)
        if bodies:
            self.changes.add(ADD_BODY, *bodies)
        return self._enter(box, tally, entries)

    def copy(self, box: Mailbox, place: int, to: Mailbox, key: str, uid: int | None) -> Entry:
        """Copy a message."""
        assert box.messages is not None
        messages, modseq = box.messages, self._next()
        uid = uid if uid is not None else self.tally(to).uid_next
        self.changes.add(COPY_MESSAGE, (to.row, uid, key, modseq, box.row, messages.uids[place]))
        flags, size, email = messages.flags[place], messages.sizes[place], messages.emails[place]
        tally = self.tally(to).counting(modseq, flags, size, 1, uid)
        [entry] = self._enter(to, tally, [Entry(uid, modseq, flags, key, size, email)])
        return entry

    def _enter(self, box: Mailbox, tally: Tally, entries: list[Entry]) -> list[Entry]:
        self.set_tally(box, tally)
        for flags in {entry.flags for entry in entries}:
            self._keep(box, flags)
        self._effects.append(lambda: _messages(box).add(entries))
        return entries

    def alter(self, box: Mailbox, changed: Mapping[int, Flags]) -> int:
        """Give messages, by place, other flags; returns their modification sequence."""
        messages, modseq = _messages(box), self._next()
        tally = self.tally(box)
        kinds = Counter([(messages.flags[place], flags) for place, flags in changed.items()])
        for (before, after), count in kinds.items():
            tally = tally.altering(modseq, before, after, count)
            self._keep(box, after)
        rows = [(text_of(flags), modseq, box.row, messages.uids[place]) for place, flags in changed.items()]
        self.changes.add(SET_FLAGS, *rows)
        self.set_tally(box, tally)
        self._effects.append(lambda: messages.alter(modseq, changed))
        return modseq

    def _keep(self, box: Mailbox, flags: Flags) -> None:
        """Wait for the disk if the index alone keeps one of these flags."""
        if not all(self._account.source.keeps(self._account.name, box.key, flag) for flag in flags):
            self.changes.synced = True

    def remove(self, box: Mailbox, places: Sequence[int]) -> int:
        """Remove messages, by ascending place; returns the modification sequence."""
        messages, modseq = _messages(box), self._next()
        tally = self.tally(box)
        for place in places:
            tally = tally.counting(modseq, messages.flags[place], messages.sizes[place], -1)
        uids = [messages.uids[place] for place in places]
        self.changes.add(DROP_MESSAGE, *((box.row, uid) for uid in uids))
        self.changes.add(ADD_EXPUNGED, *((box.row, modseq, uid) for uid in uids))
        self.changes.add(DROP_EMAIL, *((messages.emails[place],) for place in places))
        self.set_tally(box, tally)
        self._effects.append(lambda: messages.remove(modseq, places))
        return modseq

    async def commit(self) -> None:
        """Write all, make it so in memory, and tell who watches.  Raises `NoSpace`."""
        await self._account.databases.write(self._account.name, self.finish())
        self.take_effect()

    def finish(self) -> Changes:
        """Return all that is to be written; after this nothing can be planned.  Any thread may ask."""
        account = self._account
        for box in self._touched.values():
            if box.cursor is not None:
                box.cursor = account.source.cursor(account.name, box.key, box.cursor)
            self.changes.add(SET_MAILBOX, mailbox_columns(box, self.tally(box)))
        self.changes.add(SET_ACCOUNT, (self.modseq,))
        return self.changes

    def take_effect(self) -> None:
        """Make what was written so in memory, and tell who watches."""
        account = self._account
        account.modseq = self.modseq
        for effect in self._effects:
            effect()
        for box in self._touched.values():
            told = box.tally.modseq
            account.count(box, self.tally(box))
            if box.tally.modseq != told:
                account.notify(box.id, box.tally.modseq)


def summary_columns(email: int, summary: Summary) -> tuple[object, ...]:
    """Return the parameters of `ADD_EMAIL`."""
    return (
        email,
        summary.sent,
        summary.envelope,
        summary.body,
        summary.bodystructure,
        summary.parts,
        summary.fields,
    )


def mailbox_columns(box: Mailbox, tally: Tally) -> tuple[object, ...]:
    """Return the parameters of `SET_MAILBOX`."""
    return (
        json.dumps(box.path),
        box.role.value if box.role else None,
        box.uid_validity,
        tally.uid_next,
        tally.modseq,
        tally.recent_uid,
        box.floor,
        tally.messages,
        tally.unseen,
        tally.deleted,
        tally.size,
        box.cursor,
        box.row,
    )


def _messages(box: Mailbox) -> Messages:
    assert box.messages is not None
    return box.messages
