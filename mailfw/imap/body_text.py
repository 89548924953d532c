"""Looking for text in a message that is read for it: decoded, piece by piece, in bounded memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mailfw.interfaces import IContent
from mailfw.mail.mime import MAX_HEADER, Part
from mailfw.mail.part_table import decode_parts
from mailfw.mail.terms import Section, pieces


class TextFinder:
    """
    Looks for texts (folded) in the body alone, or in header and body.

    What is searched says `mailfw.mail.terms`.
    """

    def __init__(self, for_body: frozenset[str], for_text: frozenset[str]) -> None:
        self._for_body = for_body
        self._for_text = for_text

    async def look(
        self, content: IContent, parts: bytes | None, give_way: Callable[[], Awaitable[None]]
    ) -> tuple[bytes, frozenset[str], frozenset[str]]:
        """Return the message's header, and which texts are in its body and which in all of it."""
        root = decode_parts(parts) if parts else Part()
        header = await content.read(0, min(root.header_size, MAX_HEADER))
        in_body: set[str] = set()
        in_text: set[str] = set()
        for piece in pieces(root):
            if self._for_body <= in_body and self._for_text <= in_text:
                break
            if piece.section is Section.HEAD:
                octets = header
            else:
                octets = await content.read(piece.start, piece.size) if piece.size else b""
            text = piece.read(octets)
            await give_way()
            if piece.section is Section.BODY:
                await _find(self._for_body, text, in_body, give_way)
            await _find(self._for_text, text, in_text, give_way)
        return header, frozenset(in_body), frozenset(in_text)


async def _find(wanted: frozenset[str], text: str, found: set[str], give_way: Callable[[], Awaitable[None]]) -> None:
    """Add what is in a text; a search may look for very many."""
    for each in wanted - found:
        if each in text:
            found.add(each)
        await give_way()
