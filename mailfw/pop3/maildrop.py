"""The maildrop of one session: the inbox as it was at login, numbered, and what is to become of it."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

from mailfw.interfaces import IAccount, IContent
from mailfw.mail.columns import Columns, columns_of
from mailfw.mail.mailbox import DELETED, INBOX, SEEN, FlagChange, MailboxInfo, Want
from mailfw.optional import IColumns, IManyContents, IUniqueIds
from mailfw.pop3.ahead import REACH, ReadAhead
from mailfw.pop3.responses import MESSAGE_GONE, NO_SUCH_MESSAGE, Refused, unique_id


class Maildrop:
    """
    Messages by number, from 1; `marked` are those that QUIT removes.

    Nothing in the store changes before `commit`: neither \\Deleted nor the \\Seen of what was retrieved, so that a
    session that breaks leaves the maildrop as it was (RFC 1939 section 6).
    """

    def __init__(self, account: IAccount, inbox: MailboxInfo) -> None:
        self._account = account
        self._inbox = inbox
        self._uids = array("I")
        self._sizes = array("Q")
        self._octets = 0
        self._retrieved: set[int] = set()
        self._unique_ids: Mapping[int, str] = {}
        self._ahead: ReadAhead | None = None
        self._last = 0  # what was asked for last
        self.marked: set[int] = set()

    @classmethod
    async def open(cls, account: IAccount) -> Maildrop:
        """Look what is in the account's inbox."""
        inbox = next(info for info in await account.store.mailboxes(account.name) if info.path == INBOX)
        snapshot = await account.store.snapshot(account.name, inbox.id, 0)
        maildrop = cls(account, snapshot.info)
        async for found in _columns(account, inbox.id, snapshot.uids):
            maildrop._uids.extend(found.uids)
            maildrop._sizes.extend(found.sizes)
        maildrop._octets = sum(maildrop._sizes)
        if IUniqueIds.providedBy(account.store):
            maildrop._unique_ids = await account.store.unique_ids(account.name)
        return maildrop

    # ------------------------------------------------------------ what there is

    def statistics(self) -> tuple[int, int]:
        """Return how many messages are not marked, and their octets."""
        return len(self._uids) - len(self.marked), self._octets - sum(self._sizes[n - 1] for n in self.marked)

    def numbers(self) -> Iterator[int]:
        """Iterate over the messages that are not marked."""
        return (number for number in range(1, len(self._uids) + 1) if number not in self.marked)

    def check(self, number: int) -> None:
        """Refuse the number of no message, and of one that is marked."""
        if not 1 <= number <= len(self._uids) or number in self.marked:
            raise Refused(NO_SUCH_MESSAGE)

    def scan_listing(self, number: int) -> str:
        """Return the line of LIST (RFC 1939 section 5)."""
        return f"{number} {self._sizes[number - 1]}"

    def unique_id_listing(self, number: int) -> str:
        """Return the line of UIDL (RFC 1939 section 7)."""
        uid = self._uids[number - 1]
        return f"{number} {self._unique_ids.get(uid) or unique_id(uid, self._inbox.uid_validity)}"

    async def content(self, number: int) -> IContent:
        """Open a message, which the caller closes; one that another session has removed is refused."""
        self.check(number)
        content = await self._take_ahead(number) or await self._open(number)
        self._last = number
        if content is None:
            raise Refused(MESSAGE_GONE)
        return content

    async def _take_ahead(self, number: int) -> IContent | None:
        """Return a message that was opened ahead, for a client that takes one after the other."""
        if number == self._last:
            return None  # RETR behind TOP: what is ahead stays there
        if number < self._last:
            await self.close()
        elif self._ahead is not None:
            content = await self._ahead.take(self._uids[number - 1])
            if content is not None:
                return content
            await self.close()
        if number != self._last + 1 or not self._last or not IManyContents.providedBy(self._account.store):
            return None
        uids = self._uids[number - 1 : number - 1 + REACH].tolist()
        self._ahead = ReadAhead(self._account.store, self._account.name, self._inbox.id, uids)
        return await self._ahead.take(self._uids[number - 1])

    async def _open(self, number: int) -> IContent | None:
        return await self._account.store.content(self._account.name, self._inbox.id, self._uids[number - 1])

    async def close(self) -> None:
        """Let go of what was read ahead."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            await ahead.close()

    # ------------------------------------------------------------ what becomes of it

    def note_retrieved(self, number: int) -> None:
        """Note that the client has the whole message: it will be \\Seen."""
        self._retrieved.add(number)

    @property
    def retrieved(self) -> int:
        """How many messages the client has fetched."""
        return len(self._retrieved)

    async def commit(self, removes_retrieved: bool = False) -> None:
        """
        Remove what is marked, and nothing else that has \\Deleted; then give what was retrieved \\Seen.

        What was retrieved is marked too where nothing may stay (EXPIRE 0, RFC 2449 section 6.7).
        """
        if removes_retrieved:
            self.marked |= self._retrieved
        store, name, inbox = self._account.store, self._account.name, self._inbox.id
        removed = [self._uids[number - 1] for number in sorted(self.marked)]
        if removed:
            await store.alter(name, inbox, removed, FlagChange.ADD, frozenset({DELETED}))
            await store.expunge(name, inbox, removed)
        seen = [self._uids[number - 1] for number in sorted(self._retrieved - self.marked)]
        if seen:
            await store.alter(name, inbox, seen, FlagChange.ADD, frozenset({SEEN}))


async def _columns(account: IAccount, mailbox: str, uids: Sequence[int]) -> AsyncGenerator[Columns, None]:
    """Iterate, in batches, over what is known of messages."""
    if IColumns.providedBy(account.store):
        async for found in account.store.columns(account.name, mailbox, uids, Want.NOTHING):
            yield found
    else:
        async for rows in account.store.rows(account.name, mailbox, uids, Want.NOTHING):
            yield columns_of(rows, Want.NOTHING)
