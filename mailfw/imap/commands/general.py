"""CAPABILITY, NOOP, LOGOUT, ID and ENABLE: commands of every state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import capabilities, grammar, responses
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion

if TYPE_CHECKING:
    from mailfw.imap.server import Session


async def capability(session: Session, cursor: Cursor) -> Completion:
    """RFC 3501 section 6.1.1."""
    cursor.expect_end()
    session.stream.write(responses.untagged(capabilities.capability_code(session)))
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
    session.program = grammar.identification(cursor).get("name", "")
    session.heed_rules()
    told = {"name": session.settings.software, "version": session.settings.version}
    pairs = b" ".join(responses.string(word.encode("utf-8")) for pair in told.items() if pair[1] for word in pair)
    session.stream.write(responses.untagged(b"ID (" + pairs + b")" if pairs else b"ID NIL"))
    return responses.ok("Pleased to meet you")


async def enable(session: Session, cursor: Cursor) -> Completion:
    """RFC 5161: what is unknown, or cannot be enabled here, is passed over."""
    names = dict.fromkeys(grammar.capabilities(cursor))
    told = [enabled for name in names if (enabled := capabilities.enable(session, name)) is not None]
    session.stream.write(responses.untagged(b" ".join([b"ENABLED", *told])))
    return responses.ok("Done")
