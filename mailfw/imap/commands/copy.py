"""COPY and MOVE, by message number and by UID."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailfw.imap import grammar, limiting, names, responses, telling
from mailfw.imap.keywords import in_use
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion
from mailfw.imap.view import View
from mailfw.mail.failure import NoSuchMailbox
from mailfw.mail.mailbox import NO_FLAGS, Copied, Flags, MailboxInfo
from mailfw.mail.personal import require
from mailfw.mail.rights import INSERT

if TYPE_CHECKING:
    from mailfw.imap.server import Session


async def copy(session: Session, cursor: Cursor, by_uid: bool) -> Completion:
    """RFC 3501 section 6.4.7, with the COPYUID of RFC 4315."""
    copied = await _copy(session, cursor, by_uid, move=False)
    if isinstance(copied, Completion):
        return copied
    return responses.ok("Copied", _copy_uid(copied))


async def move(session: Session, cursor: Cursor, by_uid: bool) -> Completion:
    """RFC 6851: the client learns the new UIDs before it hears that the old ones are gone."""
    if session.read_only:
        return responses.READ_ONLY
    copied = await _copy(session, cursor, by_uid, move=True)
    if isinstance(copied, Completion):
        return copied
    if copied.uids:
        session.say(b"OK", "Moved", _copy_uid(copied))
        return responses.ok("Done", await telling.up_to_here(session, by_uid))
    return responses.ok("There was nothing to move")


async def _copy(session: Session, cursor: Cursor, by_uid: bool, move: bool) -> Copied | Completion:
    wanted, name = grammar.copy(cursor)
    view = session.selected
    uids: Sequence[int] = view.resolve(wanted, by_uid)
    target = await find_target(session, name)
    if isinstance(target, Completion):
        return target
    if not by_uid:
        await telling.refresh(session)
        if any(map(view.is_gone, uids)):  # RFC 2180 section 4.4.1: all or none
            return responses.no("Some of the messages are gone", b"EXPUNGEISSUED")
    if not uids:
        return responses.ok("Nothing to take")
    refused = None if move else limiting.refusal(session, len(uids))
    if refused is not None:
        return refused
    uids = limiting.within(session, uids)
    try:
        await session.vocabulary.check(session.store, session.account, target.id, _keywords(view, uids))
        copied = await session.store.copy(session.account, view.mailbox_id, uids, target.id, move)
    except NoSuchMailbox:
        return TRY_CREATE
    telling.made(session, target.id, [new for _, new in copied.uids], copied.modseq)
    if move:
        session.notice(view.mailbox_id, copied.modseq)
    return copied


def _keywords(view: View, uids: Sequence[int]) -> Flags:
    return in_use(view.worded_flags(view.numbers_of(uids), lambda flags, _: flags)) if view.keywords else NO_FLAGS


def _copy_uid(copied: Copied) -> bytes | None:
    """``resp-code-copy = "COPYUID" SP nz-number SP uid-set SP uid-set``."""
    if not copied.uids:
        return None
    old, new = zip(*copied.uids, strict=True)
    return b"COPYUID %d %b %b" % (copied.uid_validity, responses.uid_set(old), responses.uid_set(new))


#: The answer to a client that files into a mailbox which is not there (RFC 3501 section 7.1).
TRY_CREATE = responses.no("There is no such mailbox", b"TRYCREATE")


async def find_target(session: Session, name: str) -> MailboxInfo | Completion:
    """Return the mailbox that messages are to go into, or the answer that invites the client to make it."""
    path = names.to_path(name)
    try:
        info = await session.find(path)
        require(info.rights, INSERT)
    except NoSuchMailbox:
        return TRY_CREATE
    return info
