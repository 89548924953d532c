"""COMPRESS, UNAUTHENTICATE and GETJMAPACCESS: the connection as such."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import responses
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: The answer after which compression begins.
BEGIN_DEFLATE = responses.ok("Compressed from here on")
#: The answer after which nobody is logged in.
BEGIN_ANEW = responses.ok("Who is next?")


async def compress(session: Session, cursor: Cursor) -> Completion:
    """RFC 4978: both directions, behind the answer."""
    cursor.space()
    mechanism = cursor.atom().upper()
    cursor.expect_end()
    if mechanism != b"DEFLATE":
        return responses.bad("DEFLATE is all there is")
    if session.stream.is_compressed:
        return responses.bad("That is so already", b"COMPRESSIONACTIVE")
    return BEGIN_DEFLATE


async def unauthenticate(session: Session, cursor: Cursor) -> Completion:
    """RFC 8437: as if nobody had logged in; compression ends behind the answer (section 4.1), TLS stays."""
    cursor.expect_end()
    return BEGIN_ANEW


async def get_jmap_access(session: Session, cursor: Cursor) -> Completion:
    """RFC 9698: where the same mail is to be had by JMAP."""
    cursor.expect_end()
    if not session.settings.jmap_url:
        return responses.bad("There is no such command")
    url = responses.string(session.settings.jmap_url.encode("ascii", "replace"))
    session.stream.write(responses.untagged(b"JMAPACCESS " + url))
    return responses.ok("That is all")
