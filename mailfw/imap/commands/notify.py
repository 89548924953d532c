"""NOTIFY (RFC 5465): what the client wants to hear of without asking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import grammar_notify, responses, telling
from mailfw.imap.grammar_fetch import Item
from mailfw.imap.grammar_notify import Event
from mailfw.imap.lexer import Cursor
from mailfw.imap.notifications import Notifications
from mailfw.imap.responses import Completion

if TYPE_CHECKING:
    from mailfw.imap.server import Session

_EVENTS = b"BADEVENT (%b)" % b" ".join(event.value for event in Event)


async def notify(session: Session, cursor: Cursor) -> Completion:
    """RFC 5465 section 3.1.  NOTIFY NONE leaves what every client hears: it must know its message numbers."""
    try:
        wishes = grammar_notify.notify(cursor)
    except grammar_notify.UnknownEvent:
        return responses.no("There is no such event here", _EVENTS)
    if wishes is None:
        session.notifications = None
        return responses.ok("No more than usual")
    if any(Item.MODSEQ in group.fetch for group in wishes.groups):
        await telling.know_modseqs(session)
    notifications = Notifications(wishes)
    # What happens while we look is heard of, and told afterwards.
    before, session.notifications = session.notifications, notifications
    try:
        await notifications.begin(session, wishes.status)
    except Exception:
        session.notifications = before
        raise
    return responses.ok("You will hear of it")
