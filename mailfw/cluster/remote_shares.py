"""`ISharedMail` of a worker: every method asks the keeper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zope.interface import implementer

from mailfw.mail.mailbox import Altered, FlagChange, Flags, MailboxInfo, Snapshot
from mailfw.mail.personal import Mark
from mailfw.mail.rights import AccessList, Rights
from mailfw.optional import ISharedMail


@implementer(ISharedMail)
class RemoteShares:
    """The mailboxes that the keeper's store shares; `asking` is the channel to it."""

    def __init__(self, asking: Any) -> None:
        self._asking = asking

    async def access(self, account: str, mailbox: str) -> AccessList:
        """Return who else may do what."""
        access: AccessList = await self._asking.call("access", account, mailbox)
        return access

    async def grant(self, account: str, mailbox: str, identifier: str, rights: Rights, change: str = "") -> None:
        """Give an identifier exactly these rights, or more or less by these."""
        await self._asking.call("grant", account, mailbox, identifier, rights, change)

    async def shared_with(self, user: str) -> frozenset[str]:
        """Return who may share something with a user."""
        owners: frozenset[str] = await self._asking.call("shared_with", user)
        return owners

    async def mailboxes_for(self, account: str, user: str) -> list[MailboxInfo]:
        """Return what is shared with a user."""
        infos: list[MailboxInfo] = await self._asking.call("mailboxes_for", account, user)
        return infos

    async def mailbox_for(self, account: str, mailbox: str, user: str) -> MailboxInfo:
        """Return one mailbox as a user sees it."""
        info: MailboxInfo = await self._asking.call("mailbox_for", account, mailbox, user)
        return info

    async def snapshot_for(self, account: str, mailbox: str, user: str, since: int) -> Snapshot:
        """Return what changed for a user."""
        snapshot: Snapshot = await self._asking.call("snapshot_for", account, mailbox, user, since)
        return snapshot

    async def readers(self, account: str, mailbox: str) -> frozenset[str]:
        """Return who has marked anything."""
        users: frozenset[str] = await self._asking.call("readers", account, mailbox)
        return users

    async def marks(self, account: str, mailbox: str, user: str, uids: Sequence[int]) -> list[Mark]:
        """Return which messages a user has seen."""
        marks: list[Mark] = await self._asking.call("marks", account, mailbox, user, uids)
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
        asked = (account, mailbox, user, uids, change, flags, unchanged_since)
        altered: Altered = await self._asking.call("alter_for", *asked)
        return altered

    async def forget_user(self, account: str, user: str) -> None:
        """Forget all that is kept of a user."""
        await self._asking.call("forget_user", account, user)
