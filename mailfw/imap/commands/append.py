"""APPEND: messages from the client, straight into a draft on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import grammar_append, responses, telling
from mailfw.imap.commands.arriving import Refused, arriving
from mailfw.imap.commands.copy import TRY_CREATE, find_target
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion
from mailfw.mail.failure import NoSuchMailbox

if TYPE_CHECKING:
    from mailfw.imap.server import Session


async def append(session: Session, cursor: Cursor) -> Completion:
    """
    RFC 3501 section 6.3.11 and RFC 3502: one message or several, all or none, with the APPENDUID of RFC 4315.

    Whatever can be refused is refused before the client sends the first.
    """
    name = grammar_append.mailbox(cursor)
    async with arriving(session, cursor) as messages:
        try:
            messages.begin()
            target = await find_target(session, name)
            if isinstance(target, Completion):
                return target
            new = await messages.finish()
        except Refused as refused:
            return refused.completion
        try:
            new = await session.vocabulary.spell(session.store, session.account, target.id, new)
            appended = await session.store.append(session.account, target.id, new)
        except NoSuchMailbox:
            return TRY_CREATE
    uids = [each.uid for each in appended]
    telling.made(session, target.id, uids, appended[-1].modseq)
    return responses.ok("Kept", b"APPENDUID %d %b" % (target.uid_validity, responses.uid_set(uids)))
