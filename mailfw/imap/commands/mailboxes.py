"""CREATE, DELETE, RENAME, SUBSCRIBE, LIST, LSUB, STATUS and NAMESPACE: the tree of mailboxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import grammar, names, responses, tree
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion
from mailfw.mail.failure import MailboxExists, NoSuchMailbox
from mailfw.mail.mailbox import (
    INBOX,
    CreateMailbox,
    DeleteMailbox,
    MailboxInfo,
    Path,
    RenameMailbox,
    Role,
    Subscribe,
    Want,
)
from mailfw.mail.personal import require
from mailfw.mail.rights import LOOKUP, READ
from mailfw.optional import ISharingView

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: STATUS counts \Recent messages one by one up to here, and takes every UID for a message beyond.
_COUNTED = 10_000

_EXISTS = responses.no("There is such a mailbox already", b"ALREADYEXISTS")


# ---------------------------------------------------------------- the tree changes


async def create(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.3.3 and RFC 6154 section 3.  A delimiter at the end means nothing here."""
    try:
        name, role = grammar.create(cursor)
    except grammar.UseRefused as refused:
        return responses.no(str(refused), b"USEATTR")
    path = names.to_path(name.removesuffix(names.DELIMITER))
    infos = await _infos(session)
    if path in infos:
        return _EXISTS
    if role is not None and any(info.role is role for info in infos.values()):
        return responses.no("Another mailbox is for that use", b"USEATTR")
    await _make_superiors(session, path, infos)
    await _make(session, path, role)
    made = await session.find(path)
    return responses.ok("Created", b"MAILBOXID " + responses.object_id(made.id))  # RFC 8474 section 4.1


async def _infos(session: Session) -> dict[Path, MailboxInfo]:
    return {info.path: info for info in await session.store.mailboxes(session.account)}


async def _make(session: Session, path: Path, role: Role | None) -> None:
    await session.store.edit_mailbox(session.account, CreateMailbox(path, role))


async def _make_superiors(session: Session, path: Path, infos: dict[Path, MailboxInfo]) -> None:
    """RFC 3501 section 6.3.3: the server SHOULD create superior names; somebody else may be doing it now."""
    for depth in range(1, len(path)):
        if path[:depth] not in infos:
            try:
                await _make(session, path[:depth], None)
            except MailboxExists:
                continue


async def delete(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.3.4: what is below stays, and the name with it, as one that cannot be selected."""
    path = names.to_path(grammar.mailbox(cursor))
    if path == INBOX:
        return responses.no("The inbox cannot be deleted", b"CANNOT")
    infos = await _infos(session)
    if path not in infos:
        if path in tree.superiors(infos):
            return responses.no("That name only stands for what is below it", b"CANNOT")
        raise NoSuchMailbox("There is no such mailbox")
    await session.store.edit_mailbox(session.account, DeleteMailbox(path))
    if session.view is not None and session.view.mailbox_id == infos[path].id:
        session.deselect()
        session.say(b"OK", "The selected mailbox was deleted", b"CLOSED")
    return responses.ok("Deleted")


async def rename(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.3.5: with everything below; the inbox gives its messages and stays."""
    old_name, new_name = grammar.two_mailboxes(cursor)
    old, new = names.to_path(old_name), names.to_path(new_name.removesuffix(names.DELIMITER))
    infos = await _infos(session)
    if new in infos:
        return _EXISTS
    if old == INBOX:
        await _make_superiors(session, new, infos)
        return await _rename_inbox(session, infos[INBOX], new)
    moved = tree.moved(infos, old, new)
    if not moved:
        raise NoSuchMailbox("There is no such mailbox")
    if new[: len(old)] == old:
        return responses.no("A mailbox cannot go below itself", b"CANNOT")
    if any(target in infos for target in moved.values()):
        return _EXISTS
    for target in moved.values():
        names.to_path(names.from_path(target))
    await _make_superiors(session, new, infos)
    for path in tree.tops(moved):
        await session.store.edit_mailbox(session.account, RenameMailbox(path, moved[path]))
    return responses.ok("Renamed")


async def _rename_inbox(session: Session, inbox: MailboxInfo, new: Path) -> Completion:
    await _make(session, new, None)
    target = await session.find(new)
    snapshot = await session.store.snapshot(session.account, inbox.id, 0)
    if snapshot.uids:
        copied = await session.store.copy(session.account, inbox.id, snapshot.uids, target.id, move=True)
        session.notice(inbox.id, copied.modseq)
    return responses.ok("The inbox gave its messages")


async def subscribe(session: Session, cursor: Cursor, subscribed: bool) -> Completion:
    """RFC 3501 sections 6.3.6 and 6.3.7.  The mailbox need not exist."""
    path = names.to_path(grammar.mailbox(cursor))
    await session.store.edit_mailbox(session.account, Subscribe(path, subscribed))
    return responses.ok("Noted")


# ---------------------------------------------------------------- the tree is shown


async def list_mailboxes(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.3.8, RFC 3348 and RFC 6154."""
    request = grammar.list_request(cursor)
    if request.patterns == ("",):
        return _delimiter(session, b"LIST")
    infos = {path: info for path, info in (await _infos(session)).items() if LOOKUP in info.rights}
    needs_subscriptions = request.only_subscribed or request.show_subscribed
    subscribed = await session.store.subscriptions(session.account) if needs_subscriptions else frozenset()
    for entry in tree.list_entries(infos, subscribed, request):
        _show(session, b"LIST", entry)
    return responses.ok("That is all")


async def list_subscribed(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.3.9."""
    request = grammar.lsub_request(cursor)
    if request.patterns == ("",):
        return _delimiter(session, b"LSUB")
    subscribed = await session.store.subscriptions(session.account)
    for entry in tree.lsub_entries(subscribed, request):
        _show(session, b"LSUB", entry)
    return responses.ok("That is all")


def _delimiter(session: Session, word: bytes) -> Completion:
    session.stream.write(responses.untagged(word + b' (\\Noselect) "/" ""'))
    return responses.ok("That is the delimiter")


def _show(session: Session, word: bytes, entry: tree.Entry) -> None:
    attributes = b" ".join(attribute.encode("ascii") for attribute in entry.attributes)
    session.stream.write(b'* %b (%b) "/" %b\r\n' % (word, attributes, session.mailbox(entry.path)))


async def namespace(session: Session, cursor: Cursor) -> Completion:
    """RFC 2342: the user's own mailboxes, and those of others, by owner."""
    cursor.expect_end()
    others = b"NIL"
    if ISharingView.providedBy(session.store):
        path = await ISharingView(session.store).namespace(session.account)
        prefix = responses.namespace_prefix(names.from_path(path) + names.DELIMITER, session.speaks_utf8)
        others = b"((" + prefix + b' "/"))'
    session.stream.write(responses.untagged(b'NAMESPACE (("" "/")) ' + others + b" NIL"))
    return responses.ok("That is all")


async def status(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.3.10."""
    name, items = grammar.status(cursor)
    info = await session.find(names.to_path(name))
    require(info.rights, READ)
    values = {
        b"MESSAGES": b"%d" % info.messages,
        b"UIDNEXT": b"%d" % info.uid_next,
        b"UIDVALIDITY": b"%d" % info.uid_validity,
        b"UNSEEN": b"%d" % info.unseen,
        b"RECENT": b"%d" % (await _count_recent(session, info) if b"RECENT" in items else 0),
        b"MAILBOXID": responses.object_id(info.id),
    }
    told = b" ".join(item + b" " + values[item] for item in items)
    session.stream.write(
        responses.untagged(b"STATUS " + responses.mailbox(name, session.speaks_utf8) + b" (" + told + b")")
    )
    return responses.ok("That is all")


async def _count_recent(session: Session, info: MailboxInfo) -> int:
    """Count what no session has claimed, and what this one has."""
    unclaimed = info.uid_next - info.recent_uid
    view = session.view
    if info.messages == info.uid_next - 1 or unclaimed > _COUNTED:
        count = min(unclaimed, info.messages)
    else:
        wanted = range(info.recent_uid, info.uid_next)
        count = 0
        async for rows in session.store.rows(session.account, info.id, wanted, Want.NOTHING):
            count += len(rows)
    if view is not None and view.mailbox_id == info.id and not session.read_only:
        count += view.recent_count
    return count
