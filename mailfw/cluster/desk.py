"""
What the keeper does for one worker: its side of every call.

All that a worker has open here ends with its connection: drafts, messages, lists and watches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from typing import Any, cast

from twisted.logger import Logger
from zope.interface import classImplements

from mailfw.cluster.carried import PIECE, Behind, Carried, Held, Inline, Opened
from mailfw.cluster.holdings import Holdings, close_quietly
from mailfw.interfaces import IContent, IDraft, IMailStore
from mailfw.mail.annotation import AnnotationEdits, Annotations
from mailfw.mail.content import Content, Octets, Prefixed
from mailfw.mail.mailbox import (
    Altered,
    Appended,
    Copied,
    Expunged,
    FlagChange,
    MailboxEdit,
    MailboxInfo,
    NewMessage,
    Replaced,
    Row,
    Snapshot,
    Want,
)
from mailfw.mail.personal import Mark
from mailfw.mail.quota import Quota, QuotaLimits
from mailfw.mail.rights import AccessList, Rights
from mailfw.mail.sought import SearchAnswer, read_condition
from mailfw.mail.summary import Summary
from mailfw.optional import (
    IAnnotatedMail,
    IManyContents,
    IReplacingMail,
    ISearchedMail,
    ISettableQuota,
    ISharedMail,
)

log = Logger()

classImplements(Octets, IContent)  # `mail` knows no interfaces
classImplements(Prefixed, IContent)

#: Octets of messages in one answer, where many are opened.
_AT_ONCE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class NewParcel:
    """`NewMessage` on its way."""

    content: Carried
    flags: frozenset[str]
    received: int | None
    token: str | None
    summary: Summary | None


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Some rows; `number` is how to ask for more, 0 where there are none."""

    rows: list[Row]
    number: int


class StoreDesk:
    """
    Answers for the store.

    `open_draft` makes room for what is too large to travel in one piece; `tell` sends news to the worker.
    """

    def __init__(
        self, store: IMailStore, open_draft: Callable[[int], Awaitable[IDraft]], tell: Callable[..., None]
    ) -> None:
        self._store = store
        self._make_draft = open_draft
        self._tell = tell
        self.holdings = Holdings()
        self._watches: dict[int, Callable[[], None]] = {}
        self._is_open = True

    def leave(self) -> None:
        """Close all that the worker had open."""
        self._is_open = False
        self.holdings.clear()
        for stop in self._watches.values():
            stop()
        self._watches.clear()

    def listeners(self) -> dict[str, Callable[..., None]]:
        """Return what hears the worker's news."""
        return {"let_go": self.holdings.let_go, "unwatch": self.unwatch}

    # ------------------------------------------------------------ contents

    async def open_draft(self, size_hint: int) -> int:
        """Make room for a message."""
        draft = await self._make_draft(size_hint)
        return self._hold(draft, draft.close)

    def _hold(self, thing: Any, close: Callable[[], Awaitable[Any]]) -> int:
        number = self.holdings.add(thing, close)
        if not self._is_open:
            self.holdings.let_go(number)
        return number

    async def write(self, number: int, octets: bytes) -> None:
        """Append to a draft."""
        with self.holdings.use(number) as draft:
            await draft.write(octets)

    async def read(self, number: int, offset: int, length: int) -> bytes:
        """Read from a message or draft."""
        with self.holdings.use(number) as content:
            octets: bytes = await content.read(offset, length)
            return octets

    def _content(self, carried: Carried, used: ExitStack) -> IContent:
        """Return what arrived; what of it is held stays open at least until `used` ends."""
        found: Content
        match carried:
            case Inline(octets):
                found = Octets(octets)
            case Held(number):
                found = used.enter_context(self.holdings.use(number))
            case Behind(prefix, number, start):
                found = Prefixed(prefix, used.enter_context(self.holdings.use(number)), start)
        return cast("IContent", found)

    def _messages(self, parcels: Sequence[NewParcel], used: ExitStack) -> list[NewMessage]:
        return [
            NewMessage(self._content(each.content, used), each.flags, each.received, each.token, each.summary)
            for each in parcels
        ]

    async def _opened(self, content: IContent) -> Opened:
        if content.size > PIECE:
            return Opened(content.size, None, self._hold(content, content.close))
        try:
            return Opened(content.size, await content.read(0, content.size))
        finally:
            await content.close()

    # ------------------------------------------------------------ the store

    async def open_account(self, account: str) -> None:
        """Make sure the account exists."""
        await self._store.open_account(account)

    async def remove_account(self, account: str) -> None:
        """Destroy the account."""
        await self._store.remove_account(account)

    async def mailboxes(self, account: str) -> list[MailboxInfo]:
        """Return every mailbox."""
        return await self._store.mailboxes(account)

    async def subscriptions(self, account: str) -> frozenset[tuple[str, ...]]:
        """Return the subscribed paths."""
        return await self._store.subscriptions(account)

    async def quota(self, account: str) -> Quota:
        """Return what the account keeps."""
        return await self._store.quota(account)

    async def edit_mailbox(self, account: str, edit: MailboxEdit) -> None:
        """Change the tree."""
        await self._store.edit_mailbox(account, edit)

    async def mailbox(self, account: str, mailbox: str) -> MailboxInfo:
        """Return one mailbox."""
        return await self._store.mailbox(account, mailbox)

    async def claim_recent(self, account: str, mailbox: str) -> int:
        """Claim what is \\Recent."""
        return await self._store.claim_recent(account, mailbox)

    async def snapshot(self, account: str, mailbox: str, since: int) -> Snapshot:
        """Return what changed."""
        return await self._store.snapshot(account, mailbox, since)

    async def rows(self, account: str, mailbox: str, uids: Sequence[int], want: Want) -> RowBatch:
        """Return the first rows."""
        batches: Any = self._store.rows(account, mailbox, uids, want)
        return await self.more_rows(self._hold(batches, batches.aclose))

    async def more_rows(self, number: int) -> RowBatch:
        """Return the next rows."""
        try:
            with self.holdings.use(number) as batches:
                return RowBatch(list(await anext(batches)), number)
        except StopAsyncIteration:
            self.holdings.let_go(number)
            return RowBatch([], 0)
        except BaseException:
            self.holdings.let_go(number)
            raise

    async def content(self, account: str, mailbox: str, uid: int) -> Opened | None:
        """Open one message."""
        content = await self._store.content(account, mailbox, uid)
        return None if content is None else await self._opened(content)

    async def contents(self, account: str, mailbox: str, uids: Sequence[int]) -> tuple[int, list[tuple[int, Opened]]]:
        """Open messages until they are enough for one answer; how many of `uids` that covers, and the messages."""
        found: list[tuple[int, Opened]] = []
        try:
            return await self._open_some(account, mailbox, uids, found), found
        except BaseException:
            for _, opened in found:
                self.holdings.let_go(opened.number)
            raise

    async def _open_some(self, account: str, mailbox: str, uids: Sequence[int], found: list[tuple[int, Opened]]) -> int:
        """Add messages that are opened to `found`, and return how many of `uids` that covers."""
        size = 0
        if IManyContents.providedBy(self._store):
            many: Any = self._store
            async with aclosing(many.contents(account, mailbox, uids)) as batches:
                async for batch in batches:
                    size += await self._open_batch(batch, found)
                    if size > _AT_ONCE:
                        return list(uids).index(found[-1][0]) + 1
            return len(uids)
        for done, uid in enumerate(uids, 1):
            opened = await self.content(account, mailbox, uid)
            if opened is not None:
                found.append((uid, opened))
                size += opened.size
            if size > _AT_ONCE:
                return done
        return len(uids)

    async def _open_batch(self, batch: Sequence[tuple[int, IContent]], found: list[tuple[int, Opened]]) -> int:
        """Add what a store has opened to `found`, and return its octets; where one cannot be read all are closed."""
        for place, (uid, content) in enumerate(batch):
            try:
                found.append((uid, await self._opened(content)))
            except BaseException:
                for _, unread in batch[place + 1 :]:
                    await close_quietly(unread.close)
                raise
        return sum(content.size for _, content in batch)

    async def search(self, account: str, mailbox: str, uids: Sequence[int], condition: str) -> SearchAnswer:
        """Say which messages match, and which have to be read to tell: all, if the store does not search."""
        if not ISearchedMail.providedBy(self._store):
            return SearchAnswer((), uids)
        return await ISearchedMail(self._store).search(account, mailbox, uids, read_condition(condition))

    async def rebuild_search(self, account: str) -> int:
        """Make what an account is searched by anew, and return of how many messages."""
        told: list[int] = []
        if ISearchedMail.providedBy(self._store):
            await ISearchedMail(self._store).rebuild_search(account, told.append)
        return sum(told)

    async def append(self, account: str, mailbox: str, messages: list[NewParcel]) -> list[Appended]:
        """Add messages."""
        with ExitStack() as used:
            return await self._store.append(account, mailbox, self._messages(messages, used))

    async def alter(
        self,
        account: str,
        mailbox: str,
        uids: Sequence[int],
        change: FlagChange,
        flags: frozenset[str],
        unchanged_since: int | None,
    ) -> Altered:
        """Change flags."""
        return await self._store.alter(account, mailbox, uids, change, flags, unchanged_since)

    async def copy(self, account: str, mailbox: str, uids: Sequence[int], to: str, move: bool) -> Copied:
        """Copy or move."""
        return await self._store.copy(account, mailbox, uids, to, move)

    async def expunge(self, account: str, mailbox: str, uids: Sequence[int] | None) -> Expunged:
        """Remove what has \\Deleted."""
        return await self._store.expunge(account, mailbox, uids)

    async def replace(self, account: str, mailbox: str, uid: int, to: str, message: NewParcel) -> Replaced:
        """Add a message in place of another."""
        with ExitStack() as used:
            [new] = self._messages([message], used)
            return await IReplacingMail(self._store).replace(account, mailbox, uid, to, new)

    async def set_quota(self, account: str, limits: QuotaLimits) -> None:
        """Give an account other limits."""
        await ISettableQuota(self._store).set_quota(account, limits)

    # ------------------------------------------------------------ annotations

    async def annotations(self, account: str, mailbox: str | None, user: str | None) -> Annotations:
        """Return what a user may see of a mailbox, or of the account."""
        return await IAnnotatedMail(self._store).annotations(account, mailbox, user)

    async def all_annotations(self, account: str, user: str | None) -> Mapping[str, Annotations]:
        """Return the same of all mailboxes."""
        return await IAnnotatedMail(self._store).all_annotations(account, user)

    async def annotate(self, account: str, mailbox: str | None, edits: AnnotationEdits, user: str | None) -> None:
        """Give entries other values, or remove them."""
        await IAnnotatedMail(self._store).annotate(account, mailbox, edits, user)

    async def annotators(self, account: str, mailbox: str) -> frozenset[str]:
        """Return who else has private entries."""
        return await IAnnotatedMail(self._store).annotators(account, mailbox)

    # ------------------------------------------------------------ others' mailboxes

    def _shared(self) -> ISharedMail:
        return ISharedMail(self._store)

    async def access(self, account: str, mailbox: str) -> AccessList:
        """Return who else may do what."""
        return await self._shared().access(account, mailbox)

    async def grant(self, account: str, mailbox: str, identifier: str, rights: Rights, change: str = "") -> None:
        """Give an identifier exactly these rights."""
        await self._shared().grant(account, mailbox, identifier, rights, change)

    async def shared_with(self, user: str) -> frozenset[str]:
        """Return who may share something with a user."""
        return await self._shared().shared_with(user)

    async def mailboxes_for(self, account: str, user: str) -> list[MailboxInfo]:
        """Return what is shared with a user."""
        return await self._shared().mailboxes_for(account, user)

    async def mailbox_for(self, account: str, mailbox: str, user: str) -> MailboxInfo:
        """Return one mailbox as a user sees it."""
        return await self._shared().mailbox_for(account, mailbox, user)

    async def snapshot_for(self, account: str, mailbox: str, user: str, since: int) -> Snapshot:
        """Return what changed for a user."""
        return await self._shared().snapshot_for(account, mailbox, user, since)

    async def readers(self, account: str, mailbox: str) -> frozenset[str]:
        """Return who has marked anything."""
        return await self._shared().readers(account, mailbox)

    async def marks(self, account: str, mailbox: str, user: str, uids: Sequence[int]) -> list[Mark]:
        """Return which messages a user has seen."""
        return await self._shared().marks(account, mailbox, user, uids)

    async def alter_for(
        self,
        account: str,
        mailbox: str,
        user: str,
        uids: Sequence[int],
        change: FlagChange,
        flags: frozenset[str],
        unchanged_since: int | None,
    ) -> Altered:
        """Change flags for a user."""
        return await self._shared().alter_for(account, mailbox, user, uids, change, flags, unchanged_since)

    async def forget_user(self, account: str, user: str) -> None:
        """Forget all that is kept of a user."""
        await self._shared().forget_user(account, user)

    # ------------------------------------------------------------ news

    async def watch(self, account: str, number: int) -> None:
        """Send news of an account under this number."""
        stop = await self._store.watch(account, lambda mailbox, modseq: self._tell("notice", number, mailbox, modseq))
        if self._is_open and number not in self._watches:
            self._watches[number] = stop
        else:
            stop()

    def unwatch(self, number: int) -> None:
        """Send no more of them."""
        stop = self._watches.pop(number, None)
        if stop is not None:
            stop()
