"""CREATE, DELETE, RENAME, SUBSCRIBE and UNSUBSCRIBE: the tree of mailboxes changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import grammar, grammar_mailboxes, names, responses, tree
from mailfw.imap.commands import listing, metadata
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion
from mailfw.mail.failure import MailboxExists, NoSuchMailbox, RoleTaken
from mailfw.mail.mailbox import (
    INBOX,
    CreateMailbox,
    DeleteMailbox,
    MailboxInfo,
    Path,
    RenameMailbox,
    Role,
    Subscribe,
)

if TYPE_CHECKING:
    from mailfw.imap.server import Session

_ROLE_TAKEN = responses.no("Another mailbox is for that use", b"USEATTR")
_EXISTS = responses.no("There is such a mailbox already", b"ALREADYEXISTS")


async def create(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.3.3 and RFC 6154 section 3.  A delimiter at the end means nothing here."""
    try:
        wanted = grammar_mailboxes.create(cursor)
    except grammar_mailboxes.UseRefused as refused:
        return responses.no(str(refused), b"USEATTR")
    path = _path(wanted.name)
    if _is_second_inbox(path):
        return responses.no("There is one inbox", b"CANNOT")
    infos = await _infos(session)
    if path in infos:
        return _EXISTS
    if wanted.role is not None and any(info.role is wanted.role for info in infos.values()):
        return _ROLE_TAKEN
    await _make_superiors(session, path, infos)
    try:
        await _make(session, path, wanted.role)
    except RoleTaken:
        return _ROLE_TAKEN
    made = await session.find(path)
    _tell_name(session, path, wanted)
    return responses.ok("Created", b"MAILBOXID " + responses.object_id(made.id))  # RFC 8474 section 4.1


def _path(name: str) -> Path:
    """Return the path of a name; some clients write a delimiter behind whatever has, or could have, others below."""
    return names.to_path(name.removesuffix(names.DELIMITER))


def _is_second_inbox(path: Path) -> bool:
    """Whether this is what Apple's clients make where they take the inbox for the top of the tree."""
    first = path[0].lower()
    return first == "inbox.inbox" or first.startswith("inbox.inbox.") or [each.lower() for each in path[:2]] == _TWICE


_TWICE = ["inbox", "inbox"]


def _tell_name(session: Session, path: Path, wanted: grammar_mailboxes.Create) -> None:
    """RFC 9051 section 6.3.4: a client hears what its name for a mailbox was made into."""
    if session.is_rev2 and wanted.written.removesuffix(names.DELIMITER) != names.from_path(path):
        session.stream.write(listing.named_line(session, path, wanted.written))


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
    path = _path(grammar.mailbox(cursor))
    if path == INBOX:
        return responses.no("The inbox cannot be deleted", b"CANNOT")
    infos = await _infos(session)
    if path not in infos:
        if path in tree.superiors(infos):
            return responses.no("That name only stands for what is below it", b"HASCHILDREN")
        raise NoSuchMailbox("There is no such mailbox")
    await session.store.edit_mailbox(session.account, DeleteMailbox(path))
    if session.view is not None and session.view.mailbox_id == infos[path].id:
        session.deselect()
        session.say(b"OK", "The selected mailbox was deleted", b"CLOSED")
    return responses.ok("Deleted")


async def rename(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.3.5: with everything below; the inbox gives its messages and stays."""
    old_name, wanted = grammar_mailboxes.rename(cursor)
    old, new = _path(old_name), _path(wanted.name)
    if _is_second_inbox(new):
        return responses.no("There is one inbox", b"CANNOT")
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
    if session.is_rev2:  # RFC 9051 section 6.3.9.7
        session.stream.write(listing.named_line(session, new, names.from_path(old)))
    return responses.ok("Renamed")


async def _rename_inbox(session: Session, inbox: MailboxInfo, new: Path) -> Completion:
    await _make(session, new, None)
    target = await session.find(new)
    await metadata.copy_annotations(session, inbox, target)
    snapshot = await session.store.snapshot(session.account, inbox.id, 0)
    if snapshot.uids:
        copied = await session.store.copy(session.account, inbox.id, snapshot.uids, target.id, move=True)
        session.notice(inbox.id, copied.modseq)
    return responses.ok("The inbox gave its messages")


async def subscribe(session: Session, cursor: Cursor, subscribed: bool) -> Completion:
    """RFC 3501 sections 6.3.6 and 6.3.7.  The mailbox need not exist."""
    path = _path(grammar.mailbox(cursor))
    await session.store.edit_mailbox(session.account, Subscribe(path, subscribed))
    return responses.ok("Noted")
