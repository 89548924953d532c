"""EXPUNGE and UID EXPUNGE: removing what has \\Deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailfw.imap import grammar, responses, telling
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion

if TYPE_CHECKING:
    from mailfw.imap.server import Session


async def expunge(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.4.3."""
    cursor.expect_end()
    return await _expunge(session, None)


async def uid_expunge(session: Session, cursor: Cursor) -> Completion:
    """RFC 4315 section 2.1."""
    wanted = grammar.uid_expunge(cursor)
    return await _expunge(session, session.selected.resolve(wanted, by_uid=True))


async def _expunge(session: Session, uids: Sequence[int] | None) -> Completion:
    if session.read_only:
        return responses.READ_ONLY
    mailbox_id = session.selected.mailbox_id
    expunged = await session.store.expunge(session.account, mailbox_id, uids)
    if not expunged.uids:
        return responses.ok("There was nothing to expunge")
    session.notice(mailbox_id, expunged.modseq)
    return responses.ok("Expunged", await telling.up_to_here(session, by_uid=uids is not None))
