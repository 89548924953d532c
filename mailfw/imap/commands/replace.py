"""REPLACE: a message in the place of another, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import grammar_append, responses, telling
from mailfw.imap.commands.arriving import Refused, arriving
from mailfw.imap.commands.copy import TRY_CREATE, find_target
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.responses import Completion
from mailfw.mail.failure import NoSuchMailbox, NoSuchMessage
from mailfw.mail.personal import require
from mailfw.mail.rights import EXPUNGE, TRASH
from mailfw.optional import IReplacingMail

if TYPE_CHECKING:
    from mailfw.imap.server import Session

_GONE = responses.no("That message is gone", b"EXPUNGEISSUED")


async def replace(session: Session, cursor: Cursor, by_uid: bool) -> Completion:
    """RFC 8508: the client learns the new UID before it hears that the old message is gone."""
    store = session.store
    if not IReplacingMail.providedBy(store):
        return responses.bad("There is no such command")
    replacing: IReplacingMail = store
    wanted, name = grammar_append.replaced(cursor)
    if session.read_only:
        return responses.READ_ONLY
    uids = session.selected.resolve(wanted, by_uid)
    if len(uids) != 1:
        if by_uid:
            return _GONE
        raise BadSyntax("There is no such message")
    async with arriving(session, cursor) as messages:
        try:
            messages.begin()
            require(session.rights, TRASH, EXPUNGE)
            target = await find_target(session, name)
            if isinstance(target, Completion):
                return target
            await telling.refresh(session)
            if session.selected.is_gone(uids[0]):
                return _GONE
            arrived = await messages.finish(only_one=True)
        except Refused as refused:
            return refused.completion
        source = session.selected.mailbox_id
        try:
            [new] = await session.vocabulary.spell(store, session.account, target.id, arrived)
            replaced = await replacing.replace(session.account, source, uids[0], target.id, new)
        except NoSuchMessage:
            return _GONE
        except NoSuchMailbox:
            return TRY_CREATE
    session.notice(source, replaced.modseq)
    telling.made(session, target.id, [replaced.appended.uid], replaced.modseq)
    session.say(b"OK", "In its place", b"APPENDUID %d %d" % (target.uid_validity, replaced.appended.uid))
    return responses.ok("Replaced", await telling.up_to_here(session, by_uid))
