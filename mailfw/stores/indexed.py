"""The store made of a message source and mailfw's own index."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path as FilePath
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from mailfw.interfaces import IContent, IMailStore, IManyContents
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
    Row,
    Snapshot,
    Want,
)
from mailfw.site import Site
from mailfw.stores.index import operations, reading, tree
from mailfw.stores.index.account import Account
from mailfw.stores.index.appends import Committer
from mailfw.stores.index.database import Databases
from mailfw.stores.index.plain import PlainSource, with_ledger
from mailfw.stores.index.recent import PASSING, RecentRows, RowReader
from mailfw.stores.index.visits import Visits
from mailfw.stores.threads import Threads, shielded

log = Logger()
T = TypeVar("T")

#: Accounts whose mailboxes stay in memory when nobody uses them; one takes about 150 octets a message.
ACCOUNTS = 200

#: How often, in seconds, watched accounts are compared with what other programs may have done.
POLL = 1.0

#: Messages whose rows are read at once.
BATCH = 256


@dataclass(slots=True)
class _Open:
    account: Account
    committer: Committer
    rows: RowReader


def _close_all(opened: Sequence[tuple[int, IContent]]) -> Deferred[None]:
    async def close() -> None:
        for _, content in opened:
            await content.close()

    return Deferred.fromCoroutine(close())


async def _itself(opened: _Open) -> _Open:
    return opened


@implementer(IMailStore, IManyContents)
class IndexedStore:
    """
    Adds to any message source what `IMailStore` promises, by an index of one SQLite file for each account.

    `source` provides `IMessageSource`; one that also provides `ILedgerSource` gives the UIDs itself.  `index`
    is the directory of the files.  `patience` is how old, in seconds, the last look at a plain source's folder
    may be.  The store closes the source, and `threads` if it was given none.
    """

    def __init__(
        self, source: object, index: FilePath, reactor: Any, patience: float = 10.0, threads: Threads | None = None
    ) -> None:
        self._reactor = reactor
        self._threads = threads or Threads(reactor)
        self._source = with_ledger(source, self._threads, patience)
        self._databases = Databases(index, self._threads, isinstance(self._source, PlainSource))
        depositor = self._source.depositor()
        self._visits = Visits(self._databases, depositor, self._threads) if depositor is not None else None
        self._accounts: OrderedDict[str, _Open] = OrderedDict()
        self._recent = RecentRows()
        self._calls = 0
        self._last_call: Deferred[None] | None = None
        self._poll: Any = None
        self._polling: Deferred[None] | None = None

    # ------------------------------------------------------------ accounts

    async def open_account(self, account: str) -> None:
        """Make sure the account exists."""
        self._databases.path(account)
        await shielded(self._open(account))

    async def _open(self, account: str) -> None:
        async with self._using(account) as opened:
            await tree.open_account(opened.account)

    @asynccontextmanager
    async def _using(self, account: str) -> AsyncIterator[_Open]:
        """Keep an account's state in memory for the time of a call."""
        opened = self._accounts.get(account)
        if opened is None:
            state = Account(account, self._source, self._databases)
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
        return await shielded(self._work(account, work))

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
        return opened if opened is not None and opened.account.is_open else await self._with(account, _itself)

    async def remove_account(self, account: str) -> None:
        """Destroy the account."""
        await self._with(account, self._remove)

    async def _remove(self, opened: _Open) -> None:
        account = opened.account
        async with account.changing():
            account.is_removed, account.is_open = True, False
            account.watchers.clear()
            await self._databases.remove(account.name)
            await self._source.remove_account(account.name)
        self._accounts.pop(account.name, None)

    # ------------------------------------------------------------ mailboxes

    async def mailboxes(self, account: str) -> list[MailboxInfo]:
        """Return every mailbox."""
        return await self._with(account, lambda opened: tree.mailboxes(opened.account))

    async def subscriptions(self, account: str) -> frozenset[tuple[str, ...]]:
        """Return the subscribed paths."""
        return await self._with(account, lambda opened: tree.subscriptions(opened.account))

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
        for start in range(0, len(uids), BATCH):
            here = uids[start : start + BATCH]
            if batch := await opened.rows.read(mailbox, here, want, keeps=len(uids) <= PASSING):
                yield batch

    async def content(self, account: str, mailbox: str, uid: int) -> IContent | None:
        """Open one message."""
        return await self._with(account, lambda opened: reading.content(opened.account, mailbox, uid))

    async def contents(
        self, account: str, mailbox: str, uids: Sequence[int]
    ) -> AsyncIterator[Sequence[tuple[int, IContent]]]:
        """Open many messages; while the caller is busy with some, the next are read."""
        key, batches = await self._with(account, lambda opened: reading.batches(opened.account, mailbox, uids))

        def start(batch: Sequence[tuple[int, str]]) -> Deferred[list[tuple[int, IContent]]]:
            return Deferred.fromCoroutine(self._open_all(account, mailbox, key, batch))

        ahead = start(batches[0]) if batches else None
        try:
            for following in [*batches[1:], None]:
                if ahead is not None:
                    opened, ahead = await ahead, None
                    ahead = start(following) if following else None
                    yield opened
        finally:
            if ahead is not None:
                ahead.addCallbacks(_close_all, lambda _: None)

    async def _open_all(
        self, account: str, mailbox: str, folder: str, batch: Sequence[tuple[int, str]]
    ) -> list[tuple[int, IContent]]:
        contents = await self._source.open_many(account, folder, [key for _, key in batch])
        found: list[tuple[int, IContent]] = []
        for (uid, _), content in zip(batch, contents, strict=True):
            # One that is not where it was may only have moved.
            if (there := content or await self.content(account, mailbox, uid)) is not None:
                found.append((uid, there))
        return found

    async def append(self, account: str, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        """Add messages."""
        opened = self._accounts.get(account)
        if opened is not None and opened.account.is_open and opened.committer.can_wait(messages):
            self._accounts.move_to_end(account)
            return await opened.committer.append(mailbox, messages)  # which goes on to its end by itself
        return await self._with(account, lambda opened: opened.committer.append(mailbox, messages))

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

    # ------------------------------------------------------------ watching

    async def watch(self, account: str, notice: Callable[[str, int], None]) -> Callable[[], None]:
        """Tell `notice` of every change."""

        async def begin(opened: _Open) -> Callable[[], None]:
            return opened.account.watch(notice)

        stop = await self._with(account, begin)
        if self._poll is None:
            self._poll = self._reactor.callLater(POLL, self._start_poll)
        return stop

    def _start_poll(self) -> None:
        self._polling = Deferred.fromCoroutine(self._look())
        self._polling.addErrback(lambda failure: log.failure("looking for changes failed", failure=failure))
        self._polling.addBoth(self._poll_again)

    def _poll_again(self, _: object) -> None:
        """Go on while anybody watches."""
        watched = any(opened.account.watchers for opened in self._accounts.values())
        if self._poll is not None:
            self._poll = self._reactor.callLater(POLL, self._start_poll) if watched else None
        self._polling = None

    async def _look(self) -> None:
        """Compare the inboxes, and whatever else is loaded, of all who are watched: in one visit to a thread."""
        watched = [
            (opened.account, box)
            for opened in self._accounts.values()
            if opened.account.watchers and opened.account.is_open
            for box in opened.account.boxes.values()
            if box.messages is not None or box.path == INBOX
        ]
        asked = [(account.name, box.key, box.cursor) for account, box in watched]
        for (account, box), is_stale in zip(watched, await self._source.stale(asked) if asked else [], strict=True):
            if is_stale:
                await self._refresh(account.name, box.id)

    async def _refresh(self, account: str, mailbox: str) -> None:
        try:
            await self._with(account, lambda opened: opened.account.fresh(mailbox, now=True))
        except StoreRefusal:
            return  # it has gone meanwhile
        except Exception:
            log.failure("a mailbox of {account} cannot be compared with its source", account=account)

    async def close(self) -> None:
        """Finish what is under way and let go of everything."""
        if self._poll is not None and self._poll.active():
            self._poll.cancel()
        self._poll = None
        if self._polling is not None:
            await self._polling
        if self._calls:
            self._last_call = Deferred()
            await self._last_call
        self._accounts.clear()
        await self._databases.close()
        await self._source.close()
        if self._visits is not None:
            self._visits.close()
        self._threads.close()


def indexed(source: object, site: Site, patience: float = 10.0) -> IndexedStore:
    """
    Return a store over a plug-in's message source, with its index below the site's data.

    `patience` is how old, in seconds, the last look at a folder may be when somebody asks for it.
    """
    return IndexedStore(source, site.data / "index", site.reactor, patience)
