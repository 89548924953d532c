"""A mail store to read an account from."""

from __future__ import annotations

from collections.abc import Sequence

from mailfw.interfaces import IContent, IMailStore
from mailfw.mail.failure import NoSuchAccount, NoSuchMailbox
from mailfw.mail.mailbox import INBOX, Path, Want
from mailfw.optional import IManyContents
from mailfw.transfer.account import Batches, Box, Entry, TransferRefused
from mailfw.transfer.batches import parts
from mailfw.transfer.shares import NO_SHARES, Shares, shares_of


class StoreOrigin:
    """
    Reads `account` of a store, which others may use meanwhile: each mailbox is read as it is at one moment.

    `kind` tells this store from others that the same mail may come from.
    """

    def __init__(self, store: IMailStore, account: str, kind: str) -> None:
        self.name = f"store:{kind}:{account}"
        self._store = store
        self._account = account

    async def boxes(self) -> Sequence[Box]:
        """Return the mailboxes."""
        try:
            found = await self._store.mailboxes(self._account)
        except NoSuchAccount:
            raise TransferRefused(f"there is no mail of {self._account}")
        return [
            Box(each.id, each.path, each.role, each.subscribed, each.uid_validity, each.uid_next, each.messages)
            for each in found
        ]

    async def subscriptions(self) -> frozenset[Path]:
        """Return the subscribed paths."""
        return await self._store.subscriptions(self._account)

    async def entries(self, box: Box) -> Sequence[Entry]:
        """Return the messages; none of a mailbox that has been deleted meanwhile."""
        try:
            snapshot = await self._store.snapshot(self._account, box.key, 0)
        except NoSuchMailbox:
            return []
        found = []
        async for rows in self._store.rows(self._account, box.key, snapshot.uids, Want.NOTHING):
            found += [Entry(row.uid, row.size, row.received, row.flags) for row in rows]
        return found

    async def shares(self, box: Box, entries: Sequence[Entry]) -> Shares:
        """Return what the store knows of others."""
        try:
            uids = [entry.uid for entry in entries]
            return await shares_of(self._store, self._account, box.key, uids, box.path == INBOX)
        except NoSuchMailbox:
            return NO_SHARES

    async def contents(self, box: Box, entries: Sequence[Entry]) -> Batches:
        """Open messages, many together where the store can."""
        if not IManyContents.providedBy(self._store):
            for part in parts(entries):
                yield await self._open(box, part)
            return
        by_uid = {entry.uid: entry for entry in entries}
        many = IManyContents(self._store).contents(self._account, box.key, list(by_uid))
        async for batch in many:
            yield [(by_uid[uid], content) for uid, content in batch]

    async def _open(self, box: Box, part: list[Entry]) -> list[tuple[Entry, IContent]]:
        opened: list[tuple[Entry, IContent]] = []
        for entry in part:
            content = await self._store.content(self._account, box.key, entry.uid)
            if content is not None:
                opened.append((entry, content))
        return opened

    async def close(self) -> None:
        """Leave the store to its maker."""
