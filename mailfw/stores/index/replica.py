"""
A mailbox as a process has it that does not write it.

It is read from the index, and followed from there: the process that writes is asked what has changed, which it knows
without looking, and only what the index has of these messages is read.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Protocol, TypeVar

from mailfw.generations import Generations
from mailfw.interfaces import IContent, IMailStore
from mailfw.mail.failure import NoSuchMailbox, StoreRefusal
from mailfw.mail.mailbox import Flags, MailboxInfo, Snapshot
from mailfw.stores.index import queries
from mailfw.stores.index.account import FRESH
from mailfw.stores.index.mailbox import Entry, Mailbox, Messages, Tally, flags_of, text_of
from mailfw.stores.index.read_only import ReadIndexes
from mailfw.stores.index.recent import RecentRows, RowReader
from mailfw.turns import Turns

T = TypeVar("T")


class Bodies(Protocol):
    """Messages that another process keeps, opened here; it is never asked, and nothing is changed."""

    #: Whether nothing but the process that writes changes what is kept.
    is_ours: bool

    def at_hand(self, account: str, box: Mailbox, wanted: Sequence[tuple[str, Flags]]) -> list[IContent | None]:
        """Return messages that are in memory, in the reactor's thread and without waiting; None says nothing of one."""

    async def open_many(
        self, account: str, box: Mailbox, wanted: Sequence[tuple[str, Flags]]
    ) -> Sequence[IContent | None]:
        """Open messages by key and flags; None for those that are not where they were."""

    async def close(self) -> None:
        """Let go of files."""


class Replaced(Exception):
    """The mailbox is not in the index as it was: gone, begun anew, or the index is another one.  Ask once more."""


class Replica:
    """
    One mailbox of an account, `Readable`.

    `writer` is asked for changes when `generations` say that there may be some, and in any case once a second if other
    programs change what is kept; without `bodies` messages cannot be opened here.
    """

    def __init__(
        self,
        account: str,
        mailbox: str,
        indexes: ReadIndexes,
        bodies: Bodies | None,
        writer: IMailStore,
        generations: Generations,
        recent: RecentRows,
    ) -> None:
        self._account = account
        self._id = mailbox
        self._indexes = indexes
        self._bodies = bodies
        self._is_ours = bodies is not None and bodies.is_ours
        self._writer = writer
        self._generations = generations
        self._recent = recent
        self._box: Mailbox | None = None
        self._subscribed = False
        self._generation = -1
        self._turns = Turns()
        #: The rows of summaries may be given again where they are written, UIDs never are.
        self.rows = RowReader(self, recent, by="uid")

    def __len__(self) -> int:
        return len(self._box.messages) if self._box is not None and self._box.messages is not None else 0

    @property
    def is_known(self) -> bool:
        """Whether it was read from the index, and is not to be read anew."""
        return self._box is not None

    # ------------------------------------------------------------ as what reads wants it

    def box(self, id_: str) -> Mailbox:
        """Return the mailbox.  Raises `NoSuchMailbox`."""
        if self._box is None:
            raise NoSuchMailbox("the mailbox is gone")
        return self._box

    def info(self, box: Mailbox) -> MailboxInfo:
        """Return the mailbox as it is now."""
        return box.info(self._subscribed)

    async def messages(self, id_: str, now: bool = False) -> tuple[Mailbox, Messages]:
        """Return the mailbox and its messages."""
        box = await self.fresh(id_, now)
        assert box.messages is not None
        return box, box.messages

    async def fresh(self, id_: str, now: bool = False) -> Mailbox:
        """Return the mailbox with all that anybody was told of it; what other programs did too, a second ago or now."""
        generation, since = self._generations.of(self._account), time.monotonic() - (0 if now else FRESH)
        if self._is_behind(generation, since):
            async with self._turns:
                # Who was before us may have done it all.
                if self._is_behind(generation, since):
                    await self._update(since)
        return self.box(id_)

    def _is_behind(self, generation: int, since: float) -> bool:
        box = self._box
        if box is None or self._generation < generation:
            return True
        return not self._is_ours and box.checked < since

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query on the index.  Raises `Replaced`."""
        box = self.box(self._id)
        try:
            return await self._indexes.read(self._account, partial(_checked, box=box, query=query))
        except Replaced:
            if self._box is box:
                self._box = None
            raise

    def at_hand(self, box: Mailbox, wanted: Sequence[tuple[str, Flags]]) -> list[IContent | None]:
        """Return messages that are in memory; None says nothing of one."""
        return self._bodies.at_hand(self._account, box, wanted) if self._bodies is not None else [None] * len(wanted)

    async def open_many(self, box: Mailbox, wanted: Sequence[tuple[str, Flags]]) -> Sequence[IContent | None]:
        """Open messages by key and flags; None for those that are not where they were."""
        assert self._bodies is not None
        return await self._bodies.open_many(self._account, box, wanted)

    # ------------------------------------------------------------ following

    async def _update(self, since: float) -> None:
        """Bring the mailbox up to date; in turn.  Raises `NoSuchMailbox`, `NoSuchAccount`."""
        # Whatever changes from here on makes another generation, and another look.
        generation, looked = self._generations.of(self._account), time.monotonic()
        try:
            if self._box is None:
                await self._load()
            else:
                await self._follow(self._box, generation != self._generation, since)
        except StoreRefusal:
            self._box = None
            raise
        assert self._box is not None
        self._generation, self._box.checked = generation, looked

    async def _load(self) -> None:
        # Asking also brings the index up to date with what other programs did.
        info = await self._writer.mailbox(self._account, self._id)
        found = await self._indexes.read(self._account, partial(queries.load_copy, id_=self._id))
        if found is None:
            raise NoSuchMailbox("the mailbox is gone")
        self._box = found
        self._adopt(found, info)
        self.rows = RowReader(self, self._recent, by="uid")

    async def _follow(self, box: Mailbox, moved: bool, since: float) -> None:
        if not self._is_ours and box.checked < since:
            info = await self._writer.mailbox(self._account, self._id)
            moved = moved or info.modseq > box.tally.modseq or info.uid_validity != box.uid_validity
            if not moved:
                self._adopt(box, info)
        if moved:
            news = await self._writer.snapshot(self._account, self._id, box.tally.modseq)
            if news.info.uid_validity != box.uid_validity or not await self._absorb(box, news):
                await self._load()

    def _adopt(self, box: Mailbox, info: MailboxInfo) -> None:
        """Take over a mailbox's numbers, unless the index was read after they were told."""
        self._subscribed = info.subscribed
        if info.modseq >= box.tally.modseq:
            box.path, box.role, box.annotated = info.path, info.role, info.annotated
            box.tally = Tally(
                info.uid_next,
                info.modseq,
                info.recent_uid,
                info.messages,
                info.unseen,
                info.deleted,
                info.size,
            )

    async def _absorb(self, box: Mailbox, news: Snapshot) -> bool:
        """Take over changes; False where the mailbox has to be read anew."""
        messages, since = box.messages, box.tally.modseq
        assert messages is not None
        known = {messages.uids[place] for place in messages.places(news.uids)}
        new = [uid for uid in news.uids if uid not in known]
        entries: dict[int, tuple[str, int, int]] = {}
        vanished: dict[int, int] = {}
        if new or news.vanished:
            query = partial(queries.find_news, row=box.row, uids=new, since=since, until=news.info.modseq)
            try:
                entries, vanished = await self._indexes.read(self._account, partial(_checked, box=box, query=query))
            except Replaced:
                return False
        _alter(messages, news, entries)
        _remove(messages, {uid: vanished.get(uid, news.info.modseq) for uid in news.vanished})
        self._adopt(box, news.info)
        return True


def _checked(connection: sqlite3.Connection, box: Mailbox, query: Callable[[sqlite3.Connection], T]) -> T:
    if queries.find_place(connection, box.id) != (box.row, box.uid_validity):
        raise Replaced
    return query(connection)


def _alter(messages: Messages, news: Snapshot, entries: dict[int, tuple[str, int, int]]) -> None:
    """Add new messages and give others their flags, by ascending modification sequence."""
    changes = sorted(zip(news.modseqs, news.uids, news.flags, strict=True), key=lambda change: change[:2])
    for modseq, group in groupby(changes, key=lambda change: change[0]):
        flags = {uid: flags_of(text_of(each)) for _, uid, each in group}
        new = [uid for uid in flags if uid in entries]
        old = messages.places(uid for uid in flags if uid not in entries)
        if old:
            messages.alter(modseq, {place: flags[messages.uids[place]] for place in old})
        messages.add([Entry(uid, modseq, flags[uid], *entries[uid], uid) for uid in new])


def _remove(messages: Messages, vanished: dict[int, int]) -> None:
    """Take messages out, by ascending modification sequence."""
    gone = sorted((modseq, uid) for uid, modseq in vanished.items())
    for modseq, group in groupby(gone, key=lambda each: each[0]):
        if places := messages.places([uid for _, uid in group]):
            messages.remove(modseq, places)
