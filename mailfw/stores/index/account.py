"""One account: its mailboxes in memory, its index and its source, and the queue in which changes wait."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from twisted.logger import Logger

from mailfw.disk import takes_nothing
from mailfw.interfaces import IContent, IQuotas
from mailfw.mail.failure import NoSuchAccount, NoSuchMailbox
from mailfw.mail.mailbox import Flags, MailboxInfo, Path
from mailfw.mail.quota import NO_LIMITS, Quota, QuotaLimits, Room
from mailfw.mail.summary import Summary
from mailfw.stores.index import queries
from mailfw.stores.index.conversations import find_threads, keys_of
from mailfw.stores.index.database import Changes, Indexes
from mailfw.stores.index.ledger import ILedgerSource, Numbered, SourceBusy
from mailfw.stores.index.mailbox import Mailbox, Messages, Tally
from mailfw.stores.index.schema import FORGET_EXPUNGED, RAISE_FLOOR
from mailfw.stores.index.transaction import Transaction
from mailfw.turns import Turns

if TYPE_CHECKING:
    from mailfw.stores.index.searching import Searches

log = Logger()
T = TypeVar("T")

#: For how long, in seconds, an answer may leave out what another program has just done to the files.
FRESH = 1.0

#: Messages that are summarised and written to the index together when many are new.
BATCH = 200

#: How often a change is tried again because another program was quicker.
ATTEMPTS = 5


class Account:
    """
    The state of an account while it is in use, and what every operation on it stands on.

    Operations are in the modules beside this one.  Whatever changes anything does so within `changing`, and calls
    `changed` when that can be seen and before anybody hears of it; `on_change` is called with the name then.
    """

    def __init__(
        self,
        name: str,
        source: ILedgerSource,
        databases: Indexes,
        quotas: IQuotas | None = None,
        on_change: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self._on_change = on_change
        #: Who wants to know what can be found in the account, if anybody does.
        self.searches: Searches | None = None
        self.source = source
        self.databases = databases
        self._quotas = quotas
        #: What all mailboxes have together: kept by `count`.
        self.octets = self.messages_kept = 0
        self.modseq = 0
        self.validity = 0
        self.next_email = 1
        self.number, self.email_rows, self.own_row = 0, (0, 0), 0
        self.boxes: dict[str, Mailbox] = {}
        self.subscribed: frozenset[Path] = frozenset()
        self.is_open = False
        self.is_removed = False
        self.tree_checked = 0.0
        #: Calls under way: an account in use is not forgotten.
        self.users = 0
        self.watchers: dict[object, Callable[[str, int], None]] = {}
        self._turns = Turns()

    # ------------------------------------------------------------ the queue

    @asynccontextmanager
    async def changing(self, *boxes: Mailbox) -> AsyncIterator[None]:
        """
        Wait for one's turn and hold it.

        Where a change fails, the mailboxes concerned are read again from index and source.
        """
        async with self._turns:
            try:
                if self.is_removed:
                    raise NoSuchAccount(self.name)
                yield
            except BaseException as error:
                for box in boxes:
                    box.messages, box.cursor = None, None
                    self.source.forget(self.name, box.key)
                if isinstance(error, NoSuchMailbox):
                    self.tree_checked = 0.0  # another program has removed it: others may be gone too
                raise

    @asynccontextmanager
    async def changing_messages(self, id_: str) -> AsyncIterator[tuple[Mailbox, Messages]]:
        """Wait for one's turn to change a mailbox's messages.  Raises `NoSuchMailbox`."""
        box = self.box(id_)
        async with self.changing(box):
            yield self.box(id_), await self.ready(box)

    def box(self, id_: str) -> Mailbox:
        """Return a mailbox.  Raises `NoSuchMailbox`."""
        try:
            return self.boxes[id_]
        except KeyError:
            raise NoSuchMailbox("the mailbox is gone")

    def info(self, box: Mailbox) -> MailboxInfo:
        """Return a mailbox as it is now."""
        return box.info(box.path in self.subscribed)

    # ------------------------------------------------------------ loading and comparing

    async def load(self) -> bool:
        """Read the account from its index, and say whether it has its first mailboxes; in the queue."""
        state = await self.databases.load_account(self.name)
        self.modseq, self.validity, self.next_email = state.modseq, state.validity, state.next_email
        self.number, self.email_rows, self.own_row = state.number, state.email_rows, state.own_row
        self.boxes = {box.id: box for box in state.mailboxes}
        self.octets = sum(box.tally.size for box in state.mailboxes)
        self.messages_kept = sum(box.tally.messages for box in state.mailboxes)
        self.subscribed = state.subscribed
        if self.searches is not None:
            self.searches.loaded(self)
        return state.is_prepared

    async def ready(self, box: Mailbox) -> Messages:
        """Return a mailbox's messages, read from the index, and from the source if they never were; in the queue."""
        if box.messages is None:
            await self._forget_expunged(box)
            row, messages = await self.databases.read(
                self.name, lambda connection: queries.load_messages(connection, box.row)
            )
            self.count(box, row.tally)
            box.uid_validity, box.floor = row.uid_validity, row.floor
            box.messages, box.cursor = messages, box.cursor and row.cursor
            box.counted.clear()
            if box.cursor is None or await self.is_stale(box):
                await self._try_survey(box)
            box.checked = time.monotonic()
        return box.messages

    async def _forget_expunged(self, box: Mailbox) -> None:
        floor = await self.databases.read(self.name, lambda connection: queries.find_floor(connection, box.row))
        if floor is not None:
            changes = Changes()
            changes.add(FORGET_EXPUNGED, (box.row, floor))
            changes.add(RAISE_FLOOR, (box.row, floor))
            await self.databases.write(self.name, changes)

    async def fresh(self, id_: str, now: bool = False) -> Mailbox:
        """
        Return a mailbox with its messages, compared with the source a moment ago, or `now`.

        For readers, outside the queue.  Raises `NoSuchMailbox`.
        """
        box = self.box(id_)
        if box.messages is None or now or time.monotonic() - box.checked > FRESH:
            if box.messages is None or await self.is_stale(box):
                async with self.changing(box):
                    box = self.box(id_)
                    # Our own change, which was under way, may have been all there was.
                    if box.messages is not None and await self.is_stale(box):
                        await self._try_survey(box)
                    await self.ready(box)
            box = self.box(id_)
            box.checked = time.monotonic()
        return box

    async def messages(self, id_: str, now: bool = False) -> tuple[Mailbox, Messages]:
        """Return a mailbox and its messages, as `fresh` does."""
        for _ in range(ATTEMPTS):
            box = await self.fresh(id_, now)
            if box.messages is not None:
                return box, box.messages
        raise NoSuchMailbox("the mailbox cannot be read")

    async def is_stale(self, box: Mailbox) -> bool:
        """Whether another program may have changed the mailbox."""
        return (await self.source.stale([(self.name, box.key, box.cursor)]))[0]

    async def _try_survey(self, box: Mailbox) -> None:
        """Survey for readers: where nothing can be written, or a folder is locked, they go on with what there is."""
        try:
            await self.survey(box)
        except Exception as why:
            if not isinstance(why, SourceBusy) and not takes_nothing(why):
                raise
            log.warn("a mailbox of {account} cannot be compared now: {why!r}", account=self.name, why=why)  # noqa: G010

    async def survey(self, box: Mailbox) -> None:
        """Compare a mailbox with the source, and take over what differs; in the queue."""
        messages = box.messages
        assert messages is not None
        found = await self.source.survey(self.name, box.key, messages.known(box.uid_validity), box.cursor)
        plan = Transaction(self)
        if found.uid_validity is not None and found.uid_validity != box.uid_validity:
            plan.reset(box, found.uid_validity)
        else:
            changed = {messages.keys[place]: place for place in messages.places_of_keys(found.changed)}
            if changed:
                plan.alter(box, {changed[key]: found.changed[key] for key in changed})
            if gone := messages.places_of_keys(found.gone):
                plan.remove(box, gone)
        tally = plan.tally(box)
        plan.set_tally(box, replace(tally, uid_next=max(tally.uid_next, found.uid_next or 1)))
        if plan.changes.steps or plan.tally(box) != box.tally or found.fresh or found.cursor != box.cursor:
            # Until the new ones are all in the index, there is no cursor: the next survey has to look for them.
            box.cursor = None if found.fresh else found.cursor
            await plan.commit()
        for start in range(0, len(found.fresh), BATCH):
            is_last = start + BATCH >= len(found.fresh)
            await self._take_over(box, found.fresh[start : start + BATCH], found.cursor if is_last else None)
        box.checked = time.monotonic()

    async def _take_over(self, box: Mailbox, fresh: Sequence[Numbered], cursor: str | None) -> None:
        """Summarise new messages and write them to the index; those that have gone meanwhile are left out."""
        keys = [message.item.key for message in fresh]
        summaries = await self.source.summaries(self.name, box.key, keys)
        found = zip(fresh, summaries, strict=True)
        here = [(message, message.item.flags, summary) for message, summary in found if summary is not None]
        plan = Transaction(self)
        await self.find_threads(plan, [summary for _, _, summary in here])
        plan.add(box, here)
        box.cursor = cursor
        plan.set_tally(box, plan.tally(box))
        await plan.commit()

    async def find_threads(self, plan: Transaction, summaries: Sequence[Summary]) -> None:
        """Find the threads of messages that a plan is to add; in the queue."""
        keys = {key for summary in summaries for key in keys_of(self.number, summary)}
        if keys:
            plan.threads = await self.databases.read(self.name, partial(find_threads, keys=keys))

    # ------------------------------------------------------------ counting

    def count(self, box: Mailbox, tally: Tally) -> None:
        """Give a mailbox other numbers."""
        self.octets += tally.size - box.tally.size
        self.messages_kept += tally.messages - box.tally.messages
        box.tally = tally

    async def quota(self) -> Quota:
        """Return what the account keeps, and what it may."""
        limits = await self._limits()
        return Quota(self.octets, self.messages_kept, limits.octets, limits.messages)

    async def room(self) -> Room:
        """Return what still fits into the account."""
        return (await self._limits()).room(self.octets, self.messages_kept)

    async def _limits(self) -> QuotaLimits:
        return await self._quotas.limits(self.name) if self._quotas is not None else NO_LIMITS

    # ------------------------------------------------------------ reading

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query, which changes nothing, on the index."""
        return await self.databases.read(self.name, query)

    def at_hand(self, box: Mailbox, wanted: Sequence[tuple[str, Flags]]) -> list[IContent | None]:
        """Return messages that are in memory; None says nothing of one."""
        found: list[IContent | None] = self.source.at_hand(self.name, box.key, [key for key, _ in wanted])
        return found

    async def open_many(self, box: Mailbox, wanted: Sequence[tuple[str, Flags]]) -> Sequence[IContent | None]:
        """Open messages by key; None for those that are gone."""
        found: Sequence[IContent | None] = await self.source.open_many(self.name, box.key, [key for key, _ in wanted])
        return found

    # ------------------------------------------------------------ telling

    def changed(self) -> None:
        """Note that what can be read of the account is another; before anybody is told of it."""
        if self._on_change is not None:
            self._on_change(self.name)
        if self.searches is not None and not self.is_removed:
            self.searches.changed(self)

    def dropped(self, emails: Sequence[int] | None) -> None:
        """Take note that copies of messages with summaries in these rows are gone, None for those of a mailbox."""
        if self.searches is not None:
            self.searches.dropped(self, emails)

    def notify(self, mailbox: str, modseq: int) -> None:
        """Tell all who watch."""
        for notice in list(self.watchers.values()):
            try:
                notice(mailbox, modseq)
            except Exception:
                log.failure("a watcher of {account} failed", account=self.name)

    def watch(self, notice: Callable[[str, int], None]) -> Callable[[], None]:
        """Tell `notice` of every change, until the function returned is called."""
        key = object()
        self.watchers[key] = notice

        def stop() -> None:
            with suppress(KeyError):
                del self.watchers[key]

        return stop

    @property
    def is_idle(self) -> bool:
        """Whether nobody would miss it."""
        return not self.users and not self.watchers and self._turns.is_idle
