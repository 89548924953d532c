"""SELECT, EXAMINE, CLOSE and UNSELECT: which mailbox the session is in."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from mailfw.imap import grammar, names, responses
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion, untagged
from mailfw.imap.view import View
from mailfw.mail.failure import NoPermission
from mailfw.mail.rights import EXPUNGE, INSERT, SEE, TRASH, WRITE

if TYPE_CHECKING:
    from mailfw.imap.server import Session


async def select(session: Session, cursor: Cursor, read_only: bool) -> Completion:
    """RFC 3501 sections 6.3.1 and 6.3.2.  Whatever goes wrong, no mailbox is selected afterwards."""
    name = grammar.mailbox(cursor)
    session.deselect()
    info = await session.find(names.to_path(name))
    session.watched = info.id  # what happens from here on is either in the snapshot or noticed after it
    recent = info.recent_uid if read_only else await session.store.claim_recent(session.account, info.id)
    snapshot = await session.store.snapshot(session.account, info.id, 0)
    view = View(snapshot)
    view.claim_recent(recent)
    view.take_updates(expunges_allowed=True)
    session.rights = snapshot.info.rights
    # RFC 4314 section 5.2: whoever can change nothing is told so.
    read_only = read_only or session.rights.isdisjoint({INSERT, EXPUNGE, SEE, TRASH, WRITE})
    session.view, session.read_only = view, read_only
    _describe(session, view)
    if read_only:
        return responses.ok("Look around", b"READ-ONLY")
    return responses.ok("Go ahead", b"READ-WRITE")


def _describe(session: Session, view: View) -> None:
    write = session.stream.write
    write(responses.known_flags(tuple(sorted(view.keywords)), session.flag_rights))
    write(untagged(b"%d EXISTS" % len(view)))
    write(untagged(b"%d RECENT" % view.recent_count))
    unseen = view.first_unseen()
    if unseen is not None:
        session.say(b"OK", "The first that was not read", b"UNSEEN %d" % unseen)
    session.say(b"OK", "UIDs valid", b"UIDVALIDITY %d" % view.uid_validity)
    session.say(b"OK", "The next UID", b"UIDNEXT %d" % view.uid_next)
    session.say(b"OK", "Whatever its name", b"MAILBOXID " + responses.object_id(view.mailbox_id))


async def close(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.4.2: expunge without a word, then leave."""
    cursor.expect_end()
    view, read_only = session.selected, session.read_only
    session.deselect()
    if not read_only:
        with suppress(NoPermission):  # RFC 4314 section 4: CLOSE is not refused to whoever may not expunge
            await session.store.expunge(session.account, view.mailbox_id, None)
    return responses.ok("Closed")


async def unselect(session: Session, cursor: Cursor) -> Completion:
    """RFC 3691: leave, and expunge nothing."""
    cursor.expect_end()
    session.deselect()
    return responses.ok("Left")
