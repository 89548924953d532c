"""EHLO, HELO, STARTTLS, AUTH and XCLIENT: who is there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mailfw.mail.envelope import Client
from mailfw.mail.reply import Reply
from mailfw.smtp import authentication, grammar, replies
from mailfw.smtp.extensions.xclient import parse_xclient
from mailfw.smtp.replies import Rejected, encode
from mailfw.smtp.transaction import heed
from mailfw.wire.stream import Stream

if TYPE_CHECKING:
    from mailfw.smtp.server import Session


async def ehlo(session: Session, argument: str) -> Reply:
    """RFC 5321 section 4.1.1.1; LHLO is the same (RFC 2033 section 4.1)."""
    return await _meet(session, argument, True) or session.reception.announcement(session.offer())


async def helo(session: Session, argument: str) -> Reply:
    """RFC 5321 section 4.1.1.1."""
    return await _meet(session, argument, False) or Reply(250, "", session.settings.hostname)


async def _meet(session: Session, argument: str, extended: bool) -> Reply | None:
    """Learn the client's name; a refusal leaves all as it was (RFC 5321 section 4.1.4)."""
    junk = session.count_junk()
    if junk is not None:
        return junk
    origin, told, name = session.origin, session.told, grammar.parse_helo(argument)
    client = Client(
        origin.service,
        origin.address,
        origin.port,
        told.helo or name,
        extended if told.extended is None else told.extended,
        session.stream.tls_version,
        session.client.account,
        _certificate(session.stream),
        origin.findings.copy(),
    )
    refusal = heed(await session.reception.policies.on_helo(client), client)
    if refusal is None:
        session.client = client
        await session.drop_transaction()
    return refusal


def _certificate(stream: Stream) -> str | None:
    """Return whom a client certificate is for that TLS has verified, where certificates are asked for."""
    names: tuple[str, ...] = getattr(stream.tls, "client_names", tuple)()
    return names[0] if names else None


async def starttls(session: Session, argument: str) -> Reply | None:
    """RFC 3207 section 4."""
    if session.settings.tls is None:
        return replies.NOT_IMPLEMENTED
    if session.stream.is_secure:
        return replies.TLS_ALREADY
    if session.transaction is not None:
        return replies.IN_TRANSACTION
    if session.client.account is not None:
        return replies.AUTH_ALREADY
    grammar.expect_nothing(argument)
    session.stream.write(encode(replies.START_TLS))
    session.stream.start_tls(session.settings.tls)
    session.client = session.origin  # section 4.2: all that was learnt in the clear is forgotten
    return None


async def auth(session: Session, argument: str) -> Reply:
    """RFC 4954 section 4."""
    logins = session.reception.logins
    if logins is None:
        return replies.NOT_IMPLEMENTED
    if not session.client.helo:
        return replies.HELO_FIRST
    if session.client.account is not None:
        return replies.AUTH_ALREADY
    if session.transaction is not None:
        return replies.IN_TRANSACTION
    if not logins.permits(session.stream):
        return replies.AUTH_NEEDS_TLS
    mechanism, initial = grammar.parse_auth(argument)
    if mechanism not in session.reception.mechanisms(session.stream):
        return replies.UNKNOWN_MECHANISM
    try:
        login = await authentication.authenticate(logins, session.stream, mechanism, initial)
    except Rejected as rejected:
        return session.count_login(rejected.reply)
    session.logout = login.logout
    session.client = replace(session.client, account=str(login.account.name))
    return replies.AUTH_OK


async def xclient(session: Session, argument: str) -> Reply | None:
    """Take a trusted server's word for whose connection this is, and begin anew with the greeting."""
    if not session.settings.xclient.have(session.peer):
        return replies.NOT_TRUSTED
    if session.transaction is not None:
        return replies.IN_TRANSACTION
    told = parse_xclient(argument)
    if not session.begin_anew(told):
        return replies.TOO_MANY_CONNECTIONS
    await session.greet()
    return None
