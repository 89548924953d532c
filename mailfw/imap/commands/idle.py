"""IDLE (RFC 2177): news without being asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import responses, telling
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion
from mailfw.wire.interruptions import Woken

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: ``DONE`` and its line end, with room for what is not.
_LINE = 64


async def idle(session: Session, cursor: Cursor) -> Completion:
    """Tell each change at once until the client says DONE; also what came since the last command."""
    cursor.expect_end()
    session.stream.write(b"+ idling\r\n")
    session.idling = True
    try:
        while True:
            await telling.catch_up(session, expunges_allowed=True)
            await telling.tell_unasked(session)
            try:
                line = await session.stream.read_line(_LINE, idle=True)
            except Woken:
                continue
            break
    finally:
        session.idling = False
    if line.upper() != b"DONE":
        return responses.bad("IDLE ends with DONE")
    return responses.ok("Back to work")
