"""One change of an account: planned, written to its index, then made in memory and told."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from mailfw.mail.mailbox import DELETED, Flags, Role
from mailfw.mail.rights import NO_RIGHTS, AccessList, format_rights
from mailfw.mail.summary import Summary
from mailfw.stores.index.conversations import Conversations, is_time_to_prune, shown, whole_range
from mailfw.stores.index.database import Changes
from mailfw.stores.index.ledger import Numbered
from mailfw.stores.index.mailbox import Entry, Mailbox, Messages, Tally, text_of
from mailfw.stores.index.readers import Reader
from mailfw.stores.index.schema import (
    ADD_BODY,
    ADD_EMAIL,
    ADD_EXPUNGED,
    ADD_MESSAGE,
    ADD_SUMMARY,
    ADD_THREAD,
    COPY_MESSAGE,
    COPY_SEEN,
    DROP_ACCESS,
    DROP_ANNOTATION,
    DROP_EMAIL,
    DROP_MESSAGE,
    DROP_SEEN,
    EMPTY_MAILBOX,
    FORGET_THREADS,
    SET_ACCESS,
    SET_ACCOUNT,
    SET_ANNOTATION,
    SET_FLAGS,
    SET_MAILBOX,
    SET_SEEN,
)

if TYPE_CHECKING:
    from mailfw.stores.index.account import Account


@dataclass(frozen=True, slots=True)
class Returning:
    """An expunged message that the index keeps in its `row` and that comes back, with its `key` and summary."""

    row: int
    flags: Flags
    key: str
    size: int
    received: int
    email: int


class Transaction:
    """
    Plans changes of mailboxes whose messages are loaded; nothing happens before `commit`.

    The account's lock is held from the plan to the commit, so places in the arrays stay what they are.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self.modseq = account.modseq
        #: What is known of the threads of messages to be added: see `conversations.find_threads`.
        self.threads: dict[bytes, bytes] = {}
        self.changes = Changes()
        self._tallies: dict[str, Tally] = {}
        self._touched: dict[str, Mailbox] = {}
        self._effects: list[Callable[[], None]] = []

    @property
    def number(self) -> int:
        """The account's number."""
        return self._account.number

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
        self._effects.append(lambda: self._account.dropped(None))

    def add(self, box: Mailbox, messages: Sequence[tuple[Numbered, Flags, Summary]]) -> list[Entry]:
        """Add messages."""
        account, tally = self._account, self.tally(box)
        entries: list[Entry] = []
        emails: list[tuple[object, ...]] = []
        summaries: list[tuple[object, ...]] = []
        rows: list[tuple[object, ...]] = []
        bodies: list[tuple[object, ...]] = []
        conversations = Conversations(account.number, self.threads)
        now = int(time.time())
        for message, flags, summary in messages:
            modseq, item, email = self._next(), message.item, account.next_email
            account.next_email += 1
            uid = message.uid if message.uid is not None else tally.uid_next
            tally = tally.counting(modseq, flags, summary.size, 1, uid)
            thread = conversations.join(summary, message.email_id)
            emails.append((email, thread, summary.sent, summary.sort, summary.ids))
            summaries.append(summary_columns(email, summary))
            received, email_id, mark, key = item.received, message.email_id, message.mark, item.key
            if message.body is not None:
                key = str(email)
                bodies.append((email, message.body.octets, message.body.file))
            kept = text_of(flags)
            saved = account.source.saved(key, now)
            rows.append((box.row, uid, key, kept, modseq, summary.size, received, email_id, mark, email, saved))
            entries.append(Entry(uid, modseq, flags, key, summary.size, received, email, shown(thread)))
        self.changes.add(ADD_EMAIL, *emails)
        self.changes.add(ADD_SUMMARY, *summaries)
        self.changes.add(ADD_MESSAGE, *rows)
        if bodies:
            self.changes.add(ADD_BODY, *bodies)
        if conversations.new:
            self.changes.add(ADD_THREAD, *conversations.new)
        return self._enter(box, tally, entries)

    def copy(self, box: Mailbox, place: int, to: Mailbox, key: str, uid: int | None) -> Entry:
        """Copy a message."""
        assert box.messages is not None
        messages, modseq = box.messages, self._next()
        uid = uid if uid is not None else self.tally(to).uid_next
        saved = self._account.source.saved(key, int(time.time()))
        self.changes.add(COPY_MESSAGE, (to.row, uid, key, modseq, saved, box.row, messages.uids[place]))
        flags, size, email = messages.flags[place], messages.sizes[place], messages.emails[place]
        received = messages.received[place]
        tally = self.tally(to).counting(modseq, flags, size, 1, uid)
        [entry] = self._enter(to, tally, [Entry(uid, modseq, flags, key, size, received, email)])
        if to.access and messages.readers:
            self._copy_marks(box, messages.uids[place], to, entry)
        return entry

    def _copy_marks(self, box: Mailbox, uid: int, to: Mailbox, entry: Entry) -> None:
        """Let those who have seen a message have seen its copy, where they may find it."""
        readers = _messages(box).readers
        marks = {user: mark.seen for user, reader in readers.items() if (mark := reader.mark(uid)) is not None}
        if not marks:
            return
        self.changes.add(COPY_SEEN, (to.row, entry.uid, entry.modseq, box.row, uid))
        self.changes.synced = True
        self._effects.extend(partial(_set_marks, to, user, entry.modseq, {entry.uid: marks[user]}) for user in marks)

    def mark(self, box: Mailbox, user: str, marked: Mapping[int, bool], again: bool) -> None:
        """Note by UID what a user has seen, or no longer; `again` with the last modification sequence."""
        modseq = self.modseq if again else self._next()
        self.changes.add(SET_SEEN, *((box.row, uid, user, modseq, int(seen)) for uid, seen in marked.items()))
        self.changes.synced = True
        self.set_tally(box, replace(self.tally(box), modseq=modseq))
        self._effects.append(partial(_set_marks, box, user, modseq, marked))

    def grant(self, box: Mailbox, identifier: str, access: AccessList) -> None:
        """Give a mailbox an access list that differs from the present one in what it says of one identifier."""
        rights = access.get(identifier, NO_RIGHTS)
        if rights:
            self.changes.add(SET_ACCESS, (box.row, identifier, format_rights(rights)))
        else:
            self.changes.add(DROP_ACCESS, (box.row, identifier))
        self.changes.synced = True
        self.set_tally(box, replace(self.tally(box), modseq=self._next()))
        self._effects.append(partial(setattr, box, "access", access))

    def annotate(self, box: Mailbox | None, edits: Mapping[tuple[str, str], bytes | None]) -> int:
        """Give entries, by whose they are and name, other values; returns the modification sequence."""
        row, modseq = self._account.own_row if box is None else box.row, self._next()
        set_ = [(row, *key, value, modseq) for key, value in edits.items() if value is not None]
        self.changes.add(SET_ANNOTATION, *set_)
        self.changes.add(DROP_ANNOTATION, *((row, *key) for key, value in edits.items() if value is None))
        self.changes.synced = True
        if box is not None:
            self.set_tally(box, replace(self.tally(box), modseq=modseq))
            self._effects.append(partial(setattr, box, "annotated", modseq))
        return modseq

    def give_role(self, box: Mailbox, role: Role | None) -> None:
        """Say what a mailbox is for."""
        # Written with the mailbox's row, which is another before the effect; put back where that fails.
        box.role = role
        self.changes.synced = True
        self.set_tally(box, replace(self.tally(box), modseq=self._next()))

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
        uids = messages.uids
        rows = [(text_of(changed[a]), modseq, box.row, uids[a], uids[b]) for a, b in _runs(changed)]
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
        if is_time_to_prune(len(places), self._account.messages_kept):
            self.changes.add(FORGET_THREADS, (*whole_range(self._account.number), *self._account.email_rows))
        if messages.readers:
            self.changes.add(DROP_SEEN, *((box.row, uid) for uid in uids))
        self.set_tally(box, tally)
        emails = [messages.emails[place] for place in places]
        self._effects += [lambda: messages.remove(modseq, places), lambda: self._account.dropped(emails)]
        return modseq

    def keep(self, box: Mailbox, places: Sequence[int]) -> None:
        """Keep out of sight, if the index does so, what is about to be removed for good."""
        keeping = self._account.databases.keeping
        if keeping is not None and keeping.goes_on:
            uids, now = _messages(box).uids, time.time()
            self.changes.add(keeping.messages, *((now, box.row, uids[place]) for place in places))

    def bring_back(self, box: Mailbox, messages: Sequence[Returning]) -> None:
        """Put expunged messages that the index kept into a mailbox."""
        keeping, tally = self._account.databases.keeping, self.tally(box)
        assert keeping is not None
        entries: list[Entry] = []
        rows: list[tuple[object, ...]] = []
        for message in messages:
            modseq, uid, flags = self._next(), tally.uid_next, message.flags - {DELETED}
            tally = tally.counting(modseq, flags, message.size, 1, uid)
            rows.append((box.row, uid, modseq, text_of(flags), message.row, int(time.time())))
            entries.append(Entry(uid, modseq, flags, message.key, message.size, message.received, message.email))
        self.changes.add(keeping.give_back, *rows)
        self.changes.add(keeping.forget, *((message.row,) for message in messages))
        self._enter(box, tally, entries)

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
        told = {box.id: box.tally.modseq for box in self._touched.values()}
        for box in self._touched.values():
            account.count(box, self.tally(box))
        account.changed()
        for box in self._touched.values():
            if box.tally.modseq != told[box.id]:
                account.notify(box.id, box.tally.modseq)


def summary_columns(email: int, summary: Summary) -> tuple[object, ...]:
    """Return the parameters of `ADD_SUMMARY`."""
    return (
        email,
        summary.preview,
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


def _set_marks(box: Mailbox, user: str, modseq: int, marked: Mapping[int, bool]) -> None:
    _messages(box).readers.setdefault(user, Reader(modseq - 1)).set(modseq, marked)


def _runs(changed: Mapping[int, Flags]) -> list[tuple[int, int]]:
    """Return the first and the last of neighbours, by place, that get the same flags: they are written as one."""
    runs: list[tuple[int, int]] = []
    for place in sorted(changed):
        if runs and place == runs[-1][1] + 1 and changed[place] == changed[runs[-1][0]]:
            runs[-1] = runs[-1][0], place
        else:
            runs.append((place, place))
    return runs


def _messages(box: Mailbox) -> Messages:
    assert box.messages is not None
    return box.messages
