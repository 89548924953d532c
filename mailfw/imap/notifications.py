"""What a client hears of unasked, after NOTIFY (RFC 5465): of the selected mailbox, and of all others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any

from mailfw.imap import names, responses, telling, tree
from mailfw.imap.capabilities import CONDSTORE
from mailfw.imap.commands import fetch, metadata, status
from mailfw.imap.grammar_mailboxes import ListRequest
from mailfw.imap.grammar_notify import OF_MESSAGES, OF_SELECTED, Event, EventGroup, NotifySet, Where
from mailfw.mail.annotation import Annotations
from mailfw.mail.failure import NoSuchMailbox
from mailfw.mail.mailbox import INBOX, TREE, MailboxInfo, Path, Role
from mailfw.mail.rights import LOOKUP, READ
from mailfw.optional import ACCOUNT_ANNOTATIONS, SHARES, ISharingView

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: So many changed mailboxes at once are more than a client can want to hear of: RFC 5465 section 5.8.
_OVERFLOW = 10_000
_ITEMS = (b"MESSAGES", b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN")

_Infos = dict[str, MailboxInfo]


class Notifications:
    """
    One session's wishes, and what its client knows already.

    `hear` is called at any time; `tell` when something can be said.
    """

    def __init__(self, wishes: NotifySet) -> None:
        self._groups = [group for group in wishes.groups if group.where not in OF_SELECTED]
        #: What is wanted of the selected mailbox; without it all is as without NOTIFY.
        self.selected: EventGroup | None = next((each for each in wishes.groups if each.where in OF_SELECTED), None)
        self._events = frozenset(event for group in self._groups for event in group.events)
        self._infos: _Infos = {}
        self._subscribed: frozenset[Path] = frozenset()
        self._others: Path = ()
        self._annotations: Mapping[str, Annotations] = {}
        self._of_account: Annotations = {}
        self._changed: set[str] = set()
        #: The last message of the selected mailbox that the client was told of.
        self.last_uid = 0
        # Messages there that it made itself.
        self._own: frozenset[int] = frozenset()

    async def begin(self, session: Session, with_status: bool) -> None:
        """Look at how things are, and say so where that is asked for."""
        store, account = session.store, session.account
        if ISharingView.providedBy(store):
            self._others = await ISharingView(store).namespace(account)
        await self._look(session)
        if Event.MAILBOX_METADATA_CHANGE in self._events and metadata.is_there(session):
            self._annotations = await metadata.all_annotations(session)
        if Event.SERVER_METADATA_CHANGE in self._events and metadata.is_there(session):
            self._of_account = await self._account_annotations(session)
        self.forget_selected(session)
        for info in list(self._infos.values()):
            if READ not in info.rights and self._events_at(info.path, info.role):  # RFC 5465 section 3.1
                session.stream.write(_list_line(session, ("\\NoAccess",), info.path))
            wanted = self._events_of(info) & OF_MESSAGES
            if with_status and wanted and not self._is_selected(session, info.id):
                await self._tell_status(session, info, Event.FLAG_CHANGE in wanted and session.offers(CONDSTORE))
            await session.stream.give_way()

    async def _look(self, session: Session) -> None:
        infos = await session.store.mailboxes(session.account)
        self._infos = {info.id: info for info in infos if LOOKUP in info.rights}
        self._subscribed = await session.store.subscriptions(session.account)

    def forget_selected(self, session: Session) -> None:
        """Begin anew with the selected mailbox: its client knows what SELECT has told."""
        view = session.view
        self._own = frozenset()
        self.last_uid = view.uids[-1] if view is not None and view.uids else 0

    # ------------------------------------------------------------ which

    def _events_of(self, info: MailboxInfo) -> frozenset[Event]:
        """Return what is wanted of a mailbox that may be read."""
        if not {LOOKUP, READ} <= info.rights:
            return frozenset()
        return self._events_at(info.path, info.role)

    def _events_at(self, path: Path, role: Role | None) -> frozenset[Event]:
        """Return what all groups that name a mailbox want, nothing with NONE among them (RFC 5465 section 6)."""
        found = [group.events for group in self._groups if self._names(group, path, role)]
        return frozenset[Event]().union(*found) if all(found) else frozenset()

    def _names(self, group: EventGroup, path: Path, role: Role | None) -> bool:
        match group.where:
            case Where.INBOXES:
                return path == INBOX or (role is Role.JUNK and self._is_own(path))
            case Where.PERSONAL:
                return self._is_own(path)
            case Where.SUBSCRIBED:
                return path in self._subscribed
            case Where.MAILBOXES:
                return names.from_path(path) in group.names
            case Where.SUBTREE:
                return any(names.from_path(path[:depth]) in group.names for depth in range(len(path), 0, -1))
        return False

    def _is_own(self, path: Path) -> bool:
        return not self._others or path[: len(self._others)] != self._others

    def _is_selected(self, session: Session, mailbox: str) -> bool:
        return session.view is not None and session.view.mailbox_id == mailbox

    # ------------------------------------------------------------ hearing and telling

    def hear(self, mailbox: str) -> bool:
        """Note that something has changed; whether the client may want to know."""
        if not self._groups:
            return False
        self._changed.add(mailbox)
        return True

    @property
    def is_too_much(self) -> bool:
        """Whether more has happened than can be told."""
        return len(self._changed) > _OVERFLOW

    async def tell(self, session: Session) -> None:
        """Say what has happened in mailboxes that are not selected; what cannot be found out is kept for later."""
        changed, self._changed = self._changed, set()
        try:
            await self._tell(session, frozenset(changed))
        except Exception:
            self._changed |= changed
            raise

    async def _tell(self, session: Session, changed: Set[str]) -> None:
        if ACCOUNT_ANNOTATIONS in changed and Event.SERVER_METADATA_CHANGE in self._events:
            await self._tell_account_annotations(session)
        changed -= {ACCOUNT_ANNOTATIONS}
        if changed & {TREE, SHARES} or not changed <= self._infos.keys():
            before = self._infos, self._subscribed
            await self._look(session)
            self._tell_tree(session, *before)
            for mailbox in changed & self._infos.keys() & before[0].keys():
                await self._tell_change(session, before[0][mailbox], self._infos[mailbox])
            return
        for mailbox in changed:
            if not await self._tell_mailbox(session, mailbox):  # it has moved or is gone: all are looked at
                self._changed.add(TREE)
                session.stream.wake()

    async def _tell_mailbox(self, session: Session, mailbox: str) -> bool:
        """Say what has happened in a mailbox; whether it is where it was."""
        before = self._infos[mailbox]
        try:
            info = await session.store.mailbox(session.account, mailbox)
        except NoSuchMailbox:
            return False
        if info.path != before.path:
            return False
        self._infos[mailbox] = info
        await self._tell_change(session, before, info)
        return True

    async def _tell_change(self, session: Session, before: MailboxInfo, info: MailboxInfo) -> None:
        if before == info or self._is_selected(session, info.id):
            return
        wanted = self._events_of(info)
        if self._happened(before, info) & wanted:
            await self._tell_status(session, info)
        if before.annotated != info.annotated and Event.MAILBOX_METADATA_CHANGE in wanted:
            await self._tell_annotations(session, info)

    def _happened(self, before: MailboxInfo, info: MailboxInfo) -> set[Event]:
        new = info.uid_next != before.uid_next
        happened = {Event.MESSAGE_NEW} if new else set[Event]()
        if info.messages < before.messages or (
            new and info.messages - before.messages < info.uid_next - before.uid_next
        ):
            happened.add(Event.MESSAGE_EXPUNGE)
        if not happened and info.modseq != before.modseq:
            happened.add(Event.FLAG_CHANGE)
        return happened

    async def _tell_status(self, session: Session, info: MailboxInfo, with_modseq: bool = False) -> None:
        items = (*_ITEMS, b"HIGHESTMODSEQ") if with_modseq or session.tells_modseq else _ITEMS
        session.stream.write(await status.status_line(session, info, items))
        await session.stream.give_way()

    # ------------------------------------------------------------ the tree

    def _tell_tree(self, session: Session, infos: _Infos, subscribed: Collection[Path]) -> None:
        lines = self._lines(session)
        made_or_gone = [infos.get(id_) or self._infos[id_] for id_ in infos.keys() ^ self._infos.keys()]
        for id_, info in infos.items():
            now = self._infos.get(id_)
            if now is None and self._wants(info, Event.MAILBOX_NAME):
                session.stream.write(_list_line(session, ("\\NonExistent",), info.path))
        renamed: dict[Path, Path] = {}
        for id_, info in sorted(self._infos.items(), key=lambda item: item[1].path):
            before = infos.get(id_)
            if before is not None and (before.path == info.path or _has_moved_with(renamed, before.path, info.path)):
                continue
            old = before.path if before is not None else None
            if self._wants(info, Event.MAILBOX_NAME) or (
                before is not None and self._wants(before, Event.MAILBOX_NAME)
            ):
                session.stream.write(_list_line(session, lines[info.path], info.path, old))
                renamed |= {old: info.path} if old is not None else {}
        self._tell_superiors(session, {info.path for info in made_or_gone}, lines)
        for path in self._subscribed ^ frozenset(subscribed):
            if Event.SUBSCRIPTION_CHANGE in self._events_at(path, None):
                session.stream.write(_list_line(session, lines.get(path, ("\\NonExistent",)), path))

    def _tell_superiors(self, session: Session, told: Set[Path], lines: Mapping[Path, tuple[str, ...]]) -> None:
        """What is right above a mailbox that was made or is gone is affected, too (RFC 5465 section 5.4)."""
        there = {info.path for info in self._infos.values()}
        for path in sorted({path[:-1] for path in told} - told - {()}):
            if Event.MAILBOX_NAME in self._events_at(path, None):
                attributes = [each for each in lines.get(path, ()) if each != "\\Noselect"]
                session.stream.write(_list_line(session, ["\\NonExistent"] * (path not in there) + attributes, path))

    def _wants(self, info: MailboxInfo, event: Event) -> bool:
        return event in self._events_at(info.path, info.role)

    def _lines(self, session: Session) -> dict[Path, tuple[str, ...]]:
        """Return the attributes of each mailbox."""
        infos = {info.path: info for info in self._infos.values()}
        request = ListRequest("", ("*",), show_subscribed=True)
        return {entry.path: entry.attributes for entry in tree.list_entries(infos, self._subscribed, request)}

    # ------------------------------------------------------------ annotations

    async def _tell_annotations(self, session: Session, info: MailboxInfo) -> None:
        before = self._annotations.get(info.id, {})
        self._annotations = await metadata.all_annotations(session)
        _tell_entries(session, session.mailbox(info.path), before, self._annotations.get(info.id, {}))

    async def _tell_account_annotations(self, session: Session) -> None:
        before, self._of_account = self._of_account, await self._account_annotations(session)
        _tell_entries(session, b'""', before, self._of_account)

    async def _account_annotations(self, session: Session) -> Annotations:
        store: Any = session.store
        found: Annotations = await store.annotations(session.account, None)
        return found

    # ------------------------------------------------------------ the selected mailbox

    def made(self, session: Session, mailbox: str, uids: Iterable[int]) -> None:
        """Note messages that the client has made itself: it is not sent what it knows (RFC 5465 section 5.2)."""
        if self.selected is not None and self.selected.fetch and self._is_selected(session, mailbox):
            self._own |= frozenset(uids)

    async def tell_selected(self, session: Session) -> None:
        """Bring the view up to date at once, and send what is wanted of new messages."""
        if self.selected is None or session.view is None:
            return
        await telling.catch_up(session, expunges_allowed=self.selected.where is Where.SELECTED)
        view = session.view
        own, self._own = self._own, frozenset()
        new = view.uids[bisect_right(view.uids, self.last_uid) :]
        if not new:
            return
        self.last_uid = new[-1]
        if self.selected.fetch:
            await fetch.send_news(session, self.selected.fetch, [uid for uid in new if uid not in own])


def _has_moved_with(renamed: Mapping[Path, Path], old: Path, new: Path) -> bool:
    """Whether a mailbox above has been renamed, and this one with it: its client knows (RFC 5465 section 5.4)."""
    return any(
        (*renamed.get(old[:depth], ()), *old[depth:]) == new for depth in range(1, len(old)) if old[:depth] in renamed
    )


def _list_line(session: Session, attributes: Collection[str], path: Path, old: Path | None = None) -> bytes:
    """Return a LIST response, with what the mailbox was called before (RFC 5465 section 5.4)."""
    words = " ".join(attributes).encode("ascii")
    extended = b' ("OLDNAME" (%b))' % session.mailbox(old) if old is not None else b""
    return b'* LIST (%b) "/" %b%b\r\n' % (words, session.mailbox(path), extended)


def _tell_entries(session: Session, mailbox: bytes, before: Annotations, now: Annotations) -> None:
    """RFC 5464 section 4.4.2: which entries have changed, without their values."""
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        entries = b" ".join(map(responses.astring, changed))
        session.stream.write(responses.untagged(b"METADATA " + mailbox + b" " + entries))
