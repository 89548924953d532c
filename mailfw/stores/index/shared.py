"""What a store over an index does of `ISharedMail`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from zope.interface import alsoProvides, implementer

from mailfw.mail.failure import NoSuchAccount
from mailfw.mail.mailbox import Altered, FlagChange, Flags, MailboxInfo, Snapshot
from mailfw.mail.personal import Mark
from mailfw.mail.rights import EVERYBODY, AccessList, Rights, identifiers_of, is_grant
from mailfw.optional import SHARES, ISharedMail
from mailfw.stores.index import sharing
from mailfw.stores.index.account import Account
from mailfw.stores.index.database import Indexes
from mailfw.turns import Turns


@implementer(ISharedMail)
class SharedMail:
    """
    The mailboxes that others than their owner use.

    ``ask(name, work)`` does something with an account that exists; `loaded` returns those in memory, by name.
    """

    def __init__(
        self,
        ask: Callable[[str, Callable[[Account], Awaitable[Any]]], Awaitable[Any]],
        databases: Indexes,
        loaded: Callable[[], Mapping[str, Account]],
    ) -> None:
        self._ask = ask
        self._databases = databases
        self._loaded = loaded
        # Who shares with whom is noted beside the access lists: what has both, comes one after the other.
        self._turns = Turns()

    def lend(self, store: Any) -> None:
        """Let a store provide the interface by this part of it."""
        for name in ISharedMail:
            setattr(store, name, getattr(self, name))
        alsoProvides(store, ISharedMail)

    # ------------------------------------------------------------ who may do what

    async def access(self, account: str, mailbox: str) -> AccessList:
        """Return who else may do what."""

        async def look(owner: Account) -> AccessList:
            return dict(owner.box(mailbox).access)

        access: AccessList = await self._ask(account, look)
        return access

    async def grant(self, account: str, mailbox: str, identifier: str, rights: Rights, change: str = "") -> None:
        """Give an identifier exactly these rights, or more or less by these."""
        await self._ask(account, lambda owner: self._grant(owner, mailbox, identifier, rights, change))

    async def _grant(self, owner: Account, mailbox: str, identifier: str, rights: Rights, change: str) -> None:
        async with self._turns:
            owner.box(mailbox)
            if rights and is_grant(identifier):
                await self._databases.note_share(identifier, owner.name, True)
            await sharing.grant(owner, mailbox, identifier, rights, change)
            await self._forget_share(owner, identifier)
        self._tell(identifier)

    async def _forget_share(self, owner: Account, identifier: str) -> None:
        if not sharing.has_grants(owner, identifier):
            await self._databases.note_share(identifier, owner.name, False)

    def _tell(self, identifier: str) -> None:
        """Tell who watches that something else is shared with an identifier."""
        loaded = self._loaded()
        for name in list(loaded) if identifier in EVERYBODY else [identifier]:
            if (account := loaded.get(name)) is not None:
                account.notify(SHARES, account.modseq)

    async def shared_with(self, user: str) -> frozenset[str]:
        """Return who may share something with a user."""
        return await self._databases.owners(identifiers_of(user))

    # ------------------------------------------------------------ what a user sees and changes

    async def mailboxes_for(self, account: str, user: str) -> list[MailboxInfo]:
        """Return what is shared with a user."""
        infos: list[MailboxInfo] = await self._ask(account, lambda owner: sharing.mailboxes_for(owner, user))
        return infos

    async def mailbox_for(self, account: str, mailbox: str, user: str) -> MailboxInfo:
        """Return one mailbox as a user sees it."""
        info: MailboxInfo = await self._ask(account, lambda owner: sharing.mailbox_for(owner, mailbox, user))
        return info

    async def snapshot_for(self, account: str, mailbox: str, user: str, since: int) -> Snapshot:
        """Return what changed for a user."""
        found: Snapshot = await self._ask(account, lambda owner: sharing.snapshot_for(owner, mailbox, user, since))
        return found

    async def readers(self, account: str, mailbox: str) -> frozenset[str]:
        """Return who has marked anything."""
        users: frozenset[str] = await self._ask(account, lambda owner: sharing.readers(owner, mailbox))
        return users

    async def marks(self, account: str, mailbox: str, user: str, uids: Sequence[int]) -> list[Mark]:
        """Return which messages a user has seen."""
        marks: list[Mark] = await self._ask(account, lambda owner: sharing.marks(owner, mailbox, user, uids))
        return marks

    async def alter_for(
        self,
        account: str,
        mailbox: str,
        user: str,
        uids: Sequence[int],
        change: FlagChange,
        flags: Flags,
        unchanged_since: int | None = None,
    ) -> Altered:
        """Change flags for a user."""
        asked = (mailbox, user, uids, change, flags, unchanged_since)
        altered: Altered = await self._ask(account, lambda owner: sharing.alter_for(owner, *asked))
        return altered

    # ------------------------------------------------------------ ends

    async def forget_user(self, account: str, user: str) -> None:
        """Forget all that is kept of a user."""
        await self._ask(account, lambda owner: self._forget_user(owner, user))

    async def _forget_user(self, owner: Account, user: str) -> None:
        async with self._turns:
            await sharing.forget_user(owner, user)
            await self._forget_share(owner, user)
        self._tell(user)

    async def forget_everywhere(self, user: str) -> None:
        """Forget a user in all accounts that share something with him, but for his own."""
        for owner in await self.shared_with(user) - {user}:
            with suppress(NoSuchAccount):
                await self.forget_user(owner, user)

    async def removed(self, account: str, identifiers: frozenset[str]) -> None:
        """Note that an account is gone which shared something with these."""
        for identifier in identifiers:
            await self._databases.note_share(identifier, account, False)
            self._tell(identifier)

    async def rebuilt(self, account: str, identifiers: frozenset[str]) -> None:
        """Note again with whom an account shares anything."""
        for identifier in identifiers:
            await self._databases.note_share(identifier, account, True)
