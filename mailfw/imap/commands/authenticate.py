"""STARTTLS, AUTHENTICATE and LOGIN: from nobody to an account."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from twisted.logger import Logger

from mailfw.imap import grammar, responses
from mailfw.imap.capabilities import capability_code
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.responses import Completion
from mailfw.sasl.credentials import UsernamePassword
from mailfw.sasl.exchange import Cancelled, Malformed, NotBase64, Refused, Throttled, Unavailable
from mailfw.sasl.logins import Login, decode

if TYPE_CHECKING:
    from mailfw.imap.server import Session

log = Logger()

#: What stands before a challenge.
PREFIX = b"+ "
#: After so many failures the connection is closed, so that guessing costs a connection now and then.
FAILURES = 3

#: The answer after which TLS begins.
BEGIN_TLS = responses.ok("Begin TLS now")

_FAILED = responses.no("That name and password do not fit together", b"AUTHENTICATIONFAILED")
_THROTTLED = responses.no("Too many failed logins; try again later", b"LIMIT")
#: The answer where a password may not be sent.
PRIVACY = responses.no("Start TLS before you send a password", b"PRIVACYREQUIRED")


async def starttls(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.2.1.  What came in the clear behind the command is never looked at."""
    cursor.expect_end()
    if session.stream.is_secure:
        return responses.bad("TLS is active already")
    if session.stream.is_compressed:  # after UNAUTHENTICATE; what arrived compressed in the clear would outlive it
        return responses.bad("TLS begins before compression")
    if session.settings.tls is None:
        return responses.bad("TLS is not offered")
    return BEGIN_TLS


async def login(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.2.3."""
    name, password = grammar.userid_and_password(cursor)
    if not session.logins.takes_passwords(session.stream):
        return responses.no("No passwords are taken here", b"CANNOT")
    return await _log_in(session, session.logins.judge(session.stream, UsernamePassword(name, password)))


async def authenticate(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.2.2, with the initial response of RFC 4959."""
    name, initial = grammar.mechanism(cursor)
    if name not in session.logins.offered(session.stream):
        return responses.no("There is no such mechanism", b"CANNOT")
    try:
        response = None if initial is None else decode(initial)
    except NotBase64:
        raise BadSyntax("That is not base64")
    return await _log_in(session, session.logins.authenticate(session.stream, name, response))


async def _log_in(session: Session, judged: Awaitable[Login]) -> Completion:
    """Hear the judgement; name and password are never told apart in the answer."""
    try:
        login = await judged
    except NotBase64:
        raise BadSyntax("That is not base64")
    except Cancelled:
        return responses.bad("Cancelled")
    except Throttled:
        return _failed(session, _THROTTLED)
    except (Malformed, Refused):
        return _failed(session, _FAILED)
    except Unavailable:
        return responses.no("Logins cannot be checked at the moment", b"UNAVAILABLE")
    return await _begin(session, login)


async def _begin(session: Session, login: Login) -> Completion:
    account = login.account
    if not session.admit(account.name):
        login.logout()
        return responses.no("That account has too many sessions; close one", b"LIMIT")
    try:
        await session.begin(account.name, account.store, login.logout)
    except Exception:
        log.failure("IMAP {peer} {account!r}: no mail store", peer=session.stream.peer[0], account=account.name)
        session.end_login()
        return responses.no("The mail store cannot be reached at the moment", b"UNAVAILABLE")
    return responses.ok("Welcome", capability_code(session))


def _failed(session: Session, answer: Completion) -> Completion:
    session.failures += 1
    return answer
