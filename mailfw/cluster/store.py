"""`IMailStore` of a worker: every method asks the keeper, and contents are read in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from zope.interface import implementer

from mailfw.cluster.carried import PIECE, HeldContent, Opened, carry, content_of, hold
from mailfw.cluster.desk import NewParcel, RowBatch
from mailfw.interfaces import IContent, IMailStore
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
from mailfw.mail.sought import Condition, SearchAnswer, write_condition
from mailfw.optional import IManyContents, ISearchedMail

#: Messages that are asked for at once where many are to be opened.
_AT_ONCE = 64
#: Octets of small messages that travel with one call; of a call with more the rest goes before it.
TOGETHER = 32 * 1024 * 1024


class Watches:
    """Who hears of which account; `notice` is what the channel tells."""

    def __init__(self) -> None:
        self._notices: dict[int, Callable[[str, int], None]] = {}
        self._number = 0

    def add(self, notice: Callable[[str, int], None]) -> int:
        """Return the number of one more."""
        self._number += 1
        self._notices[self._number] = notice
        return self._number

    def remove(self, number: int) -> bool:
        """Forget one; whether it was there."""
        return self._notices.pop(number, None) is not None

    def hear(self, number: int, mailbox: str, modseq: int) -> None:
        """Pass a notice on."""
        notice = self._notices.get(number)
        if notice is not None:
            notice(mailbox, modseq)


@implementer(IMailStore, IManyContents, ISearchedMail)
class RemoteStore:
    """The keeper's store; `asking` is the channel to it, whose news of ``notice`` go to ``watches.hear``."""

    def __init__(self, asking: Any, watches: Watches) -> None:
        self._asking = asking
        self._watches = watches

    async def open_account(self, account: str) -> None:
        """Make sure the account exists."""
        await self._asking.call("open_account", account)

    async def remove_account(self, account: str) -> None:
        """Destroy the account and all its mail."""
        await self._asking.call("remove_account", account)

    async def mailboxes(self, account: str) -> list[MailboxInfo]:
        """Return every mailbox."""
        infos: list[MailboxInfo] = await self._asking.call("mailboxes", account)
        return infos

    async def subscriptions(self, account: str) -> frozenset[Path]:
        """Return the subscribed paths."""
        paths: frozenset[Path] = await self._asking.call("subscriptions", account)
        return paths

    async def quota(self, account: str) -> Quota:
        """Return what the account keeps, and what it may."""
        quota: Quota = await self._asking.call("quota", account)
        return quota

    async def edit_mailbox(self, account: str, edit: MailboxEdit) -> None:
        """Change the tree."""
        await self._asking.call("edit_mailbox", account, edit)

    async def mailbox(self, account: str, mailbox: str) -> MailboxInfo:
        """Return one mailbox as it is now."""
        info: MailboxInfo = await self._asking.call("mailbox", account, mailbox)
        return info

    async def claim_recent(self, account: str, mailbox: str) -> int:
        """Return the first UID that is \\Recent for the caller alone."""
        first: int = await self._asking.call("claim_recent", account, mailbox)
        return first

    # ------------------------------------------------------------ reading

    async def snapshot(self, account: str, mailbox: str, since: int) -> Snapshot:
        """Return what changed after `since`."""
        snapshot: Snapshot = await self._asking.call("snapshot", account, mailbox, since)
        return snapshot

    async def rows(self, account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[list[Row]]:
        """Iterate, in batches, over what is known of these messages."""
        batch: RowBatch = await self._asking.call("rows", account, mailbox, uids, want, dispose=self._end_rows)
        try:
            while True:
                if batch.rows:
                    yield batch.rows
                if not batch.number:
                    return
                batch = await self._asking.call("more_rows", batch.number)
        finally:
            self._end_rows(batch)

    def _end_rows(self, batch: RowBatch) -> None:
        if batch.number:
            self._asking.tell("let_go", batch.number)

    async def content(self, account: str, mailbox: str, uid: int) -> IContent | None:
        """Open one message; None if it is gone."""
        opened: Opened | None = await self._asking.call("content", account, mailbox, uid, dispose=self._dispose)
        return None if opened is None else content_of(self._asking, opened)

    def _dispose(self, opened: Opened | None) -> None:
        if opened is not None and opened.number:
            self._asking.tell("let_go", opened.number)

    async def contents(
        self, account: str, mailbox: str, uids: Sequence[int]
    ) -> AsyncIterator[Sequence[tuple[int, IContent]]]:
        """Iterate, in batches, over messages that are opened."""
        start = 0
        while start < len(uids):
            asked = uids[start : start + _AT_ONCE]
            done, found = await self._asking.call("contents", account, mailbox, asked, dispose=self._dispose_many)
            start += done
            if found:
                yield [(uid, content_of(self._asking, opened)) for uid, opened in found]

    def _dispose_many(self, answer: tuple[int, list[tuple[int, Opened]]]) -> None:
        for _, opened in answer[1]:
            self._dispose(opened)

    async def search(self, account: str, mailbox: str, uids: Sequence[int], condition: Condition) -> SearchAnswer:
        """Say which messages match; all have to be read where the keeper's store cannot tell."""
        answer: SearchAnswer = await self._asking.call("search", account, mailbox, uids, write_condition(condition))
        return answer

    async def rebuild_search(self, account: str, tell: Callable[[int], None]) -> None:
        """Have what an account is searched by made anew, and tell of it at the end."""
        tell(await self._asking.call("rebuild_search", account))

    # ------------------------------------------------------------ changing

    async def append(self, account: str, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        """Add messages, all or none."""
        drafts: list[HeldContent] = []
        try:
            parcels, octets = list[NewParcel](), 0
            for new in messages:
                content = IContent(new.content)
                octets += min(content.size, PIECE)
                carried = await (carry if octets <= TOGETHER else hold)(self._asking, content, drafts)
                parcels.append(NewParcel(carried, new.flags, new.received, new.token, new.summary))
            appended: list[Appended] = await self._asking.call("append", account, mailbox, parcels)
            return appended
        finally:
            for draft in drafts:
                await draft.close()

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
        altered: Altered = await self._asking.call("alter", account, mailbox, uids, change, flags, unchanged_since)
        return altered

    async def copy(self, account: str, mailbox: str, uids: Sequence[int], to: str, move: bool = False) -> Copied:
        """Copy or move within the account."""
        copied: Copied = await self._asking.call("copy", account, mailbox, uids, to, move)
        return copied

    async def expunge(self, account: str, mailbox: str, uids: Sequence[int] | None) -> Expunged:
        """Remove those of `uids` that have \\Deleted."""
        expunged: Expunged = await self._asking.call("expunge", account, mailbox, uids)
        return expunged

    async def watch(self, account: str, notice: Callable[[str, int], None]) -> Callable[[], None]:
        """Call `notice` after each change, until the function returned is called."""
        number = self._watches.add(notice)

        def end(answer: None = None) -> None:
            self._asking.tell("unwatch", number)

        def stop() -> None:
            if self._watches.remove(number):
                end()

        try:
            await self._asking.call("watch", account, number, dispose=end)
        except BaseException:
            self._watches.remove(number)
            raise
        return stop

    async def close(self) -> None:
        """Leave the store to the keeper."""
