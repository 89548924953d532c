"""The store made of a message source and mailfw's own index."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path as FilePath
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import alsoProvides, implementer

from mailfw.generations import Generations
from mailfw.interfaces import IContent, IMailStore, IQuotas
from mailfw.mail.columns import Columns
from mailfw.mail.failure import NoSuchAccount, StoreRefusal
from mailfw.mail.mailbox import (
    INBOX,
    Altered,
    Appended,
    Copied,
    Expunged,
    FlagChange,
    Flags,
    MailboxEdit,
    MailboxInfo,
    NewMessage,
    Replaced,
    Row,
    Snapshot,
    Want,
)
from mailfw.mail.quota import Quota, QuotaLimits
from mailfw.optional import (
    IColumns,
    IManyContents,
    INumberedMail,
    IRebuildable,
    IReplacingMail,
    ISettableQuota,
    ISettableQuotas,
    IUniqueIds,
)
from mailfw.site import Site
from mailfw.stores.index import numbering, operations, reading, rebuilding, sharing, tree
from mailfw.stores.index.account import Account
from mailfw.stores.index.annotated import AnnotatedMail
from mailfw.stores.index.appends import Committer
from mailfw.stores.index.columns import portions
from mailfw.stores.index.database import Databases, Indexes
from mailfw.stores.index.lookout import Lookout
from mailfw.stores.index.mailbox import Mailbox
from mailfw.stores.index.plain import PlainSource, with_ledger
from mailfw.stores.index.recent import PASSING, RecentRows, RowReader, batch_size
from mailfw.stores.index.retention import IKeepsExpunged, RetainedMail
from mailfw.stores.index.search_file import search_place
from mailfw.stores.index.searching import Searches
from mailfw.stores.index.shared import SharedMail
from mailfw.stores.index.visits import Visits
from mailfw.stores.places import INDEX
from mailfw.stores.threads import Threads, shielded

log = Logger()
T = TypeVar("T")

#: Accounts whose mailboxes stay in memory when nobody uses them; one takes about 150 octets a message.
ACCOUNTS = 200


@dataclass(slots=True)
class _Open:
    account: Account
    committer: Committer
    rows: RowReader


async def _itself(opened: _Open) -> _Open:
    return opened


@implementer(IMailStore, IColumns, IManyContents, INumberedMail, IReplacingMail)
class IndexedStore:
    """
    Adds to any message source what `IMailStore` promises, by an index of one SQLite file for each account.

    `source` provides `IMessageSource`; one that also provides `ILedgerSource` gives the UIDs itself.  `index`
    is the directory of the files, or what stands in for them.  `patience` is how old, in seconds, the last look at a
    plain source's folder may be.  `quotas` says what accounts may keep, None that they may keep anything.  With
    `generations` other processes may read the files.  `search` says where an account's search file is, None that there
    is none.  The store closes the source, and `threads` if it was given none.
    """

    def __init__(
        self,
        source: object,
        index: FilePath | Indexes,
        reactor: Any,
        patience: float = 10.0,
        threads: Threads | None = None,
        quotas: IQuotas | None = None,
        generations: Generations | None = None,
        search: Callable[[str], FilePath] | None = None,
    ) -> None:
        self._reactor = reactor
        self._threads = threads or Threads(reactor)
        self._source = with_ledger(source, self._threads, patience)
        is_plain = isinstance(self._source, PlainSource)
        self._databases: Indexes = (
            Databases(index, self._threads, is_plain, shared=generations is not None)
            if isinstance(index, FilePath)
            else index
        )
        new = partial(Account, source=self._source, databases=self._databases, quotas=quotas)
        self._new_account = partial(new, on_change=generations.advance if generations is not None else None)
        if isinstance(self._databases, Databases):
            alsoProvides(self, IRebuildable)
        if IKeepsExpunged.providedBy(self._source):
            RetainedMail(self._source, self._with_account).lend(self)
        if IUniqueIds.providedBy(self._source):
            alsoProvides(self, IUniqueIds)
            self.unique_ids = self._source.unique_ids
        depositor = self._source.depositor()
        self._visits = Visits(self._databases, depositor, self._threads) if depositor is not None else None
        self._accounts: OrderedDict[str, _Open] = OrderedDict()
        self._recent = RecentRows()
        self._searches = Searches(search, reactor, self._threads, self._with_account) if search is not None else None
        if self._searches is not None:
            self._searches.lend(self)
        self._shared = SharedMail(self._with_account, self._databases, self._loaded)
        self._shared.lend(self)
        AnnotatedMail(self._with_account).lend(self)
        self._quotas = quotas
        if ISettableQuotas.providedBy(quotas):
            alsoProvides(self, ISettableQuota)
        self._calls = 0
        self._last_call: Deferred[None] | None = None
        self._is_closed = False
        self._lookout = Lookout(reactor, self._source, self._threads, self._watched, self._refresh)

    # ------------------------------------------------------------ accounts

    async def open_account(self, account: str) -> None:
        """Make sure the account exists."""
        opened = self._accounts.get(account)
        if opened is None or not opened.account.is_open:
            self._databases.check(account)
            await shielded(self._open(account))

    async def _open(self, account: str) -> None:
        async with self._using(account) as opened:
            await tree.open_account(opened.account)

    @asynccontextmanager
    async def _using(self, account: str) -> AsyncIterator[_Open]:
        """Keep an account's state in memory for the time of a call."""
        opened = self._accounts.get(account)
        if opened is None:
            state = self._new_account(account)
            state.searches = self._searches
            committer = Committer(state, self._visits, partial(self._using, account))
            opened = _Open(state, committer, RowReader(state, self._recent))
            self._accounts[account] = opened
            self._forget_some()
        self._accounts.move_to_end(account)
        opened.account.users += 1
        self._calls += 1
        try:
            yield opened
        finally:
            self._calls -= 1
            if self._last_call is not None and not self._calls:
                self._last_call.callback(None)
            opened.account.users -= 1
            if not opened.account.is_open and opened.account.is_idle and self._accounts.get(account) is opened:
                del self._accounts[account]

    def _forget_some(self) -> None:
        for name in list(self._accounts)[: max(0, len(self._accounts) - ACCOUNTS)]:
            if self._accounts[name].account.is_idle:
                del self._accounts[name]

    async def _with(self, account: str, work: Callable[[_Open], Awaitable[T]]) -> T:
        """Do something with an account that exists, to its end even if nobody waits for it any more."""
        self._count_call()
        return await shielded(self._work(account, work))

    def _count_call(self) -> None:
        """Let what is done in the background know that there is something in the foreground."""
        if self._searches is not None:
            self._searches.calls += 1

    async def _work(self, account: str, work: Callable[[_Open], Awaitable[T]]) -> T:
        async with self._using(account) as opened:
            if not opened.account.is_open:
                if not await self._databases.exists(account):
                    raise NoSuchAccount(f"there is no account {account}")
                await tree.open_account(opened.account)
            return await work(opened)

    async def _opened(self, account: str) -> _Open:
        """Return an account that exists, for work that may be left half done."""
        opened = self._accounts.get(account)
        if opened is None or not opened.account.is_open:
            return await self._with(account, _itself)
        self._count_call()
        return opened

    async def remove_account(self, account: str) -> None:
        """Destroy the account, and what is shared with it."""
        await self._shared.forget_everywhere(account)
        await self._with(account, self._remove)

    async def _remove(self, opened: _Open) -> None:
        account = opened.account
        shared_with = sharing.grantees(account)
        async with account.changing():
            account.is_removed, account.is_open = True, False
            account.watchers.clear()
            if self._searches is not None:
                await self._searches.remove(account.name)
            await self._databases.remove(account.name)
            await self._source.remove_account(account.name)
            account.changed()
        self._accounts.pop(account.name, None)
        await self._shared.removed(account.name, shared_with)

    async def rebuild(self, account: str, tell: Callable[[int], None]) -> None:
        """Make an account's index anew from its source; nobody else uses the account meanwhile."""
        await shielded(self._rebuild(account, tell))

    async def _rebuild(self, account: str, tell: Callable[[int], None]) -> None:
        await self._source.folders(account)  # raises for an account that there is not
        if not isinstance(self._databases, Databases):
            raise TypeError("what keeps the mail itself cannot be made anew from it")
        self._accounts.pop(account, None)
        if self._searches is not None:
            await self._searches.remove(account)  # the summaries get other rows
        fresh = partial(self._new_account, account)
        await self._shared.rebuilt(account, await rebuilding.rebuild(self._databases, account, fresh, tell))

    # ------------------------------------------------------------ mailboxes

    async def mailboxes(self, account: str) -> list[MailboxInfo]:
        """Return every mailbox."""
        return await self._with(account, lambda opened: tree.mailboxes(opened.account))

    async def subscriptions(self, account: str) -> frozenset[tuple[str, ...]]:
        """Return the subscribed paths."""
        return await self._with(account, lambda opened: tree.subscriptions(opened.account))

    async def quota(self, account: str) -> Quota:
        """Return what the account keeps, and what it may."""
        return await self._with(account, lambda opened: opened.account.quota())

    async def set_quota(self, account: str, limits: QuotaLimits) -> None:
        """Give an account other limits."""
        await self._opened(account)
        await ISettableQuotas(self._quotas).change_limits(account, limits)

    async def edit_mailbox(self, account: str, edit: MailboxEdit) -> None:
        """Change the tree."""
        await self._with(account, lambda opened: tree.edit_mailbox(opened.account, edit))

    async def mailbox(self, account: str, mailbox: str) -> MailboxInfo:
        """Return one mailbox."""
        return await self._with(account, lambda opened: reading.mailbox(opened.account, mailbox))

    async def claim_recent(self, account: str, mailbox: str) -> int:
        """Take what is \\Recent for one session."""
        return await self._with(account, lambda opened: operations.claim_recent(opened.account, mailbox))

    # ------------------------------------------------------------ messages

    async def snapshot(self, account: str, mailbox: str, since: int) -> Snapshot:
        """Return what changed since a modification sequence."""
        return await self._with(account, lambda opened: reading.snapshot(opened.account, mailbox, since))

    async def rows(self, account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[list[Row]]:
        """Iterate over what is known of messages."""
        opened = await self._opened(account)
        size = batch_size(want)
        for start in range(0, len(uids), size):
            here = uids[start : start + size]
            if batch := await opened.rows.read(mailbox, here, want, keeps=len(uids) <= PASSING):
                yield batch

    async def columns(self, account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[Columns]:
        """Iterate over what messages are found, sorted and threaded by."""
        opened = await self._opened(account)
        for here in portions(uids):
            yield await opened.rows.columns.read(mailbox, here, want)

    async def content(self, account: str, mailbox: str, uid: int) -> IContent | None:
        """Open one message."""
        opened = self._accounts.get(account)
        if opened is not None and opened.account.is_open:
            self._count_call()
            found = reading.content_at_hand(opened.account, mailbox, uid)
            if found is not None:
                return found
        return await self._with(account, lambda opened: reading.content(opened.account, mailbox, uid))

    async def contents(
        self, account: str, mailbox: str, uids: Sequence[int]
    ) -> AsyncIterator[Sequence[tuple[int, IContent]]]:
        """Open many messages; while the caller is busy with some, the next are read."""
        opened = await self._opened(account)
        box, batches = await self._with(account, lambda opened: reading.batches(opened.account, mailbox, uids))
        again = partial(self.content, account, mailbox)
        async with aclosing(reading.opened(opened.account, box, batches, again)) as found:
            async for batch in found:
                yield batch

    async def append(self, account: str, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        """Add messages."""
        opened = self._accounts.get(account)
        if opened is not None and opened.account.is_open and opened.committer.can_wait(messages):
            self._accounts.move_to_end(account)
            return await opened.committer.append(mailbox, messages)  # which goes on to its end by itself
        return await self._with(account, lambda opened: opened.committer.append(mailbox, messages))

    async def append_numbered(
        self, account: str, mailbox: str, messages: Sequence[NewMessage], uids: Sequence[int]
    ) -> list[Appended]:
        """Add messages under UIDs that they bring along."""
        return await self._with(account, lambda opened: opened.committer.append_numbered(mailbox, messages, uids))

    async def renumber(self, account: str, mailbox: str, uid_validity: int | None, uid_next: int) -> None:
        """Give a mailbox another UIDVALIDITY, and raise its next UID."""
        await self._with(account, lambda opened: numbering.renumber(opened.account, mailbox, uid_validity, uid_next))

    async def replace(self, account: str, mailbox: str, uid: int, to: str, message: NewMessage) -> Replaced:
        """Add a message in place of another."""
        return await self._with(account, lambda opened: opened.committer.replace(mailbox, uid, to, message))

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
        return await self._with(
            account, lambda opened: operations.alter(opened.account, mailbox, uids, change, flags, unchanged_since)
        )

    async def copy(self, account: str, mailbox: str, uids: Sequence[int], to: str, move: bool = False) -> Copied:
        """Copy or move messages."""
        return await self._with(account, lambda opened: operations.copy(opened.account, mailbox, uids, to, move))

    async def expunge(self, account: str, mailbox: str, uids: Sequence[int] | None) -> Expunged:
        """Remove messages."""
        return await self._with(account, lambda opened: operations.expunge(opened.account, mailbox, uids))

    def _loaded(self) -> dict[str, Account]:
        return {name: opened.account for name, opened in self._accounts.items()}

    async def _with_account(self, account: str, work: Callable[[Account], Awaitable[T]]) -> T:
        return await shielded(self._work(account, lambda opened: work(opened.account)))

    # ------------------------------------------------------------ watching

    async def watch(self, account: str, notice: Callable[[str, int], None]) -> Callable[[], None]:
        """Tell `notice` of every change."""

        async def begin(opened: _Open) -> Callable[[], None]:
            return opened.account.watch(notice)

        stop = await self._with(account, begin)
        self._lookout.begin()
        return stop

    def _watched(self) -> Iterator[tuple[Account, Mailbox]]:
        """Yield the inboxes, and whatever else is loaded, of all who are watched."""
        for opened in self._accounts.values():
            if opened.account.watchers and opened.account.is_open:
                for box in opened.account.boxes.values():
                    if box.messages is not None or box.path == INBOX:
                        yield opened.account, box

    async def _refresh(self, account: str, mailbox: str | None) -> None:
        """Compare a mailbox with its source, or the whole tree."""

        async def look(opened: _Open) -> None:
            if mailbox is None:
                await tree.compare(opened.account)
            else:
                await opened.account.fresh(mailbox, now=True)

        try:
            await self._with(account, look)
        except StoreRefusal:
            return  # it has gone meanwhile
        except Exception:
            log.failure("mail of {account} cannot be compared with its source", account=account)

    async def close(self) -> None:
        """Finish what is under way and let go of everything; what is closed stays so."""
        if self._is_closed:
            return
        self._is_closed = True
        await self._lookout.close()
        if self._searches is not None:
            await self._searches.close()
        if self._calls:
            self._last_call = Deferred()
            await self._last_call
        self._accounts.clear()
        await self._databases.close()
        await self._source.close()
        if self._visits is not None:
            self._visits.close()
        self._threads.close()


def indexed(
    source: object,
    site: Site,
    patience: float = 10.0,
    quotas: IQuotas | None = None,
    generations: Generations | None = None,
    search: bool = True,
) -> IndexedStore:
    """
    Return a store over a plug-in's message source, with its index below the site's data.

    `patience` is how old, in seconds, the last look at a folder may be when somebody asks for it.  `quotas` says what
    accounts may keep.  `generations` are there when workers read the index too.  With `search` messages are found by
    their text without being read.
    """
    root = site.data / INDEX
    place = search_place(root) if search else None
    return IndexedStore(source, root, site.reactor, patience, quotas=quotas, generations=generations, search=place)
