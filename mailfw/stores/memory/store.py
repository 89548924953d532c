"""`IMailStore` over dicts: each method finds its mailbox, does one thing without waiting, and tells the watchers."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence

from zope.interface import implementer

from mailfw.interfaces import IContent, IMailStore
from mailfw.mail.failure import NoSuchAccount
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
from mailfw.mail.summary import Summariser
from mailfw.stores.kept import KeptContent
from mailfw.stores.memory.account import Account
from mailfw.stores.memory.mailbox import Letter, Mailbox

#: How much of a message is read at once.
PIECE = 2**16

#: How many rows are handed out at once.
BATCH = 500


@implementer(IMailStore)
class MemoryStore:
    """
    Keeps mail until the process ends.

    `quota` is how many octets of mail an account may hold; 0 sets no limit.
    """

    def __init__(self, quota: int = 0) -> None:
        self._quota = quota
        self._accounts: dict[str, Account] = {}
        self._letters = itertools.count(1)
        self._last_validity = 0

    # ------------------------------------------------------------ accounts and their mailboxes

    async def open_account(self, account: str) -> None:
        """Make the account where it does not exist."""
        if account not in self._accounts:
            self._accounts[account] = Account(self._make_validity, self._quota)

    async def remove_account(self, account: str) -> None:
        """Destroy the account and all its mail."""
        owner = self._account(account)
        del self._accounts[account]
        gone, owner.mailboxes = owner.mailboxes, {}
        owner.next_modseq()
        owner.notify(gone.values())

    async def mailboxes(self, account: str) -> list[MailboxInfo]:
        """Return every mailbox."""
        owner = self._account(account)
        return [owner.info(mailbox) for mailbox in owner.mailboxes.values()]

    async def subscriptions(self, account: str) -> frozenset[Path]:
        """Return the subscribed paths."""
        return frozenset(self._account(account).subscribed)

    async def edit_mailbox(self, account: str, edit: MailboxEdit) -> None:
        """Change the tree."""
        self._account(account).edit(edit)

    async def mailbox(self, account: str, mailbox: str) -> MailboxInfo:
        """Return one mailbox as it is now."""
        owner, box = self._find(account, mailbox)
        return owner.info(box)

    async def claim_recent(self, account: str, mailbox: str) -> int:
        """Return the first UID that no session has shown as \\Recent, and take all from it on."""
        return self._find(account, mailbox)[1].claim_recent()

    # ------------------------------------------------------------ reading

    async def snapshot(self, account: str, mailbox: str, since: int) -> Snapshot:
        """Return what changed after `since`."""
        owner, box = self._find(account, mailbox)
        return box.snapshot(owner.info(box), since)

    async def rows(self, account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[list[Row]]:
        """Iterate over what is known of these messages; each batch shows them as they are when it is asked for."""
        _, box = self._find(account, mailbox)
        for start in range(0, len(uids), BATCH):
            rows = [message.row(want) for message in box.find(uids[start : start + BATCH])]
            if rows:
                yield rows

    async def content(self, account: str, mailbox: str, uid: int) -> IContent | None:
        """Open one message; None if it is gone."""
        message = self._find(account, mailbox)[1].messages.get(uid)
        return None if message is None else KeptContent(message.letter.octets)

    # ------------------------------------------------------------ changing

    async def append(self, account: str, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        """Add messages, all or none: they are read first, and added when nothing can fail any more."""
        self._find(account, mailbox)
        letters = [await self._read(new) for new in messages]
        owner, box = self._find(account, mailbox)  # it may have been deleted while we read
        owner.check_room(
            sum(
                len(letter.octets) for new, letter in zip(messages, letters, strict=True) if new.token not in box.tokens
            )
        )
        modseq, changed = owner.modseq + 1, False
        appended: list[Appended] = []
        for new, letter in zip(messages, letters, strict=True):
            kept = box.tokens.get(new.token) if new.token is not None else None
            if kept is None:
                kept, changed = box.add(letter, new.flags, modseq, new.token), True
            appended.append(Appended(kept.uid, kept.modseq, kept.letter.email_id))
        if changed:
            owner.modseq = modseq
            owner.notify([box])
        return appended

    async def alter(
        self,
        account: str,
        mailbox: str,
        uids: Sequence[int],
        change: FlagChange,
        flags: Flags,
        unchanged_since: int | None = None,
    ) -> Altered:
        """Change flags, of all messages with the same modification sequence."""
        owner, box = self._find(account, mailbox)
        found = box.find(uids)
        newest = box.modseq if unchanged_since is None else unchanged_since
        conflicts = tuple(m.uid for m in found if m.modseq > newest)
        results = ((m, combine(m.flags, change, flags)) for m in found if m.modseq <= newest)
        changed = {m.uid: result for m, result in results if result != m.flags}
        if changed:
            modseq = owner.next_modseq()
            for uid, result in changed.items():
                box.set_flags(box.messages[uid], result, modseq)
            owner.notify([box])
        return Altered(box.modseq, changed, conflicts)

    async def copy(self, account: str, mailbox: str, uids: Sequence[int], to: str, move: bool = False) -> Copied:
        """Copy or move within the account; copies share the letter, and with it the date and email id."""
        owner, box = self._find(account, mailbox)
        target = owner.mailbox(to)
        found = box.find(uids)
        if not found:
            return Copied(target.uid_validity, (), target.modseq)
        if not move:
            owner.check_room(sum(len(message.letter.octets) for message in found))
        modseq = owner.next_modseq()
        pairs = tuple((old.uid, target.add(old.letter, old.flags, modseq).uid) for old in found)
        if move:
            for message in found:
                box.remove(message, modseq)
        owner.notify([target, box] if move else [target])
        return Copied(target.uid_validity, pairs, modseq)

    async def expunge(self, account: str, mailbox: str, uids: Sequence[int] | None) -> Expunged:
        """Remove those of `uids` that have \\Deleted; None means: of all messages."""
        owner, box = self._find(account, mailbox)
        doomed = box.with_deleted(uids)
        if doomed:
            modseq = owner.next_modseq()
            for message in doomed:
                box.remove(message, modseq)
            owner.notify([box])
        return Expunged(tuple(message.uid for message in doomed), box.modseq)

    async def watch(self, account: str, notice: Callable[[str, int], None]) -> Callable[[], None]:
        """Call `notice` after each change, before the method that made it returns."""
        return self._account(account).watch(notice)

    async def close(self) -> None:
        """Do nothing: there are no files and no threads."""

    # ------------------------------------------------------------

    def _account(self, account: str) -> Account:
        try:
            return self._accounts[account]
        except KeyError:
            raise NoSuchAccount("There is no such account.")

    def _find(self, account: str, mailbox: str) -> tuple[Account, Mailbox]:
        owner = self._account(account)
        return owner, owner.mailbox(mailbox)

    def _make_validity(self) -> int:
        # RFC 3501 section 2.3.1.1 suggests the time of creation; two mailboxes of one second differ all the same.
        self._last_validity = max(int(time.time()), self._last_validity + 1)
        return self._last_validity

    async def _read(self, new: NewMessage) -> Letter:
        content = IContent(new.content)
        octets, summariser = bytearray(), Summariser()
        while piece := await content.read(len(octets), PIECE):
            octets += piece
            if new.summary is None:
                summariser.feed(piece)
        return Letter(
            f"m{next(self._letters)}",
            bytes(octets),
            new.summary or summariser.finish(),
            int(time.time()) if new.received is None else new.received,
        )


def combine(old: Flags, change: FlagChange, flags: Flags) -> Flags:
    """Return the flags a message has after the change."""
    match change:
        case FlagChange.REPLACE:
            return flags
        case FlagChange.ADD:
            return old | flags
        case FlagChange.REMOVE:
            return old - flags
