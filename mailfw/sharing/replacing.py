"""Replacing messages, in one's own mailboxes and in those of others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from zope.interface import implementer

from mailfw.interfaces import IMailStore
from mailfw.mail.failure import NoSuchMessage
from mailfw.mail.mailbox import DELETED, SEEN, Expunged, FlagChange, NewMessage, Replaced, Want
from mailfw.mail.rights import EXPUNGE, INSERT, TRASH, Rights, allowed
from mailfw.optional import IReplacingMail
from mailfw.sharing import places
from mailfw.sharing.places import Place


@implementer(IReplacingMail)
class UsersReplacing:
    """
    What a user may replace.

    ``allow(account, place, *rights)`` returns a user's rights, or refuses; ``see(account, place, rights, uids)`` lets
    him have seen messages.
    """

    def __init__(
        self, store: Any, allow: Callable[..., Awaitable[Rights]], see: Callable[..., Awaitable[None]]
    ) -> None:
        self._store = store
        self._allow = allow
        self._see = see

    def lend(self, view: Any) -> None:
        """Let a view have the methods of this part of it."""
        self._view = IMailStore(view)
        view.replace = self.replace

    async def replace(self, account: str, mailbox: str, uid: int, to: str, message: NewMessage) -> Replaced:
        """Add a message in place of another; from one account to another both are there if the second step fails."""
        source, target = places.place_of(mailbox, account), places.place_of(to, account)
        if source.owner == target.owner == account:
            own: Replaced = await self._store.replace(account, source.mailbox, uid, target.mailbox, message)
            return own
        await self._allow(account, source, TRASH, EXPUNGE)
        rights = await self._allow(account, target, INSERT)
        if source.owner != target.owner:
            return await self._apart(account, source, uid, to, message)
        new = replace(message, flags=allowed(message.flags, rights) - {SEEN})
        replaced: Replaced = await self._store.replace(source.owner, source.mailbox, uid, target.mailbox, new)
        await self._see(account, target, rights, [replaced.appended.uid] if SEEN in message.flags else [])
        return replaced

    async def _apart(self, account: str, source: Place, uid: int, to: str, message: NewMessage) -> Replaced:
        batches = self._store.rows(source.owner, source.mailbox, [uid], Want.NOTHING)
        if not [row async for batch in batches for row in batch]:
            raise NoSuchMessage("The message is not there any more.")
        [appended] = await self._view.append(account, to, [message])
        await self._store.alter(source.owner, source.mailbox, [uid], FlagChange.ADD, frozenset({DELETED}))
        expunged: Expunged = await self._store.expunge(source.owner, source.mailbox, [uid])
        return Replaced(appended, expunged.modseq)
