"""MAIL, RCPT, DATA, BDAT and RSET: the messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailfw.mail.envelope import NO_OPTIONS, Service
from mailfw.mail.reply import Reply
from mailfw.smtp import grammar, replies
from mailfw.smtp.body import ENDLESS, GRACE, skip_chunk
from mailfw.smtp.extensions import NO_MAIL_OPTIONS, read_mail_options, read_rcpt_options
from mailfw.smtp.replies import Rejected
from mailfw.smtp.transaction import Transaction

if TYPE_CHECKING:
    from mailfw.smtp.server import Session


async def mail(session: Session, argument: str) -> Reply:
    """RFC 5321 section 4.1.1.2."""
    client, settings = session.client, session.settings
    if not client.helo:
        return replies.HELO_FIRST
    if session.transaction is not None:
        return replies.NESTED_MAIL
    if settings.service is Service.SUBMISSION and settings.require_auth and not client.account:
        return replies.TLS_FIRST if settings.tls is not None and not session.may_authenticate else replies.AUTH_FIRST
    if session.has_had_enough:
        return replies.TOO_MANY_MESSAGES
    sender, parameters = grammar.parse_mail(argument)
    options = read_mail_options(parameters, session.offer()) if parameters else NO_MAIL_OPTIONS
    if not options.smtputf8 and not argument.isascii():
        return replies.NEEDS_SMTPUTF8
    transaction = Transaction(session.reception, client, sender, options)
    reply = await transaction.begin()
    if reply.code == 250:
        session.transaction = transaction
    return reply


async def rcpt(session: Session, argument: str) -> Reply:
    """RFC 5321 section 4.1.1.3."""
    transaction = session.transaction
    if transaction is None:
        return replies.MAIL_FIRST if session.client.helo else replies.HELO_FIRST
    if transaction.has_begun:
        return replies.CHUNKS_BEGUN
    recipient, parameters = grammar.parse_rcpt(argument)
    options = read_rcpt_options(parameters, session.offer()) if parameters else NO_OPTIONS
    if not argument.isascii() and not transaction.takes_international:
        return replies.NEEDS_SMTPUTF8
    return await transaction.add_recipient(recipient, options)


async def data(session: Session, argument: str) -> Reply | None:
    """RFC 5321 section 4.1.1.4."""
    transaction = session.transaction
    if transaction is None:
        return replies.MAIL_FIRST if session.client.helo else replies.HELO_FIRST
    if transaction.has_begun:
        return replies.CHUNKS_BEGUN  # RFC 3030 section 2: DATA and BDAT do not mix
    if transaction.is_binary:
        return replies.BINARY_NEEDS_BDAT  # RFC 3030 section 3
    if not transaction.has_recipients:
        return replies.NO_RECIPIENTS
    grammar.expect_nothing(argument)
    return _conclude(session, transaction, await transaction.receive(session.stream))


async def bdat(session: Session, argument: str) -> Reply | None:
    """
    RFC 3030 section 2.

    The octets of a chunk are read whatever is wrong with the command, or the connection ends: never are they commands.
    """
    try:
        length, last = grammar.parse_chunk(argument)
    except Rejected as rejected:
        session.end("a chunk without end")
        return rejected.reply
    refusal = _refuse_chunk(session)
    transaction = session.transaction
    if refusal is not None or transaction is None:
        return await _skip(session, length, refusal or replies.MAIL_FIRST)
    answers = await transaction.receive_chunk(session.stream, length, last)
    if last:
        return _conclude(session, transaction, answers)
    if transaction.is_endless:
        session.end("endless message")
    return answers[0]


def _refuse_chunk(session: Session) -> Reply | None:
    if session.transaction is None:
        return replies.MAIL_FIRST if session.client.helo else replies.HELO_FIRST
    if not session.transaction.has_recipients:
        return replies.NO_RECIPIENTS
    return replies.CHUNKS_BROKEN if session.transaction.is_broken else None


async def _skip(session: Session, length: int, refusal: Reply) -> Reply:
    if length > ENDLESS * session.settings.max_size + GRACE:
        session.end("endless message")
    else:
        await skip_chunk(session.stream, length)
    return refusal


def _conclude(session: Session, transaction: Transaction, answers: Sequence[Reply]) -> Reply:
    session.transaction = None
    if transaction.is_endless:
        session.end("endless message")
    if any(answer.code < 400 for answer in answers):
        session.count_message()
    for answer in answers[:-1]:
        session.stream.write(answer.encode())
    return answers[-1]


async def rset(session: Session, argument: str) -> Reply:
    """RFC 5321 section 4.1.1.5."""
    grammar.expect_nothing(argument)
    await session.drop_transaction()
    return session.count_junk() or replies.OK
