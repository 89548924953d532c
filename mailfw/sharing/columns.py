"""Columns of messages, as one user sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from zope.interface import implementer

from mailfw.mail.columns import Columns
from mailfw.mail.mailbox import Want
from mailfw.mail.rights import READ
from mailfw.optional import IColumns
from mailfw.sharing import places


@implementer(IColumns)
class UsersColumns:
    """What columns have is the same for all who may read; `allow` raises for others."""

    def __init__(self, store: Any, allow: Callable[..., Awaitable[Any]]) -> None:
        self._store = store
        self._allow = allow

    def lend(self, store: Any) -> None:
        """Let a store have the method of this part of it."""
        store.columns = self.columns

    def columns(self, account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[Columns]:
        """Iterate over what is known of messages."""
        if places.is_shared(mailbox):
            return self._shared(account, places.place_of(mailbox, account), uids, want)
        own: AsyncIterator[Columns] = self._store.columns(account, mailbox, uids, want)
        return own

    async def _shared(
        self, account: str, place: places.Place, uids: Sequence[int], want: Want
    ) -> AsyncIterator[Columns]:
        await self._allow(account, place, READ)
        async for batch in self._store.columns(place.owner, place.mailbox, uids, want):
            await self._allow(account, place, READ)  # who reads slowly does not read on when it is withdrawn
            yield batch
