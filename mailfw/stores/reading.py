"""The store of a process that reads by itself what another one writes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from zope.interface import alsoProvides, implementer

from mailfw.generations import Generations
from mailfw.interfaces import IContent, IMailStore
from mailfw.mail.columns import Columns
from mailfw.mail.failure import NoSuchMailbox
from mailfw.mail.mailbox import (
    Altered,
    Appended,
    Copied,
    Expunged,
    FlagChange,
    Flags,
    MailboxEdit,
    MailboxInfo,
    NewMessage,
    Path,
    Row,
    Snapshot,
    Want,
)
from mailfw.mail.quota import Quota
from mailfw.optional import (
    IAnnotatedMail,
    IColumns,
    IGenerations,
    IManyContents,
    INumberedMail,
    IReplacingMail,
    ISearchedMail,
    ISettableQuota,
    ISharedMail,
    IUniqueIds,
)
from mailfw.site import Site
from mailfw.stores.index import reading
from mailfw.stores.index.account import ATTEMPTS
from mailfw.stores.index.columns import portions
from mailfw.stores.index.read_only import ReadDatabases, ReadIndexes
from mailfw.stores.index.recent import PASSING, RecentRows, batch_size
from mailfw.stores.index.replica import Bodies, Replaced, Replica
from mailfw.stores.places import INDEX
from mailfw.stores.threads import Threads, shielded

T = TypeVar("T")

#: What else a writer may offer: it is asked itself.
PASSED_ON: tuple[Any, ...] = (
    IAnnotatedMail,
    INumberedMail,
    IReplacingMail,
    ISearchedMail,
    ISettableQuota,
    ISharedMail,
)

#: Mailboxes that stay in memory, and messages of them all, each of which takes about 150 octets.
MAILBOXES, MESSAGES = 500, 2_000_000


@implementer(IMailStore, IColumns, IManyContents, IGenerations)
class ReadingStore:
    """
    Reads mailboxes from `indexes` and messages from `bodies`, and has the `writer` do whatever changes anything.

    It is also asked for mailboxes as a whole and for quotas, and for messages where there are no `bodies`.  Whatever
    anybody was told before a call is seen by that call: `generations` see to it.  The store closes `threads`.
    """

    def __init__(
        self, indexes: ReadIndexes, bodies: Bodies | None, writer: Any, generations: Generations, threads: Threads
    ) -> None:
        self._indexes = indexes
        self._bodies = bodies
        self._writer = writer
        self._generations = generations
        self._threads = threads
        self._recent = RecentRows()
        self._replicas: OrderedDict[tuple[str, str], Replica] = OrderedDict()
        if IUniqueIds.providedBy(bodies):
            alsoProvides(self, IUniqueIds)
            self.unique_ids = bodies.unique_ids
        for interface in PASSED_ON:
            if interface.providedBy(writer):
                alsoProvides(self, interface)
                for name in interface:
                    setattr(self, name, getattr(writer, name))

    def generation(self, account: str, mailbox: str) -> int:
        """Return what is another number when the mailbox may have changed, or others of the account."""
        return self._generations.of(account)

    # ------------------------------------------------------------ what is read here

    def _replica(self, account: str, mailbox: str) -> Replica:
        found = self._replicas.get((account, mailbox))
        if found is None:
            found = Replica(
                account, mailbox, self._indexes, self._bodies, self._writer, self._generations, self._recent
            )
            self._forget_some()
            self._replicas[account, mailbox] = found
        self._replicas.move_to_end((account, mailbox))
        return found

    def _forget_some(self) -> None:
        """Forget what was asked for longest ago; whoever uses it goes on with it."""
        messages = sum(map(len, self._replicas.values()))
        while len(self._replicas) >= MAILBOXES or (messages > MESSAGES and self._replicas):
            _, oldest = self._replicas.popitem(last=False)
            messages -= len(oldest)

    async def _with(self, account: str, mailbox: str, work: Callable[[Replica], Awaitable[T]]) -> T:
        """Do something with a mailbox as it is now, to its end even if nobody waits for it any more."""
        return await shielded(self._work(account, mailbox, work))

    async def _work(self, account: str, mailbox: str, work: Callable[[Replica], Awaitable[T]]) -> T:
        replica = self._replica(account, mailbox)
        for _ in range(ATTEMPTS):
            try:
                await replica.fresh(mailbox)
                return await work(replica)
            except Replaced:
                continue
            except NoSuchMailbox:
                self._replicas.pop((account, mailbox), None)
                raise
        raise NoSuchMailbox("the mailbox cannot be read")

    async def mailbox(self, account: str, mailbox: str) -> MailboxInfo:
        """Return one mailbox as it is now; that it is asked for is no reason to read all that is in it."""
        if (account, mailbox) not in self._replicas:
            info: MailboxInfo = await self._writer.mailbox(account, mailbox)
            return info
        return await self._with(account, mailbox, lambda replica: reading.mailbox(replica, mailbox))

    async def snapshot(self, account: str, mailbox: str, since: int) -> Snapshot:
        """Return what changed after `since`."""
        return await self._with(account, mailbox, lambda replica: reading.snapshot(replica, mailbox, since))

    async def rows(self, account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[list[Row]]:
        """Iterate, in batches, over what is known of these messages."""
        keeps = len(uids) <= PASSING
        size = batch_size(want)
        for start in range(0, len(uids), size):
            here = uids[start : start + size]
            batch = await self._work(account, mailbox, lambda it, here=here: it.rows.read(mailbox, here, want, keeps))  # type: ignore[misc] # mypy cannot infer a lambda with a default
            if batch:
                yield batch

    async def columns(self, account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[Columns]:
        """Iterate, in batches, over what these messages are found, sorted and threaded by."""
        for here in portions(uids):
            yield await self._work(account, mailbox, lambda it, here=here: it.rows.columns.read(mailbox, here, want))  # type: ignore[misc] # mypy cannot infer a lambda with a default

    async def content(self, account: str, mailbox: str, uid: int) -> IContent | None:
        """Open one message; None if it is gone."""
        if self._bodies is None:
            content: IContent | None = await self._writer.content(account, mailbox, uid)
            return content
        replica = self._replicas.get((account, mailbox))
        if replica is not None and replica.is_known:
            found = reading.content_at_hand(replica, mailbox, uid)
            if found is not None:
                return found
        return await self._with(account, mailbox, lambda replica: reading.content(replica, mailbox, uid))

    async def contents(
        self, account: str, mailbox: str, uids: Sequence[int]
    ) -> AsyncIterator[Sequence[tuple[int, IContent]]]:
        """Iterate, in batches, over messages that are opened."""
        if self._bodies is None:
            found = self._writer.contents(account, mailbox, uids)
        else:
            replica = self._replica(account, mailbox)
            box, batches = await self._with(account, mailbox, lambda it: reading.batches(it, mailbox, uids))
            found = reading.opened(replica, box, batches, partial(self.content, account, mailbox))
        async with aclosing(found):
            async for batch in found:
                yield batch

    # ------------------------------------------------------------ what the writer is asked for

    async def open_account(self, account: str) -> None:
        """Make sure the account exists."""
        await self._writer.open_account(account)

    async def remove_account(self, account: str) -> None:
        """Destroy the account and all its mail."""
        await self._writer.remove_account(account)

    async def mailboxes(self, account: str) -> list[MailboxInfo]:
        """Return every mailbox."""
        infos: list[MailboxInfo] = await self._writer.mailboxes(account)
        return infos

    async def subscriptions(self, account: str) -> frozenset[Path]:
        """Return the subscribed paths."""
        paths: frozenset[Path] = await self._writer.subscriptions(account)
        return paths

    async def quota(self, account: str) -> Quota:
        """Return what the account keeps, and what it may."""
        quota: Quota = await self._writer.quota(account)
        return quota

    async def edit_mailbox(self, account: str, edit: MailboxEdit) -> None:
        """Change the tree."""
        await self._writer.edit_mailbox(account, edit)

    async def claim_recent(self, account: str, mailbox: str) -> int:
        """Return the first UID that is \\Recent for the caller alone."""
        first: int = await self._writer.claim_recent(account, mailbox)
        return first

    async def append(self, account: str, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        """Add messages, all or none."""
        appended: list[Appended] = await self._writer.append(account, mailbox, messages)
        return appended

    async def alter(
        self,
        account: str,
        mailbox: str,
        uids: Sequence[int],
        change: FlagChange,
        flags: Flags,
        unchanged_since: int | None = None,
    ) -> Altered:
        """Change flags."""
        altered: Altered = await self._writer.alter(account, mailbox, uids, change, flags, unchanged_since)
        return altered

    async def copy(self, account: str, mailbox: str, uids: Sequence[int], to: str, move: bool = False) -> Copied:
        """Copy or move within the account."""
        copied: Copied = await self._writer.copy(account, mailbox, uids, to, move)
        return copied

    async def expunge(self, account: str, mailbox: str, uids: Sequence[int] | None) -> Expunged:
        """Remove those of `uids` that have \\Deleted."""
        expunged: Expunged = await self._writer.expunge(account, mailbox, uids)
        return expunged

    async def watch(self, account: str, notice: Callable[[str, int], None]) -> Callable[[], None]:
        """Call `notice` after each change, until the function returned is called."""
        stop: Callable[[], None] = await self._writer.watch(account, notice)
        return stop

    async def close(self) -> None:
        """Let go of files and threads."""
        self._replicas.clear()
        await self._indexes.close()
        if self._bodies is not None:
            await self._bodies.close()
        self._threads.close()
        await self._writer.close()


def indexed_elsewhere(site: Site, writer: IMailStore, generations: Generations) -> ReadingStore:
    """Return a store that reads the index of another process's `indexed` store, and asks it for messages."""
    threads = Threads(site.reactor)
    return ReadingStore(ReadDatabases(site.data / INDEX, threads), None, writer, generations, threads)
