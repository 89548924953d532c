"""SELECT, EXAMINE, CLOSE and UNSELECT: which mailbox the session is in."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from mailfw.imap import grammar, names, responses, telling
from mailfw.imap.commands import listing
from mailfw.imap.grammar import Resync
from mailfw.imap.lexer import BadSyntax, Cursor, UIDRequired
from mailfw.imap.responses import Completion, untagged
from mailfw.imap.resync import Missed
from mailfw.imap.view import View
from mailfw.mail.failure import NoPermission
from mailfw.mail.mailbox import MailboxInfo
from mailfw.mail.rights import EXPUNGE, INSERT, SEE, TRASH, WRITE

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: Answers are handed over in portions, for slow clients.
_PORTION = 1000


async def select(session: Session, cursor: Cursor, read_only: bool) -> Completion:
    """RFC 3501 sections 6.3.1 and 6.3.2.  Whatever goes wrong, no mailbox is selected afterwards."""
    request = grammar.select(cursor)
    _check(session, request.resync)
    if session.view is not None:
        session.say(b"OK", "The mailbox before it is closed", b"CLOSED")  # RFC 7162 section 3.2.11
    session.deselect()
    if request.condstore:
        await telling.know_modseqs(session)
    info = await session.find(names.to_path(request.mailbox))
    recent = await _claim_recent(session, info, read_only)
    snapshot = await telling.whole(session, info.id)
    view = View(snapshot, session.tells_modseq, session.uid_only)
    missed = await _missed(session, view, request.resync)
    if recent is not None:
        view.claim_recent(recent)
    view.take_updates(expunges_allowed=True)
    session.rights = snapshot.info.rights
    # RFC 4314 section 5.2: whoever can change nothing is told so.  There \Seen, which is each user's own, does not
    # count; but some clients store nothing at all where they have heard READ-ONLY.
    read_only = read_only or session.rights.isdisjoint({INSERT, EXPUNGE, SEE, TRASH, WRITE})
    session.view, session.read_only = view, read_only
    if session.notifications is not None:
        session.notifications.forget_selected(session)
    _describe(session, view, info, request.written)
    if missed is not None:
        await _tell_missed(session, view, missed)
    if read_only:
        return responses.ok("Look around", b"READ-ONLY")
    return responses.ok("Go ahead", b"READ-WRITE")


def _check(session: Session, wanted: Resync | None) -> None:
    if wanted is None:
        return
    if b"QRESYNC" not in session.enabled:  # RFC 7162 section 3.2.5
        raise BadSyntax("ENABLE QRESYNC first")
    if wanted.numbers is not None and session.uid_only:  # RFC 9586 section 3.7
        raise UIDRequired("Messages have UIDs only, now that UIDONLY is enabled")


async def _claim_recent(session: Session, info: MailboxInfo, read_only: bool) -> int | None:
    """Return the UID from which on messages are \\Recent; IMAP4rev2 knows of no such thing."""
    if session.is_rev2:
        return None
    return info.recent_uid if read_only else await session.store.claim_recent(session.account, info.id)


async def _missed(session: Session, view: View, wanted: Resync | None) -> Missed | None:
    """Return what a client that comes back has missed, if it has the right mailbox in mind; the view knows it too."""
    if wanted is None or wanted.uid_validity != view.uid_validity:
        return None
    # A client that knows of later changes than there are knows another mailbox: one put back from a backup, say.
    since = wanted.modseq if wanted.modseq <= view.modseq else 0
    changes = await session.store.snapshot(session.account, view.mailbox_id, since)
    if since:
        view.absorb(changes)
    return Missed(wanted, changes, not since)


def _describe(session: Session, view: View, info: MailboxInfo, written: str) -> None:
    write = session.stream.write
    write(responses.known_flags(tuple(sorted(view.keywords)), session.flag_rights))
    write(untagged(b"%d EXISTS" % len(view)))
    if session.is_rev2:  # RFC 9051 section 6.3.2
        write(listing.named_line(session, info.path, written))
    else:
        write(untagged(b"%d RECENT" % view.recent_count))
        unseen = None if view.uid_only else view.first_unseen()
        if unseen is not None:
            session.say(b"OK", "The first that was not read", b"UNSEEN %d" % unseen)
    session.say(b"OK", "UIDs valid", b"UIDVALIDITY %d" % view.uid_validity)
    session.say(b"OK", "The next UID", b"UIDNEXT %d" % view.uid_next)
    if session.offers(b"CONDSTORE"):
        session.say(b"OK", "Up to here", b"HIGHESTMODSEQ %d" % max(view.settled, 1))
    session.say(b"OK", "Whatever its name", b"MAILBOXID " + responses.object_id(view.mailbox_id))


async def _tell_missed(session: Session, view: View, missed: Missed) -> None:
    """RFC 7162 section 3.2.5.1: what is gone, then what has changed."""
    stream = session.stream
    stream.write(responses.vanished(missed.gone(view), earlier=True))
    uids = missed.changed()
    for start in range(0, len(uids), _PORTION):
        lines = [_fetched(session, view, uid) for uid in uids[start : start + _PORTION]]
        stream.write(b"".join(lines))
        await stream.drain()
        await stream.give_way()


def _fetched(session: Session, view: View, uid: int) -> bytes:
    number = view.number_of(uid)
    if number is None:
        return b""
    return responses.fetched_flags(
        number, view.flags_of(uid), view.is_recent(uid), uid, view.modseq_of(uid), session.uid_only
    )


async def close(session: Session, cursor: Cursor) -> Completion:
    """
    RFC 3501 section 6.4.2: expunge without a word, then leave.

    No HIGHESTMODSEQ is told: what others have expunged meanwhile the client does not know (RFC 7162 section 3.2.8).
    """
    cursor.expect_end()
    if not session.read_only:
        with suppress(NoPermission):  # RFC 4314 section 4: CLOSE is not refused to whoever may not expunge
            await session.store.expunge(session.account, session.selected.mailbox_id, None)
    session.deselect()
    return responses.ok("Closed")


async def unselect(session: Session, cursor: Cursor) -> Completion:
    """RFC 3691: leave, and expunge nothing."""
    cursor.expect_end()
    session.deselect()
    return responses.ok("Left")
