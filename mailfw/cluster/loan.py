"""A store that another process works with for a while: a command that moves mail while the server runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any

from zope.interface import alsoProvides

from mailfw import __version__
from mailfw.cluster.carried import HeldContent, carry
from mailfw.cluster.desk import NewParcel, StoreDesk
from mailfw.cluster.offers import lend, offers_of
from mailfw.cluster.store import RemoteStore, Watches
from mailfw.interfaces import IContent, IDraft, IMailStore
from mailfw.mail.failure import StoreRefusal
from mailfw.mail.mailbox import Appended, NewMessage
from mailfw.optional import INumberedMail


class LendingDesk(StoreDesk):
    """
    What a borrower may ask: whatever a worker may ask of the store, and what only those who move mail need.

    `held` are the accounts that get no mail meanwhile; the borrower's are taken out when it leaves.
    """

    def __init__(
        self,
        store: IMailStore,
        open_draft: Callable[[int], Awaitable[IDraft]],
        held: set[str],
        tell: Callable[..., None],
    ) -> None:
        super().__init__(store, open_draft, tell)
        self._held = held
        self._own: set[str] = set()

    def leave(self) -> None:
        """Let mail be delivered again."""
        super().leave()
        self._held -= self._own
        self._own.clear()

    async def hello(self, version: str) -> list[str]:
        """Return what the store offers besides `IMailStore`.  Raises `StoreRefusal` for one of another version."""
        if version != __version__:
            raise StoreRefusal(f"the server is mailfw {__version__}, this is {version}: start the server again")
        numbered = [INumberedMail.__name__] if INumberedMail.providedBy(self._store) else []
        return numbered + offers_of(self._store)

    async def hold(self, account: str) -> None:
        """Have no mail delivered to an account until the borrower leaves."""
        if account in self._held - self._own:
            raise StoreRefusal(f"{account} is being moved by another command")
        if self._is_open:
            self._held.add(account)
            self._own.add(account)

    async def release(self, account: str) -> None:
        """Have mail delivered again."""
        if account in self._own:
            self._own.discard(account)
            self._held.discard(account)

    async def renumber(self, account: str, mailbox: str, uid_validity: int | None, uid_next: int) -> None:
        """Give a mailbox other numbers."""
        await INumberedMail(self._store).renumber(account, mailbox, uid_validity, uid_next)

    async def append_numbered(
        self, account: str, mailbox: str, messages: list[NewParcel], uids: Sequence[int]
    ) -> list[Appended]:
        """Add messages under their UIDs."""
        with ExitStack() as used:
            new = self._messages(messages, used)
            return await INumberedMail(self._store).append_numbered(account, mailbox, new, uids)


class BorrowedStore(RemoteStore):
    """A running server's store; `begin` comes before all else."""

    async def begin(self) -> None:
        """Find out what the store can do.  Raises `StoreRefusal`."""
        offered = await self._asking.call("hello", __version__)
        if INumberedMail.__name__ in offered:
            alsoProvides(self, INumberedMail)
        lend(self._asking, self, offered)

    async def hold(self, account: str) -> None:
        """Have no mail delivered to an account until it is released, or the connection ends."""
        await self._asking.call("hold", account)

    async def release(self, account: str) -> None:
        """Have mail delivered to it again."""
        await self._asking.call("release", account)

    async def renumber(self, account: str, mailbox: str, uid_validity: int | None, uid_next: int) -> None:
        """Give a mailbox other numbers."""
        await self._asking.call("renumber", account, mailbox, uid_validity, uid_next)

    async def append_numbered(
        self, account: str, mailbox: str, messages: Sequence[NewMessage], uids: Sequence[int]
    ) -> list[Appended]:
        """Add messages under their UIDs."""
        drafts: list[HeldContent] = []
        try:
            parcels = [await _parcel(self._asking, new, drafts) for new in messages]
            added: list[Appended] = await self._asking.call("append_numbered", account, mailbox, parcels, uids)
            return added
        finally:
            for draft in drafts:
                await draft.close()


async def _parcel(asking: Any, new: NewMessage, drafts: list[HeldContent]) -> NewParcel:
    content = await carry(asking, IContent(new.content), drafts)
    return NewParcel(content, new.flags, new.received, new.token, new.summary)


__all__ = ["BorrowedStore", "LendingDesk", "Watches"]
