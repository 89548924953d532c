"""EXPUNGE and UID EXPUNGE: removing what has \\Deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailfw.imap import grammar, limiting, responses, telling
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion
from mailfw.mail.mailbox import DELETED

if TYPE_CHECKING:
    from mailfw.imap.server import Session


async def expunge(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.4.3."""
    cursor.expect_end()
    return await _expunge(session, None)


async def uid_expunge(session: Session, cursor: Cursor) -> Completion:
    """RFC 4315 section 2.1."""
    wanted, view = grammar.uid_expunge(cursor), session.selected
    uids: Sequence[int] = view.resolve(wanted, by_uid=True)
    if 0 < session.message_limit < len(uids) and not session.read_only:
        uids = limiting.within(session, [uid for uid in uids if DELETED in view.flags_of(uid)])
    return await _expunge(session, uids)


async def _expunge(session: Session, uids: Sequence[int] | None) -> Completion:
    if session.read_only:
        return responses.READ_ONLY
    mailbox_id = session.selected.mailbox_id
    expunged = await session.store.expunge(session.account, mailbox_id, uids)
    if not expunged.uids:
        return responses.ok("There was nothing to expunge")
    session.notice(mailbox_id, expunged.modseq)
    return responses.ok("Expunged", await telling.up_to_here(session, by_uid=uids is not None))
