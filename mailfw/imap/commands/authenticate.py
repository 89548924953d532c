"""STARTTLS, AUTHENTICATE and LOGIN: from nobody to an account."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any

from twisted.cred.error import LoginFailed
from twisted.logger import Logger

from mailfw import sasl
from mailfw.imap import grammar, responses
from mailfw.imap.commands import general
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.responses import Completion
from mailfw.interfaces import IAccount
from mailfw.sasl.exchange import UsernamePassword

if TYPE_CHECKING:
    from mailfw.imap.server import Session

log = Logger()

#: A line of an exchange: RFC 4422 sets no limit; 12288 is what RFC 4954 section 4 asks SMTP servers to take.
_LINE = 12 * 1024
#: After so many failures the connection is closed, so that guessing costs a connection now and then.
FAILURES = 3

#: The answer after which TLS begins.
BEGIN_TLS = responses.ok("Begin TLS now")

_FAILED = responses.no("That name and password do not fit together", b"AUTHENTICATIONFAILED")
#: The answer where a password may not be sent.
PRIVACY = responses.no("Start TLS before you send a password", b"PRIVACYREQUIRED")


async def starttls(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.2.1.  What came in the clear behind the command is never looked at."""
    cursor.expect_end()
    if session.stream.is_secure:
        return responses.bad("TLS is active already")
    if session.settings.tls is None:
        return responses.bad("TLS is not offered")
    return BEGIN_TLS


async def login(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.2.3."""
    name, password = grammar.userid_and_password(cursor)
    return await _log_in(session, UsernamePassword(name, password))


async def authenticate(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.2.2, with the initial response of RFC 4959."""
    name, initial = grammar.mechanism(cursor)
    make = sasl.MECHANISMS.get(name)
    if make is None:
        return responses.no("There is no such mechanism", b"CANNOT")
    try:
        credentials = await _exchange(session, make(), initial)
    except sasl.Malformed:
        return _failed(session)
    return responses.bad("Cancelled") if credentials is None else await _log_in(session, credentials)


async def _exchange(session: Session, mechanism: sasl.Mechanism, initial: bytes | None) -> Any:
    """Hold the exchange; return credentials, or None where the client gave up."""
    response = None if initial is None else _decode(initial)
    while isinstance(step := mechanism.next(response), sasl.Challenge):
        session.stream.write(b"+ " + binascii.b2a_base64(step.octets, newline=False) + b"\r\n")
        line = await session.stream.read_line(_LINE)
        if line == b"*":
            return None
        response = _decode(line)
    return step.credentials


def _decode(line: bytes) -> bytes:
    try:
        return binascii.a2b_base64(line, strict_mode=True) if line else b""
    except binascii.Error:
        raise BadSyntax("That is not base64") from None


async def _log_in(session: Session, credentials: Any) -> Completion:
    """Let the portal judge; name and password are never told apart in the answer."""
    try:
        _, avatar, logout = await session.portal.login(credentials, None, IAccount)
        account = IAccount(avatar)
    except LoginFailed:
        return _failed(session)
    except Exception:
        log.failure("IMAP {peer}: the login could not be checked", peer=session.stream.peer[0])
        return responses.no("Logins cannot be checked at the moment", b"UNAVAILABLE")
    try:
        await session.begin(account.name, account.store, logout)
    except Exception:
        log.failure("IMAP {peer} {account!r}: no mail store", peer=session.stream.peer[0], account=account.name)
        return responses.no("The mail store cannot be reached at the moment", b"UNAVAILABLE")
    return responses.ok("Welcome", general.capability_code(session))


def _failed(session: Session) -> Completion:
    session.failures += 1
    return _FAILED
