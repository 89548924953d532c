"""APPEND: a message from the client, straight into a draft on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import grammar, responses
from mailfw.imap.commands.copy import TRY_CREATE, find_target
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.responses import Completion
from mailfw.interfaces import IDraft
from mailfw.mail.failure import NoSuchMailbox
from mailfw.mail.mailbox import MailboxInfo, NewMessage

if TYPE_CHECKING:
    from mailfw.imap.server import Session


async def append(session: Session, cursor: Cursor) -> Completion:
    """
    RFC 3501 section 6.3.11, with the APPENDUID of RFC 4315.

    Whatever can be refused is refused before the client sends the message.
    """
    request = grammar.append(cursor)
    literal = session.reader.pending
    if literal is None:
        raise BadSyntax("Expected the message as a literal")
    if literal.binary:
        return responses.bad("A binary literal cannot stand here")
    if literal.size > session.settings.append_limit:
        return responses.no("That message is too large", b"TOOBIG")
    if not literal.size:
        return responses.no("A message cannot be empty")
    target = await find_target(session, request.mailbox)
    if isinstance(target, Completion):
        return target
    draft = await session.open_draft(literal.size)
    try:
        return await _receive(session, draft, target, request)
    finally:
        await draft.close()


async def _receive(session: Session, draft: IDraft, target: MailboxInfo, request: grammar.Append) -> Completion:
    sink = _Sink(draft)
    await session.stream.read_into(sink.write, session.reader.accept_literal())
    await session.reader.end_of_command()
    if sink.failure is not None:
        raise sink.failure
    if sink.has_nul:
        return responses.bad("A message cannot have NUL in it")
    message = NewMessage(draft, request.flags, request.received)
    try:
        [appended] = await session.store.append(session.account, target.id, [message])
    except NoSuchMailbox:
        return TRY_CREATE
    session.notice(target.id, appended.modseq)
    return responses.ok("Kept", b"APPENDUID %d %d" % (target.uid_validity, appended.uid))


class _Sink:
    """Writes to a draft until that fails; what still comes is let pass, since the client sends it all."""

    def __init__(self, draft: IDraft) -> None:
        self._draft = draft
        self.failure: Exception | None = None
        self.has_nul = False

    async def write(self, octets: bytes) -> None:
        """Take the next octets."""
        if self.failure is not None or self.has_nul:
            return
        if b"\0" in octets:  # CHAR8 = %x01-ff
            self.has_nul = True
            return
        try:
            await self._draft.write(octets)
        except Exception as failure:
            self.failure = failure
