"""What a session has to tell of its selected mailbox, and of what else NOTIFY has asked for: when, and in what form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted.logger import Logger

from mailfw.imap import responses
from mailfw.imap.capabilities import CONDSTORE
from mailfw.imap.commands import contexts
from mailfw.imap.farewell import Farewell
from mailfw.imap.lexer import BadSyntax
from mailfw.imap.responses import Manner
from mailfw.imap.updates import Update
from mailfw.imap.view import View
from mailfw.mail import failure
from mailfw.mail.mailbox import MailboxInfo, Snapshot
from mailfw.mail.rights import Rights
from mailfw.wire.interruptions import Disconnected

if TYPE_CHECKING:
    from mailfw.imap.server import Session

log = Logger()

#: Updates are handed over in portions, for slow clients.
_PORTION = 1000


async def tell_unasked(session: Session) -> None:
    """Say what NOTIFY has asked for; there may be a command, but none under way."""
    wished = session.notifications
    if wished is None:
        return
    if wished.is_too_much:
        session.notifications = None
        session.say(b"OK", "Too much has happened", b"NOTIFICATIONOVERFLOW")
        return
    try:
        await wished.tell_selected(session)
        await wished.tell(session)
    except (Disconnected, Farewell):
        raise
    except Exception:
        log.failure("IMAP {peer} {account!r}: nothing to notify", peer=session.stream.peer[0], account=session.account)


async def catch_up(session: Session, expunges_allowed: bool, with_uid: bool = False) -> None:
    """Bring the view up to date, and tell the client what it may be told."""
    if session.view is None:
        return
    try:
        await _suit(session, session.view)
        await refresh(session)
    except (failure.NoSuchMailbox, failure.NoSuchAccount):
        raise Farewell("The selected mailbox was deleted")
    except failure.NoPermission:
        raise Farewell("The selected mailbox is no longer shared with you")
    except Farewell:
        raise
    except Exception:
        log.failure("IMAP {peer} {account!r}: no news to be had", peer=session.stream.peer[0], account=session.account)
    if session.contexts:
        await contexts.tell_removed(session)
    if told := session.view.take_updates(expunges_allowed, session.tells_vanished):
        await _tell(session, told, session.manner(with_uid))
    if b"QRESYNC" in session.enabled and session.view.settled < session.view.modseq:
        # RFC 7162 section 3.2: who was told of later changes must come back for what is gone.
        session.say(b"OK", "Some are gone, of which you will hear", b"HIGHESTMODSEQ %d" % max(session.view.settled, 1))
    if session.contexts:
        await contexts.tell_added(session)


async def _tell(session: Session, told: list[Update], manner: Manner) -> None:
    for start in range(0, len(told), _PORTION):
        session.stream.write(responses.updates(told[start : start + _PORTION], manner))
        if start:
            await session.stream.drain()
            await session.stream.give_way()


async def up_to_here(session: Session, by_uid: bool) -> bytes | None:
    """Tell all there is to tell, and return the HIGHESTMODSEQ of then (RFC 7162 section 3.2.7) if it is wanted."""
    if not session.tells_modseq:
        return None
    await catch_up(session, expunges_allowed=True, with_uid=by_uid)
    return b"HIGHESTMODSEQ %d" % session.selected.settled


def made(session: Session, mailbox_id: str, uids: Iterable[int], modseq: int) -> None:
    """Note messages that a command has put into a mailbox."""
    if session.notifications is not None:
        session.notifications.made(session, mailbox_id, uids)
    session.notice(mailbox_id, modseq)


async def know_modseqs(session: Session) -> None:
    """
    Enable CONDSTORE, as every command does that asks for it (RFC 7162 section 3.1).

    After it the view knows each message's modification sequence.
    """
    if not session.tells_modseq:
        if not session.offers(CONDSTORE):
            raise BadSyntax("There is no CONDSTORE here")
        session.enabled |= {CONDSTORE}
    if session.view is not None and not session.view.has_modseqs:
        await _learn_modseqs(session, session.view)


async def _learn_modseqs(session: Session, view: View) -> None:
    whole = await session.store.snapshot(session.account, view.mailbox_id, 0)
    view.learn_modseqs(whole)
    if whole.info.modseq != view.modseq:
        session.news.hear(whole.info.modseq)
        await refresh(session)
    session.say(b"OK", "Up to here", b"HIGHESTMODSEQ %d" % max(view.settled, 1))


async def _suit(session: Session, view: View) -> None:
    """Let a view be what the client has enabled since it was made."""
    view.uid_only = session.uid_only
    if session.is_rev2:
        view.forget_recent()
    if session.tells_modseq and not view.has_modseqs:
        await _learn_modseqs(session, view)


async def refresh(session: Session) -> None:
    """Bring the view up to date."""
    view = session.selected
    if not session.news.have_come(view.mailbox_id, view.modseq):
        return
    first_new = view.uids[-1] + 1 if view.uids else 1
    info = await _absorb_changes(session, view)
    if info.recent_uid >= info.uid_next or session.is_rev2:
        return
    if session.read_only:
        view.claim_recent(max(first_new, info.recent_uid))
        return
    low = await session.store.claim_recent(session.account, view.mailbox_id)
    if session.news.have_come(view.mailbox_id, view.modseq):  # what came in between was claimed with the rest
        await _absorb_changes(session, view)
    view.claim_recent(low)


async def whole(session: Session, mailbox_id: str) -> Snapshot:
    """Return all of a mailbox that is about to be selected; from now on its changes matter."""
    session.watched = mailbox_id
    mark = session.news.mark(mailbox_id)
    snapshot = await session.store.snapshot(session.account, mailbox_id, 0)
    session.news.taken(mark)
    return snapshot


async def _absorb_changes(session: Session, view: View) -> MailboxInfo:
    mark = session.news.mark(view.mailbox_id)
    snapshot = await session.store.snapshot(session.account, view.mailbox_id, view.modseq)
    if snapshot.info.uid_validity != view.uid_validity:  # RFC 3501 section 2.3.1.1: not within a session
        raise Farewell("The selected mailbox was numbered anew")
    view.absorb(snapshot)
    session.news.taken(mark)
    _note_rights(session, view, snapshot.info.rights)
    return snapshot.info


def _note_rights(session: Session, view: View, rights: Rights) -> None:
    """RFC 4314 section 5.1.1: a client is told when it may change other flags than before."""
    before, session.rights = session.flag_rights, rights
    if session.flag_rights != before:
        session.stream.write(responses.known_flags(tuple(sorted(view.keywords)), session.flag_rights))
