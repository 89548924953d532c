"""Looking for text in a message: decoded, part by part, in bounded memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from mailfw.interfaces import IContent
from mailfw.mail.fields import split_fields, unfold
from mailfw.mail.mime import MAX_HEADER, Part, decode_parts
from mailfw.mail.text import fold, part_text
from mailfw.mail.words import decode_words

#: Octets of one part that are searched: what lies beyond, no text written by people reaches.
PART_LIMIT = 1024 * 1024
#: Octets of one message that are searched.
MESSAGE_LIMIT = 8 * 1024 * 1024


class TextFinder:
    """
    Looks for texts (folded) in the body alone, or in header and body.

    The body is what people read: text parts and messages within, decoded from their transfer encoding and charset,
    HTML without its markup; of each part the first `PART_LIMIT` octets, of each message `MESSAGE_LIMIT`.
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
        in_text = _found_in(self._for_text, _header_text(header)) if self._for_text else set[str]()
        room = MESSAGE_LIMIT
        for part, is_header, belongs_to_body in _pieces(root):
            if self._for_body <= in_body and self._for_text <= in_text:
                break
            start, size = (part.header_start, part.header_size) if is_header else (part.body_start, part.body_size)
            size = min(size, PART_LIMIT, room)
            octets = await content.read(start, size)
            room -= size
            text = _header_text(octets) if is_header else _body_text(octets, part)
            if belongs_to_body:
                in_body |= _found_in(self._for_body, text)
            in_text |= _found_in(self._for_text, text)
            await give_way()
        return header, frozenset(in_body), frozenset(in_text)


def _pieces(root: Part) -> Iterator[tuple[Part, bool, bool]]:
    """Yield what is to be searched: of which part, whether its header or its body, and whether BODY means it."""
    if root.children:
        for child in root.children:
            # The header of a message within is part of the body; that of a part only describes it.
            yield child, True, root.message is not None
            yield from _pieces(child)
    elif root.type == "text" or root.type == "message":
        yield root, False, True


def _header_text(octets: bytes) -> str:
    return fold("\n".join([decode_words(unfold(raw)) for _, raw in split_fields(octets)]))


def _body_text(octets: bytes, part: Part) -> str:
    return fold(part_text(octets, part.subtype if part.type == "text" else "", part.encoding, part.charset))


def _found_in(wanted: frozenset[str], text: str) -> set[str]:
    return {each for each in wanted if each in text}
