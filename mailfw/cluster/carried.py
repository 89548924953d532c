"""How the octets of a message travel: small ones with the call, large ones by the number of what the keeper holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zope.interface import implementer

from mailfw.interfaces import IContent, IDraft
from mailfw.mail.content import Content, Octets, Prefixed, read_whole

#: Octets that travel with a call or an answer, and of one piece of what is longer.
PIECE = 128 * 1024


@dataclass(frozen=True, slots=True)
class Inline:
    """The octets themselves."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """What the keeper holds under a number."""

    number: int


@dataclass(frozen=True, slots=True)
class Behind:
    """`prefix`, then what the keeper holds from the octet `start` on."""

    prefix: bytes
    number: int
    start: int


Carried = Inline | Held | Behind


@dataclass(frozen=True, slots=True)
class Opened:
    """A message that was opened: its octets where they are few, else the number by which to read them."""

    size: int
    octets: bytes | None = None
    number: int = 0


@implementer(IDraft)
class HeldContent:
    """
    What the keeper holds for us: a message it has opened, or a draft.

    Written in pieces, each when the one before it has been taken.
    """

    __slots__ = ("_asking", "_number", "size")

    def __init__(self, asking: Any, number: int, size: int = 0) -> None:
        self._asking = asking
        self._number = number
        self.size = size

    @property
    def number(self) -> int:
        """What the keeper calls it; 0 when it is closed."""
        return self._number

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, fewer only at the end."""
        octets = bytearray()
        length = max(0, min(length, self.size - offset))
        while length > 0:
            piece: bytes = await self._asking.call("read", self._number, offset, min(length, PIECE))
            if not piece:
                break
            octets += piece
            offset, length = offset + len(piece), length - len(piece)
        return bytes(octets)

    async def write(self, octets: bytes) -> None:
        """Append, in pieces."""
        for start in range(0, len(octets), PIECE):
            piece = octets[start : start + PIECE]
            await self._asking.call("write", self._number, piece)
            self.size += len(piece)

    async def close(self) -> None:
        """Have the keeper let go of it."""
        number, self._number = self._number, 0
        if number:
            self._asking.tell("let_go", number)


async def open_held(asking: Any, size_hint: int) -> HeldContent:
    """Have the keeper make a draft.  Raises `NoSpace`."""

    def dispose(number: int) -> None:
        asking.tell("let_go", number)

    return HeldContent(asking, await asking.call("open_draft", size_hint, dispose=dispose))


def content_of(asking: Any, opened: Opened) -> IContent:
    """Return the content of what was opened."""
    if opened.octets is not None:
        small: Any = Octets(opened.octets)
        return small  # type: ignore[no-any-return]  # `mail` knows no interfaces
    return HeldContent(asking, opened.number, opened.size)


async def carry(asking: Any, content: Content, drafts: list[HeldContent]) -> Carried:
    """
    Make a content ready to travel; a draft made for it is added to `drafts`, and is to be closed by the caller.

    Raises what reading the content raises, and `ValueError` where it ends before its size.
    """
    held = _held(content)
    if held is not None:
        return Held(held.number)
    if isinstance(content, Prefixed) and (held := _held(content.content)) is not None:
        return Behind(content.prefix, held.number, content.start)
    if content.size <= PIECE:
        return Inline(await read_whole(content, 0, content.size) if content.size else b"")
    return await hold(asking, content, drafts)


async def hold(asking: Any, content: Content, drafts: list[HeldContent]) -> Held:
    """Have the keeper hold a content, however small, in a draft that is added to `drafts`."""
    draft = await open_held(asking, content.size)
    drafts.append(draft)
    for offset in range(0, content.size, PIECE):
        await draft.write(await read_whole(content, offset, min(PIECE, content.size - offset)))
    return Held(draft.number)


def _held(content: object) -> HeldContent | None:
    """Return what the keeper holds of a content whole."""
    found = content.held if isinstance(content, RemoteDraft) else content
    return found if isinstance(found, HeldContent) and found.number else None


@implementer(IDraft)
class RemoteDraft:
    """A message while it arrives: here while it is small, then with the keeper."""

    __slots__ = ("_asking", "_octets", "held", "size")

    def __init__(self, asking: Any, held: HeldContent | None = None) -> None:
        self._asking = asking
        self._octets = bytearray()
        self.held = held
        self.size = 0

    async def write(self, octets: bytes) -> None:
        """Append.  Raises `NoSpace`."""
        if self.held is None and self.size + len(octets) <= PIECE:
            self._octets += octets
            self.size += len(octets)
            return
        if self.held is None:
            self.held = await open_held(self._asking, self.size + len(octets))
            kept, self._octets = bytes(self._octets), bytearray()
            await self.held.write(kept)
        self._octets += octets
        self.size += len(octets)
        await self._pass_on()

    async def _pass_on(self) -> None:
        assert self.held is not None
        waiting, self._octets = bytes(self._octets), bytearray()
        await self.held.write(waiting)

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, fewer only at the end."""
        if self.held is None:
            return bytes(self._octets[offset : offset + length])
        return await self.held.read(offset, length)

    async def close(self) -> None:
        """Forget the message."""
        self._octets = bytearray()
        if self.held is not None:
            await self.held.close()
