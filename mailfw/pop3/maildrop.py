"""The maildrop of one session: the inbox as it was at login, numbered, and what is to become of it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping

from mailfw.interfaces import IAccount, IContent
from mailfw.mail.mailbox import DELETED, INBOX, SEEN, FlagChange, MailboxInfo, Want
from mailfw.optional import IManyContents, IUniqueIds
from mailfw.pop3.responses import MESSAGE_GONE, NO_SUCH_MESSAGE, Refused, unique_id

#: What is read ahead for a client that takes one message after the other: octets, and messages.
AHEAD, AHEAD_COUNT = 128 * 1024, 16


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
        # Contents read ahead, by number, and what was asked for last: clients fetch one message after the other.
        self._ahead: dict[int, IContent] = {}
        self._last = 0
        self.marked: set[int] = set()

    @classmethod
    async def open(cls, account: IAccount) -> Maildrop:
        """Look what is in the account's inbox."""
        inbox = next(info for info in await account.store.mailboxes(account.name) if info.path == INBOX)
        snapshot = await account.store.snapshot(account.name, inbox.id, 0)
        maildrop = cls(account, snapshot.info)
        async for rows in account.store.rows(account.name, inbox.id, snapshot.uids, Want.NOTHING):
            for row in rows:
                maildrop._uids.append(row.uid)
                maildrop._sizes.append(row.size)
                maildrop._octets += row.size
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
        """Open a message; one that another session has removed is refused."""
        self.check(number)
        if number not in self._ahead:
            await self.close()
            if number == self._last + 1 and IManyContents.providedBy(self._account.store):
                await self._read_ahead(self._account.store, number)
        self._last = number
        content = self._ahead.pop(number, None) or await self._open(number)
        if content is None:
            raise Refused(MESSAGE_GONE)
        return content

    async def _open(self, number: int) -> IContent | None:
        return await self._account.store.content(self._account.name, self._inbox.id, self._uids[number - 1])

    async def _read_ahead(self, store: IManyContents, number: int) -> None:
        """Open a message, and those behind it that are small."""
        end, octets = number, self._sizes[number - 1]
        while end < len(self._uids) and octets + self._sizes[end] <= AHEAD and end - number < AHEAD_COUNT:
            octets += self._sizes[end]
            end += 1
        numbers = {self._uids[n - 1]: n for n in range(number, end + 1)}
        async for batch in store.contents(self._account.name, self._inbox.id, list(numbers)):
            self._ahead.update({numbers[uid]: content for uid, content in batch})

    async def close(self) -> None:
        """Let go of what was read ahead."""
        ahead, self._ahead = self._ahead, {}
        for content in ahead.values():
            await content.close()

    # ------------------------------------------------------------ what becomes of it

    def note_retrieved(self, number: int) -> None:
        """Note that the client has the whole message: it will be \\Seen."""
        self._retrieved.add(number)

    @property
    def retrieved(self) -> int:
        """How many messages the client has fetched."""
        return len(self._retrieved)

    async def commit(self) -> None:
        """Remove what is marked, and nothing else that has \\Deleted; then give what was retrieved \\Seen."""
        store, name, inbox = self._account.store, self._account.name, self._inbox.id
        removed = [self._uids[number - 1] for number in sorted(self.marked)]
        if removed:
            await store.alter(name, inbox, removed, FlagChange.ADD, frozenset({DELETED}))
            await store.expunge(name, inbox, removed)
        seen = [self._uids[number - 1] for number in sorted(self._retrieved - self.marked)]
        if seen:
            await store.alter(name, inbox, seen, FlagChange.ADD, frozenset({SEEN}))
