"""UIDs and UIDVALIDITY that come along: what clients remember of a mailbox stays true at its new place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mailfw.interfaces import IMailStore
from mailfw.mail.failure import NumberRefused
from mailfw.mail.mailbox import Appended, MailboxInfo, NewMessage
from mailfw.optional import INumberedMail
from mailfw.transfer.account import Box, Entry

#: How often messages are numbered again because others came in between.
_ATTEMPTS = 5


class Numbers:
    """
    Gives messages of an account the UIDs that they have at the origin, in mailboxes that have nothing of their own.

    `leap` is how many UIDs the origin may have given that it does not know of: a backup is older than what was lost.
    """

    def __init__(self, store: IMailStore, account: str, leap: int = 0) -> None:
        self._plain = store
        self._store = INumberedMail(store) if INumberedMail.providedBy(store) else None
        self._account = account
        self._leap = leap

    @property
    def are_offered(self) -> bool:
        """Whether the store takes numbers over."""
        return self._store is not None

    async def begin(self, box: Box, info: MailboxInfo) -> MailboxInfo:
        """Give a mailbox that never had a message the UIDVALIDITY of the origin's."""
        if self._store is None or info.messages or info.uid_next > 1 or info.uid_validity == box.uid_validity:
            return info
        try:
            await self._store.renumber(self._account, info.id, box.uid_validity, 1)
        except NumberRefused:
            return info
        return await self._plain.mailbox(self._account, info.id)

    async def append(self, box: Box, info: MailboxInfo, messages: Sequence[tuple[int, NewMessage]]) -> list[Appended]:
        """Append messages under their UIDs, and where that can't be, under new ones."""
        uids = [uid for uid, _ in messages]
        new = [message for _, message in messages]
        if self._store is None or info.uid_validity != box.uid_validity:
            return await self._plain.append(self._account, info.id, new)
        for _ in range(_ATTEMPTS):
            following = (await self._plain.mailbox(self._account, info.id)).uid_next
            late = sum(1 for uid in uids if uid < following)  # they ascend
            try:
                ahead = await self._append_numbered(info, new[late:], uids[late:])
            except NumberRefused:  # somebody else's message has come meanwhile
                continue
            behind = await self._plain.append(self._account, info.id, new[:late]) if late else []
            return [*behind, *ahead]
        return await self._plain.append(self._account, info.id, new)

    async def _append_numbered(
        self, info: MailboxInfo, messages: Sequence[NewMessage], uids: Sequence[int]
    ) -> list[Appended]:
        assert self._store is not None
        return await self._store.append_numbered(self._account, info.id, messages, uids) if messages else []

    async def settle(
        self, box: Box, info: MailboxInfo, entries: Sequence[Entry], here: Iterable[int], held: Mapping[int, int]
    ) -> MailboxInfo:
        """
        Finish a mailbox that has the origin's UIDVALIDITY.

        `here` are the UIDs in it, `held` those that the origin's messages got, by the UIDs they have there.  Where a
        client could take one message for another the mailbox gets a new UIDVALIDITY.
        """
        assert self._store is not None
        following = max(box.uid_next, 1, *(entry.uid + 1 for entry in entries[-1:]))
        theirs = {uid for origin, uid in held.items() if origin == uid}
        is_true = all(uid in theirs or uid >= following for uid in here)
        try:
            if is_true:
                await self._store.renumber(self._account, info.id, info.uid_validity, following + self._leap)
        except NumberRefused:  # of a mailbox near the end of all UIDs
            is_true = False
        if not is_true:
            await self._store.renumber(self._account, info.id, None, 1)
        return await self._plain.mailbox(self._account, info.id)
