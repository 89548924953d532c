"""Parts of a message without their content transfer encoding: RFC 3516, in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from mailfw.imap.grammar_fetch import Section
from mailfw.mail.decoding import decoder
from mailfw.mail.mime import Part, find_part
from mailfw.wire.stream import Stream

#: Octets of a message in memory at once.
PIECE = 256 * 1024


def encoding_of(root: Part | None, section: Section) -> str:
    """Return the encoding of the part that a section wants without it; what has parts itself has none."""
    part = find_part(root, section.numbers) if root is not None and section.numbers else None
    return "" if part is None or part.children else part.encoding


class DecodedPart:
    """
    One part, read as often as it takes: how long it is decoded, only decoding it tells.

    `encoding` is one that `mailfw.mail.decoding.decoder` knows.
    """

    def __init__(
        self, read: Callable[[int, int], Awaitable[bytes]], stream: Stream, start: int, size: int, encoding: str
    ) -> None:
        self._read = read
        self._stream = stream
        self._start = start
        self._size = size
        self._encoding = encoding

    async def pieces(self) -> AsyncIterator[bytes]:
        """Iterate over the decoded octets."""
        decoding = decoder(self._encoding)
        assert decoding is not None
        start, left = self._start, self._size
        while left:
            octets = await self._read(start, min(left, PIECE))
            if not octets:
                raise EOFError("A message is shorter than it was")
            start += len(octets)
            left -= len(octets)
            yield decoding.feed(octets)
            await self._stream.give_way()
        yield decoding.close()

    async def measure(self, enough: int | None = None) -> tuple[int, bool]:
        """Return how many decoded octets there are, and whether any is NUL; whoever has `enough` hears no more."""
        size, has_nul = 0, False
        async for octets in self.pieces():
            size += len(octets)
            has_nul = has_nul or b"\0" in octets
            if enough is not None and size >= enough:
                break
        return size, has_nul

    async def small(self, section: Section) -> bytes | None:
        """Return the octets that a section asks for, where they fit in memory for sure; else None."""
        origin, length = section.origin or 0, section.length
        if self._size <= PIECE:
            decoded = b"".join([octets async for octets in self.pieces()])
            return decoded[origin:] if length is None else decoded[origin : origin + length]
        if length is None or length > PIECE:
            return None
        found = bytearray()
        async for octets in self.pieces():
            found += octets[origin:]
            origin = max(0, origin - len(octets))
            if len(found) >= length:
                break
        return bytes(found[:length])
