"""CAPABILITY, NOOP, LOGOUT, ID and ENABLE: commands of every state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import grammar, responses
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion
from mailfw.optional import ISharingView

if TYPE_CHECKING:
    from mailfw.imap.server import Session

_ALWAYS = b"IMAP4rev1 LITERAL+ ID IDLE ENABLE"
_LOGGED_IN = b" NAMESPACE UNSELECT CHILDREN UIDPLUS MOVE SPECIAL-USE CREATE-SPECIAL-USE OBJECTID PREVIEW"
#: Where the store knows of others' mailboxes (RFC 4314).
_SHARING = b" ACL RIGHTS=texk"


def capabilities(session: Session) -> bytes:
    """Return what the session can do in its present state, and nothing that it cannot."""
    if session.account:
        return _ALWAYS + _LOGGED_IN + (_SHARING if ISharingView.providedBy(session.store) else b"")
    answer = _ALWAYS + b" SASL-IR"
    if session.settings.tls is not None and not session.stream.is_secure:
        answer += b" STARTTLS"
    mechanisms = "".join(f" AUTH={name}" for name in session.logins.offered(session.stream))
    may_log_in = session.logins.takes_passwords(session.stream)
    return answer + mechanisms.encode("ascii") + (b"" if may_log_in else b" LOGINDISABLED")


def capability_code(session: Session) -> bytes:
    """Return the response code that saves the client from asking."""
    return b"CAPABILITY " + capabilities(session)


async def capability(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.1.1."""
    cursor.expect_end()
    session.stream.write(responses.untagged(b"CAPABILITY " + capabilities(session)))
    return responses.ok("That is all")


async def noop(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 sections 6.1.2 and 6.4.1: NOOP and CHECK; whatever is stored is safe already."""
    cursor.expect_end()
    return responses.ok("Done")


async def logout(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.1.3."""
    cursor.expect_end()
    session.deselect()
    session.say(b"BYE", "See you")
    session.over = True
    return responses.ok("Logged out")


async def identify(session: Session, cursor: Cursor) -> Completion:
    """RFC 2971."""
    grammar.identification(cursor)
    told = {"name": session.settings.software, "version": session.settings.version}
    pairs = b" ".join(responses.string(word.encode("utf-8")) for pair in told.items() if pair[1] for word in pair)
    session.stream.write(responses.untagged(b"ID (" + pairs + b")" if pairs else b"ID NIL"))
    return responses.ok("Pleased to meet you")


async def enable(session: Session, cursor: Cursor) -> Completion:
    """RFC 5161: nothing here has to be enabled, and what is unknown is passed over."""
    grammar.capabilities(cursor)
    session.stream.write(responses.untagged(b"ENABLED"))
    return responses.ok("Done")
