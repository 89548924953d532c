"""`IMailStore` over dicts: each method finds its mailbox, does one thing without waiting, and tells the watchers."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence

from zope.interface import alsoProvides, implementer

from mailfw.interfaces import IContent, IMailStore, IQuotas
from mailfw.mail.failure import NoSuchAccount, NoSuchMessage, NumberRefused
from mailfw.mail.mailbox import (
    DELETED,
    TREE,
    UID_LIMIT,
    Altered,
    Appended,
    Copied,
    CreateMailbox,
    Expunged,
    FlagChange,
    Flags,
    MailboxEdit,
    MailboxInfo,
    NewMessage,
    Path,
    Replaced,
    Row,
    Snapshot,
    Want,
)
from mailfw.mail.personal import Mark, check_change, combined, merged, parted
from mailfw.mail.quota import NO_LIMITS, Quota, QuotaLimits
from mailfw.mail.retained import Retained
from mailfw.mail.rights import EVERYBODY, NO_RIGHTS, AccessList, Rights, changed, entries_of, identifiers_of, rights_of
from mailfw.mail.sought import Condition, SearchAnswer
from mailfw.optional import (
    SHARES,
    INumberedMail,
    IReplacingMail,
    IRetainedMail,
    ISearchedMail,
    ISettableQuota,
    ISettableQuotas,
    ISharedMail,
)
from mailfw.stores.kept import KeptContent
from mailfw.stores.memory.account import Account
from mailfw.stores.memory.annotations import AnnotatedMail
from mailfw.stores.memory.mailbox import Letter, Mailbox, check_uids, combine
from mailfw.stores.memory.reading import read_letter
from mailfw.stores.memory.search import search

#: How many rows are handed out at once.
BATCH = 500

#: How many expunged messages are forgotten at once.
FORGOTTEN = 1000


@implementer(IMailStore, INumberedMail, IReplacingMail, IRetainedMail, ISharedMail)
class MemoryStore:
    """
    Keeps mail until the process ends.

    `quotas` says what an account may hold, None that it may hold anything.  `retention` is for how many seconds
    expunged mail can come back.  With `search` messages are found by their text without being read.
    """

    def __init__(self, quotas: IQuotas | None = None, retention: float = 0, search: bool = True) -> None:
        self._quotas = quotas
        self._retains = retention > 0
        self._makes_terms = search
        if search:
            alsoProvides(self, ISearchedMail)
        if ISettableQuotas.providedBy(quotas):
            alsoProvides(self, ISettableQuota)
        AnnotatedMail(self._account).lend(self)
        self._accounts: dict[str, Account] = {}
        self._letters = itertools.count(1)
        self._last_validity = 0

    # ------------------------------------------------------------ accounts and their mailboxes

    async def open_account(self, account: str) -> None:
        """Make the account where it does not exist."""
        if account not in self._accounts:
            self._accounts[account] = Account(self._make_validity, self._retains)

    async def remove_account(self, account: str) -> None:
        """Destroy the account and all its mail."""
        owner = self._account(account)
        del self._accounts[account]
        for other in await self.shared_with(account):
            await self.forget_user(other, account)
        gone, owner.mailboxes = owner.mailboxes, {}
        owner.next_modseq()
        owner.notify(gone.values())
        for identifier in {each for box in gone.values() for each in box.access}:
            self._tell_of_shares(identifier)

    async def mailboxes(self, account: str) -> list[MailboxInfo]:
        """Return every mailbox."""
        owner = self._account(account)
        return [owner.info(mailbox) for mailbox in owner.mailboxes.values()]

    async def subscriptions(self, account: str) -> frozenset[Path]:
        """Return the subscribed paths."""
        return frozenset(self._account(account).subscribed)

    async def quota(self, account: str) -> Quota:
        """Return what the account keeps, and what it may."""
        limits = await self._limits(account)
        owner = self._account(account)
        return Quota(owner.octets, owner.messages, limits.octets, limits.messages)

    async def set_quota(self, account: str, limits: QuotaLimits) -> None:
        """Give an account other limits."""
        self._account(account)
        await ISettableQuotas(self._quotas).change_limits(account, limits)

    async def edit_mailbox(self, account: str, edit: MailboxEdit) -> None:
        """Change the tree."""
        owner = self._account(account)
        owner.edit(edit)
        owner.tell(TREE)

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
        """Add messages, all or none."""
        return await self._append(account, mailbox, messages, None)

    async def append_numbered(
        self, account: str, mailbox: str, messages: Sequence[NewMessage], uids: Sequence[int]
    ) -> list[Appended]:
        """Add messages under UIDs that they bring along."""
        return await self._append(account, mailbox, messages, uids)

    async def _append(
        self, account: str, mailbox: str, messages: Sequence[NewMessage], uids: Sequence[int] | None
    ) -> list[Appended]:
        """Add messages: they are read first, and added when nothing can fail any more."""
        self._find(account, mailbox)
        letters = [await self._read(new) for new in messages]
        limits = await self._limits(account)
        owner, box = self._find(account, mailbox)  # it may have been deleted while we read
        is_new = [new.token not in box.tokens for new in messages]
        owner.check_room(limits, [letter for letter, new in zip(letters, is_new, strict=True) if new])
        wishes = list(uids) if uids is not None else [None] * len(messages)
        if uids is not None:
            check_uids([uid for uid, new in zip(uids, is_new, strict=True) if new], box.uid_next)
        modseq, changed = owner.modseq + 1, False
        appended: list[Appended] = []
        for new, letter, uid in zip(messages, letters, wishes, strict=True):
            kept = box.tokens.get(new.token) if new.token is not None else None
            if kept is None:
                kept, changed = owner.add(box, owner.threaded(letter), new.flags, modseq, new.token, uid), True
            appended.append(Appended(kept.uid, kept.modseq, kept.letter.email_id, kept.letter.thread_id))
        if changed:
            owner.modseq = modseq
            owner.notify([box])
        return appended

    async def replace(self, account: str, mailbox: str, uid: int, to: str, message: NewMessage) -> Replaced:
        """Add a message in place of another."""
        letter = await self._read(message)
        limits = await self._limits(account)
        owner, box = self._find(account, mailbox)
        target, old = owner.mailbox(to), box.find([uid])
        if not old:
            raise NoSuchMessage("The message is not there any more.")
        before = old[0].letter.octets
        limits.room(owner.octets - len(before), owner.messages - 1).check(len(letter.octets), 1)
        modseq = owner.next_modseq()
        kept = owner.add(target, owner.threaded(letter), message.flags, modseq)
        owner.remove(box, old, modseq)
        owner.retain(box, old)
        owner.notify({target.id: target, box.id: box}.values())
        return Replaced(Appended(kept.uid, modseq, kept.letter.email_id, kept.letter.thread_id), box.modseq)

    async def renumber(self, account: str, mailbox: str, uid_validity: int | None, uid_next: int) -> None:
        """Give a mailbox another UIDVALIDITY, and raise its next UID."""
        owner, box = self._find(account, mailbox)
        if uid_validity not in (None, box.uid_validity) and (box.uid_next > 1 or not 0 < uid_validity < UID_LIMIT):
            raise NumberRefused("This mailbox cannot have another's UIDVALIDITY.")
        if not 0 < uid_next < UID_LIMIT:
            raise NumberRefused("This is no UID.")
        validity = self._make_validity() if uid_validity is None else uid_validity
        self._last_validity = max(self._last_validity, validity)
        box.renumber(validity, max(uid_next, box.uid_next), owner.next_modseq())
        owner.notify([box])

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
        limits = NO_LIMITS if move else await self._limits(account)
        owner, box = self._find(account, mailbox)
        target = owner.mailbox(to)
        found = box.find(uids)
        if not found:
            return Copied(target.uid_validity, (), target.modseq)
        owner.check_room(limits, [message.letter for message in found])
        modseq = owner.next_modseq()
        pairs = tuple((old.uid, owner.add(target, old.letter, old.flags, modseq).uid) for old in found)
        box.copy_marks(pairs, target, modseq)
        if move:
            owner.remove(box, found, modseq)
        owner.notify([target, box] if move else [target])
        return Copied(target.uid_validity, pairs, modseq)

    async def expunge(self, account: str, mailbox: str, uids: Sequence[int] | None) -> Expunged:
        """Remove those of `uids` that have \\Deleted; None means: of all messages."""
        owner, box = self._find(account, mailbox)
        doomed = box.with_deleted(uids)
        if doomed:
            owner.remove(box, doomed, owner.next_modseq())
            owner.retain(box, doomed)
            owner.notify([box])
        return Expunged(tuple(message.uid for message in doomed), box.modseq)

    async def watch(self, account: str, notice: Callable[[str, int], None]) -> Callable[[], None]:
        """Call `notice` after each change, before the method that made it returns."""
        return self._account(account).watch(notice)

    # ------------------------------------------------------------ searching

    async def search(self, account: str, mailbox: str, uids: Sequence[int], condition: Condition) -> SearchAnswer:
        """Say which messages match."""
        return search(self._find(account, mailbox)[1].find(uids), condition)

    async def rebuild_search(self, account: str, tell: Callable[[int], None]) -> None:
        """Do nothing: the terms of a message never change."""
        self._account(account)

    # ------------------------------------------------------------ what was expunged

    async def retained(self, account: str) -> AsyncIterator[list[Retained]]:
        """Iterate over what can come back."""
        found = [kept.described(id_) for id_, kept in self._account(account).retention.kept.items()]
        for start in range(0, len(found), BATCH):
            yield found[start : start + BATCH]

    async def retained_content(self, account: str, id_: str) -> IContent | None:
        """Open one of these messages."""
        kept = self._account(account).retention.kept.get(id_)
        return None if kept is None else KeptContent(kept.letter.octets)

    async def undelete(self, account: str, ids: Collection[str]) -> int:
        """Put messages back."""
        limits = await self._limits(account)
        owner = self._account(account)
        back = {id_: kept for id_, kept in owner.retention.kept.items() if id_ in ids}
        owner.check_room(limits, [kept.letter for kept in back.values()])
        missing = {kept.path for kept in back.values()} - {box.path for box in owner.mailboxes.values()}
        for path in missing:
            owner.edit(CreateMailbox(path))
        modseq = owner.next_modseq()
        changed: dict[str, Mailbox] = {}
        for id_, kept in back.items():
            box = owner.find(kept.path)
            assert box is not None
            owner.add(box, kept.letter, kept.flags - {DELETED}, modseq)
            changed[box.id] = box
            del owner.retention.kept[id_]
        owner.notify(changed.values())
        if missing:
            owner.tell(TREE)
        return len(back)

    async def forget_retained(self, before: float) -> bool:
        """Forget some of what is too old."""
        left = FORGOTTEN
        for owner in self._accounts.values():
            left -= owner.retention.forget(before, left)
        return not left

    # ------------------------------------------------------------ others' mailboxes

    async def access(self, account: str, mailbox: str) -> AccessList:
        """Return who else may do what."""
        return dict(self._find(account, mailbox)[1].access)

    async def grant(self, account: str, mailbox: str, identifier: str, rights: Rights, change: str = "") -> None:
        """Give an identifier exactly these rights, or more or less by these."""
        owner, box = self._find(account, mailbox)
        before = box.access.get(identifier, NO_RIGHTS)
        after = changed(before, change, rights)
        if after == before:
            return
        if after:
            box.access[identifier] = after
        else:
            del box.access[identifier]
        box.modseq = owner.next_modseq()
        owner.notify([box])
        self._tell_of_shares(identifier)

    def _tell_of_shares(self, identifier: str) -> None:
        for name in self._accounts.keys() & ({*self._accounts} if identifier in EVERYBODY else {identifier}):
            self._accounts[name].tell(SHARES)

    async def shared_with(self, user: str) -> frozenset[str]:
        """Return who shares something with a user: here all mailboxes are looked at."""
        identifiers = identifiers_of(user)
        return frozenset(
            name
            for name, owner in self._accounts.items()
            if any(not identifiers.isdisjoint(box.access) for box in owner.mailboxes.values())
        )

    async def mailboxes_for(self, account: str, user: str) -> list[MailboxInfo]:
        """Return what is shared with a user."""
        boxes = self._account(account).mailboxes.values()
        return [box.info_for(user) for box in boxes if rights_of(box.access, user)]

    async def mailbox_for(self, account: str, mailbox: str, user: str) -> MailboxInfo:
        """Return one mailbox as a user sees it."""
        return self._find(account, mailbox)[1].info_for(user)

    async def snapshot_for(self, account: str, mailbox: str, user: str, since: int) -> Snapshot:
        """Return what changed for a user after `since`."""
        return self._find(account, mailbox)[1].snapshot_for(user, since)

    async def readers(self, account: str, mailbox: str) -> frozenset[str]:
        """Return who has marked anything."""
        return frozenset(self._find(account, mailbox)[1].readers)

    async def marks(self, account: str, mailbox: str, user: str, uids: Sequence[int]) -> list[Mark]:
        """Return which messages a user has seen."""
        marks = self._find(account, mailbox)[1].reader(user).marks
        return [marks[uid] for uid in uids if uid in marks]

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
        """Change flags for a user, of all messages with the same modification sequence."""
        owner, box = self._find(account, mailbox)
        rights = rights_of(box.access, user)
        check_change(rights, change, flags)
        reader, found = box.reader(user), box.find(uids)
        newest = owner.modseq if unchanged_since is None else unchanged_since
        conflicts = tuple(m.uid for m in found if reader.modseq(m) > newest)
        old = {m.uid: merged(m.flags, reader.has_seen(m.uid)) for m in found if reader.modseq(m) <= newest}
        new = {uid: combined(before, change, flags, rights) for uid, before in old.items()}
        changed = {uid: after for uid, after in new.items() if after != old[uid]}
        if changed:
            modseq = owner.next_modseq()
            for uid, after in changed.items():
                shared, seen = parted(after, box.messages[uid].flags)
                if shared != box.messages[uid].flags:
                    box.set_flags(box.messages[uid], shared, modseq)
                if seen != reader.has_seen(uid):
                    box.mark(user, uid, seen, modseq)
            owner.notify([box])
        return Altered(box.modseq, changed, conflicts)

    async def forget_user(self, account: str, user: str) -> None:
        """Forget all that is kept of a user."""
        for box in list(self._account(account).mailboxes.values()):
            box.readers.pop(user, None)
            for key in [key for key in box.annotations if key[0] == user]:
                del box.annotations[key]
            for identifier in entries_of(user):
                await self.grant(account, box.id, identifier, frozenset())

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

    async def _limits(self, account: str) -> QuotaLimits:
        return await self._quotas.limits(account) if self._quotas is not None else NO_LIMITS

    def _make_validity(self) -> int:
        # RFC 3501 section 2.3.1.1 suggests the time of creation; two mailboxes of one second differ all the same.
        self._last_validity = max(int(time.time()), self._last_validity + 1)
        return self._last_validity

    async def _read(self, new: NewMessage) -> Letter:
        return await read_letter(new, f"m{next(self._letters)}", self._makes_terms)
