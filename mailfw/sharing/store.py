"""The mail store as one user sees it: his own mailboxes, and below one name those that others share with him."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, cast

from twisted.logger import Logger
from zope.interface import implementer

from mailfw.interfaces import IContent, IMailStore
from mailfw.mail.failure import NoPermission, NoSuchAccount, NoSuchMailbox, StoreRefusal
from mailfw.mail.mailbox import (
    DELETED,
    SEEN,
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
    Subscribe,
    Want,
)
from mailfw.mail.personal import merged, require
from mailfw.mail.quota import Quota, QuotaLimits
from mailfw.mail.rights import (
    ADMINISTER,
    ALL_RIGHTS,
    EVERYBODY,
    EXPUNGE,
    INSERT,
    NO_RIGHTS,
    READ,
    SEE,
    TRASH,
    WRITE,
    AccessList,
    Rights,
    allowed,
    identifier_of,
    rights_of,
)
from mailfw.mail.sought import Condition, SearchAnswer
from mailfw.optional import (
    IAnnotatedMail,
    IColumns,
    IManyContents,
    IReplacingMail,
    ISharingView,
    IUniqueIds,
)
from mailfw.sharing import places, tree
from mailfw.sharing.abilities import declare
from mailfw.sharing.annotations import UsersAnnotations
from mailfw.sharing.columns import UsersColumns
from mailfw.sharing.contents import LateContent
from mailfw.sharing.places import NAMESPACE, Place
from mailfw.sharing.replacing import UsersReplacing
from mailfw.sharing.watching import Watch

log = Logger()


@implementer(IMailStore, IManyContents, ISharingView)
class SharingStore:
    """
    Shows a user, whose account each call names, a store that provides `ISharedMail`; one is for one login.

    `with_anyone` lets him share with everybody.  What concerns only his own mailboxes goes straight to the store.
    Others' mailboxes have ids of their own, and their \\Seen is the user's.
    """

    def __init__(self, store: Any, with_anyone: bool = False) -> None:
        self._store = store
        self._with_anyone = with_anyone
        self._watch: Watch | None = None
        self._subscribed: frozenset[Path] = frozenset()
        if IUniqueIds.providedBy(store):
            self.unique_ids = store.unique_ids
        if IAnnotatedMail.providedBy(store):
            UsersAnnotations(store, self._allow, self._others).lend(self)
        if IColumns.providedBy(store):
            UsersColumns(store, self._allow).lend(self)
        if IReplacingMail.providedBy(store):
            UsersReplacing(store, self._allow, self._see).lend(self)
        declare(self, store)

    # ------------------------------------------------------------ the account

    async def open_account(self, account: str) -> None:
        """Make sure the account exists."""
        await self._store.open_account(account)

    async def remove_account(self, account: str) -> None:
        """Destroy the account."""
        await self._store.remove_account(account)

    async def quota(self, account: str) -> Quota:
        """Return what the account keeps, and what it may."""
        quota: Quota = await self._store.quota(account)
        return quota

    async def set_quota(self, account: str, limits: QuotaLimits) -> None:
        """Give an account other limits, with a store that can."""
        await self._store.set_quota(account, limits)

    async def subscriptions(self, account: str) -> frozenset[Path]:
        """Return the subscribed paths, of others' mailboxes too."""
        self._subscribed = await self._store.subscriptions(account)
        return self._subscribed

    # ------------------------------------------------------------ the tree

    async def mailboxes(self, account: str) -> list[MailboxInfo]:
        """Return every mailbox that the user knows of."""
        own: list[MailboxInfo] = await self._store.mailboxes(account)
        others = await self._others(account)
        if not others:
            return own
        taken = {info.path for info in own}
        found = [each for infos in others.values() for each in infos]
        return [*own, *(info for info in found if info.path not in taken)]

    async def _others(self, account: str) -> dict[str, list[MailboxInfo]]:
        """Return what others share with a user, by owner."""
        owners = await self._owners(account)
        if owners:
            await self.subscriptions(account)
        return {owner: await self._mailboxes_of(owner, account) for owner in sorted(owners)}

    async def _owners(self, account: str) -> frozenset[str]:
        """Return who may share something with a user; while he watches, that is known."""
        if self._watch is not None and self._watch.user == account:
            return self._watch.owners
        owners: frozenset[str] = await self._store.shared_with(account)
        return owners - {account}

    async def _mailboxes_of(self, owner: str, account: str) -> list[MailboxInfo]:
        try:
            infos = await self._store.mailboxes_for(owner, account)
        except NoSuchAccount:
            return []
        except Exception:  # the fault of somebody else's mailboxes is not the user's
            log.failure("what {owner} shares with {user} cannot be had", owner=owner, user=account)
            return []
        return [places.shown(info, owner, self._subscribed) for info in infos]

    async def edit_mailbox(self, account: str, edit: MailboxEdit) -> None:
        """Change the tree; what is another's, as his rights allow."""
        if isinstance(edit, Subscribe) or not tree.is_others(edit):
            await self._store.edit_mailbox(account, edit)
            return
        owner = tree.owner_of(edit)
        # Nobody else's account is so much as looked at: it might be the same one, written differently.
        is_known = owner in await self._owners(account)
        known = await self._mailboxes_of(owner, account) if is_known else []
        rights = {info.path: info.rights for info in known}
        if known:  # what he does not know of stands above others all the same
            hidden: list[MailboxInfo] = await self._store.mailboxes(owner)
            rights = {places.path_of(owner, info.path): NO_RIGHTS for info in hidden} | rights
        tree.check(edit, rights)
        await self._store.edit_mailbox(owner, tree.at_owner(edit))

    async def mailbox(self, account: str, mailbox: str) -> MailboxInfo:
        """Return one mailbox."""
        if not places.is_shared(mailbox):
            own: MailboxInfo = await self._store.mailbox(account, mailbox)
            return own
        place = places.place_of(mailbox, account)
        try:
            info = await self._store.mailbox_for(place.owner, place.mailbox, account)
        except NoSuchAccount:
            raise NoSuchMailbox("There is no such mailbox.")
        if not info.rights:
            raise NoSuchMailbox("There is no such mailbox.")
        return places.shown(info, place.owner, self._subscribed)

    async def claim_recent(self, account: str, mailbox: str) -> int:
        """Take what is \\Recent, which in others' mailboxes nothing is."""
        if not places.is_shared(mailbox):
            first: int = await self._store.claim_recent(account, mailbox)
            return first
        await self._allow(account, places.place_of(mailbox, account), READ)
        return (await self.mailbox(account, mailbox)).uid_next

    # ------------------------------------------------------------ reading

    def snapshot(self, account: str, mailbox: str, since: int) -> Coroutine[Any, Any, Snapshot]:
        """Return what changed."""
        if places.is_shared(mailbox):
            return self._shared_snapshot(account, places.place_of(mailbox, account), since)
        own: Coroutine[Any, Any, Snapshot] = self._store.snapshot(account, mailbox, since)
        return own

    async def _shared_snapshot(self, account: str, place: Place, since: int) -> Snapshot:
        try:
            snapshot: Snapshot = await self._store.snapshot_for(place.owner, place.mailbox, account, since)
        except NoSuchAccount:
            raise NoSuchMailbox("There is no such mailbox.")
        require(snapshot.info.rights, READ)
        return replace(snapshot, info=places.shown(snapshot.info, place.owner, self._subscribed))

    def rows(self, account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[list[Row]]:
        """Iterate over what is known of messages."""
        if places.is_shared(mailbox):
            return self._shared_rows(account, places.place_of(mailbox, account), uids, want)
        own: AsyncIterator[list[Row]] = self._store.rows(account, mailbox, uids, want)
        return own

    async def _shared_rows(
        self, account: str, place: Place, uids: Sequence[int], want: Want
    ) -> AsyncIterator[list[Row]]:
        await self._allow(account, place, READ)
        async for rows in self._store.rows(place.owner, place.mailbox, uids, want):
            await self._allow(account, place, READ)  # who reads slowly does not read on when it is withdrawn
            found = await self._store.marks(place.owner, place.mailbox, account, [row.uid for row in rows])
            marks = {mark.uid: mark for mark in found}
            for row in rows:
                mark = marks.get(row.uid)
                row.flags = merged(row.flags, mark is not None and mark.seen)
                row.modseq = max(row.modseq, mark.modseq) if mark is not None else row.modseq
            yield rows

    def content(self, account: str, mailbox: str, uid: int) -> Coroutine[Any, Any, IContent | None]:
        """Open one message."""
        if places.is_shared(mailbox):
            return self._shared_content(account, places.place_of(mailbox, account), uid)
        own: Coroutine[Any, Any, IContent | None] = self._store.content(account, mailbox, uid)
        return own

    async def _shared_content(self, account: str, place: Place, uid: int) -> IContent | None:
        await self._allow(account, place, READ)
        content: IContent | None = await self._store.content(place.owner, place.mailbox, uid)
        return content

    def contents(
        self, account: str, mailbox: str, uids: Sequence[int]
    ) -> AsyncIterator[Sequence[tuple[int, IContent]]]:
        """Open many messages."""
        place = places.place_of(mailbox, account)
        if place.owner != account:
            return self._shared_contents(account, place, uids)
        return self._contents(place, uids)

    async def _shared_contents(
        self, account: str, place: Place, uids: Sequence[int]
    ) -> AsyncIterator[Sequence[tuple[int, IContent]]]:
        async with aclosing(self._contents(place, uids)) as batches:
            await self._allow(account, place, READ)  # before anything is opened that would have to be closed
            async for batch in batches:
                yield batch
                await self._allow(account, place, READ)

    def _contents(self, place: Place, uids: Sequence[int]) -> AsyncGenerator[Sequence[tuple[int, IContent]], None]:
        if not IManyContents.providedBy(self._store):
            return self._one_by_one(place, uids)
        many: Any = self._store.contents(place.owner, place.mailbox, uids)
        return cast("AsyncGenerator[Sequence[tuple[int, IContent]], None]", many)

    async def _one_by_one(
        self, place: Place, uids: Sequence[int]
    ) -> AsyncGenerator[Sequence[tuple[int, IContent]], None]:
        for uid in uids:
            content = await self._store.content(place.owner, place.mailbox, uid)
            if content is not None:
                yield [(uid, content)]

    def generation(self, account: str, mailbox: str) -> int:
        """Return what is another number when a mailbox may have changed, with a store that has such."""
        if places.is_shared(mailbox):
            place = places.place_of(mailbox, account)
            account, mailbox = place.owner, place.mailbox
        number: int = self._store.generation(account, mailbox)
        return number

    # ------------------------------------------------------------ searching, with a store that does

    async def search(self, account: str, mailbox: str, uids: Sequence[int], condition: Condition) -> SearchAnswer:
        """Say which messages match."""
        place = places.place_of(mailbox, account)
        await self._allow(account, place, READ)
        answer: SearchAnswer = await self._store.search(place.owner, place.mailbox, uids, condition)
        return answer

    async def rebuild_search(self, account: str, tell: Callable[[int], None]) -> None:
        """Make what an account is searched by anew."""
        await self._store.rebuild_search(account, tell)

    # ------------------------------------------------------------ changing

    async def append(self, account: str, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        """Add messages, in somebody else's mailbox with those of their flags that the user may set."""
        if not places.is_shared(mailbox):
            own: list[Appended] = await self._store.append(account, mailbox, messages)
            return own
        place = places.place_of(mailbox, account)
        rights = await self._allow(account, place, INSERT)
        new = [replace(each, flags=allowed(each.flags, rights) - {SEEN}) for each in messages]
        appended: list[Appended] = await self._store.append(place.owner, place.mailbox, new)
        seen = [kept.uid for kept, each in zip(appended, messages, strict=True) if SEEN in each.flags]
        await self._see(account, place, rights, seen)
        return appended

    async def _see(self, account: str, place: Place, rights: Rights, uids: Sequence[int]) -> None:
        """Let a user have seen messages that he has added."""
        if uids and rights >= {READ, SEE}:
            marked = (sorted(uids), FlagChange.ADD, frozenset({SEEN}))
            with suppress(StoreRefusal):  # the messages are there, and whoever is told otherwise adds them again
                await self._store.alter_for(place.owner, place.mailbox, account, *marked)

    def alter(
        self,
        account: str,
        mailbox: str,
        uids: Sequence[int],
        change: FlagChange,
        flags: Flags,
        unchanged_since: int | None = None,
    ) -> Coroutine[Any, Any, Altered]:
        """Change flags."""
        place = places.place_of(mailbox, account)
        altering: Coroutine[Any, Any, Altered]
        if place.owner == account:
            altering = self._store.alter(account, mailbox, uids, change, flags, unchanged_since)
        else:
            asked = (place.mailbox, account, uids, change, flags, unchanged_since)
            altering = self._store.alter_for(place.owner, *asked)
        return altering

    async def expunge(self, account: str, mailbox: str, uids: Sequence[int] | None) -> Expunged:
        """Remove messages with \\Deleted."""
        place = places.place_of(mailbox, account)
        await self._allow(account, place, EXPUNGE)
        expunged: Expunged = await self._store.expunge(place.owner, place.mailbox, uids)
        return expunged

    async def copy(self, account: str, mailbox: str, uids: Sequence[int], to: str, move: bool = False) -> Copied:
        """
        Copy or move messages, within one account or from one to another.

        Between accounts a copy is all or none too.  A move is a copy, after which the messages are expunged: if that
        fails they are in both, and moving them again does not double them.
        """
        source, target = places.place_of(mailbox, account), places.place_of(to, account)
        if source.owner != account:
            await self._allow(account, source, *([READ, TRASH, EXPUNGE] if move else [READ]))
        rights = await self._allow(account, target, INSERT)
        if source.owner == target.owner and rights >= {SEE, TRASH, WRITE}:
            copied: Copied = await self._store.copy(source.owner, source.mailbox, uids, target.mailbox, move)
            return copied
        copied = await self._carry(account, mailbox, uids, to, move)
        gone = [uid for uid, _ in copied.uids]
        if move and gone:
            marked = (FlagChange.ADD, frozenset({DELETED}))
            await self._store.alter(source.owner, source.mailbox, gone, *marked)
            await self._store.expunge(source.owner, source.mailbox, gone)
        return copied

    async def _carry(self, account: str, mailbox: str, uids: Sequence[int], to: str, move: bool) -> Copied:
        """Read messages here and append them there, with the flags that the user sees."""
        info = await self.mailbox(account, to)
        rows = [row async for batch in self.rows(account, mailbox, uids, Want.NOTHING) for row in batch]
        messages = [self._parcel(account, mailbox, row, move) for row in rows]
        if not messages:
            return Copied(info.uid_validity, (), info.modseq)
        appended = await self.append(account, to, messages)
        pairs = tuple((row.uid, there.uid) for row, there in zip(rows, appended, strict=True))
        return Copied(info.uid_validity, pairs, max(there.modseq for there in appended))

    def _parcel(self, account: str, mailbox: str, row: Row, move: bool) -> NewMessage:
        def open_() -> Awaitable[IContent | None]:
            return self.content(account, mailbox, row.uid)

        # A copy may be wanted twice; a message can be moved only once.
        token = f"moved\n{mailbox}\n{row.email_id}\n{row.uid}" if move else None
        return NewMessage(LateContent(row.size, open_), row.flags, row.received, token)

    # ------------------------------------------------------------ watching

    async def watch(self, account: str, notice: Callable[[str, int], None]) -> Callable[[], None]:
        """Tell of every change, also of what is shared from now on."""
        watch = Watch(self._store, account, notice)
        await watch.start()
        self._watch = watch

        def stop() -> None:
            watch.stop()
            if self._watch is watch:
                self._watch = None

        return stop

    async def close(self) -> None:
        """Leave the store to others."""

    # ------------------------------------------------------------ who may do what

    async def namespace(self, account: str) -> Path:
        """Return where others' mailboxes are."""
        return NAMESPACE

    async def access(self, account: str, mailbox: str) -> AccessList:
        """Return who may do what with a mailbox."""
        place = places.place_of(mailbox, account)
        await self._allow(account, place, ADMINISTER)
        access: AccessList = await self._store.access(place.owner, place.mailbox)
        return {place.owner: ALL_RIGHTS, **access}

    async def grant(self, account: str, mailbox: str, identifier: str, rights: Rights, change: str = "") -> None:
        """Give an identifier exactly these rights, or more or less by these."""
        place = places.place_of(mailbox, account)
        await self._allow(account, place, ADMINISTER)
        _, _, domain = place.owner.rpartition("@")
        meant = identifier_of(identifier, domain)
        if meant.removeprefix("-") == place.owner:
            raise NoPermission("The owner of a mailbox has all rights, and keeps them.")
        if meant in EVERYBODY and rights and change != "-" and not self._with_anyone:
            # It would stand in the list of everybody, who cannot take it out.
            raise NoPermission("Only the administrator of this server shares mailboxes with everybody.")
        await self._store.grant(place.owner, place.mailbox, meant, rights, change)

    async def _allow(self, account: str, place: Place, *needed: str) -> Rights:
        """Return the user's rights, among them those that are needed."""
        if place.owner == account:
            return ALL_RIGHTS
        try:
            access = await self._store.access(place.owner, place.mailbox)
        except NoSuchAccount:
            raise NoSuchMailbox("There is no such mailbox.")
        rights = rights_of(access, account)
        require(rights, *needed)
        return rights
