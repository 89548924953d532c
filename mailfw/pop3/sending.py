"""Messages on their way out, in pieces of bounded size."""

from __future__ import annotations

from mailfw.interfaces import IContent
from mailfw.mail.downgraded import downgrader_of
from mailfw.mail.mime import BLANK_LINE
from mailfw.pop3.body import Cutter, DotStuffer
from mailfw.wire.interruptions import Disconnected, ShuttingDown, TimedOut
from mailfw.wire.stream import Stream

#: Octets between two looks whether the client still takes them.
CHUNK = 128 * 1024
#: Octets that are read first for a client that wants to see what a message is: no more than so many lines of its body.
BEGINNING, FEW = 16 * 1024, 100


class Torn(Exception):
    """The client has the beginning of a message, and cannot get the rest: only closing tells."""


async def send(stream: Stream, content: IContent, title: bytes, as_it_is: bool, lines: int | None = None) -> int:
    """
    Send a message, or its header and so many lines, behind the status line; return the octets that were read.

    The first piece is read before anything is promised.  Unless it goes `as_it_is` text in its header that is no ASCII
    is downgraded.  Raises `Torn` for what goes wrong after that.
    """
    octets = await _beginning(content, lines)
    stream.write(title)
    try:
        downgrader = None if as_it_is or octets.isascii() else downgrader_of(octets)
        cutter = Cutter(lines) if lines is not None else None
        stuffer = DotStuffer()
        offset = 0
        while True:
            offset += len(octets)
            is_whole = offset >= content.size
            if not is_whole and not octets:
                raise EOFError("A message is shorter than its store said")
            if downgrader is not None:
                octets = downgrader.feed(octets) + (downgrader.close() if is_whole else b"")
            if cutter is not None:
                octets = cutter.feed(octets)
            stream.write(stuffer.feed(octets))
            if is_whole or (cutter is not None and cutter.done):
                stream.write(stuffer.finish())
                return offset
            await stream.drain()
            octets = await content.read(offset, CHUNK)
    except (Disconnected, TimedOut, ShuttingDown):
        raise
    except Exception as fault:
        raise Torn from fault


async def _beginning(content: IContent, lines: int | None) -> bytes:
    """Read the first piece, with as much of the header in it as RETR would see."""
    octets = await content.read(0, CHUNK if lines is None or lines > FEW else BEGINNING)
    if BLANK_LINE.search(octets) is None and len(octets) < min(CHUNK, content.size):
        octets += await content.read(len(octets), CHUNK - len(octets))
    return octets
