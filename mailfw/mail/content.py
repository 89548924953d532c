"""Contents made of other contents: octets in memory, and a message with something put before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Content(Protocol):
    """What `mailfw.interfaces.IContent` says, for code that may not know interfaces."""

    @property
    def size(self) -> int:
        """Octets."""

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, fewer only at the end."""

    async def close(self) -> None:
        """Let go of what reading needed.  May be called twice."""


class Octets:
    """A content that is in memory."""

    __slots__ = ("_octets", "size")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.size = len(octets)

    async def read(self, offset: int, length: int) -> bytes:
        """Return a slice."""
        return self._octets[offset : offset + length]

    def read_now(self, offset: int, length: int) -> bytes:
        """Return a slice, in any thread."""
        return self._octets[offset : offset + length]

    async def close(self) -> None:
        """Do nothing."""


class Prefixed:
    """
    `prefix`, then what `content` holds from the octet `start` on.

    The content stays its maker's: it must outlive this, and `close` leaves it open.
    """

    __slots__ = ("_shift", "content", "prefix", "size")

    def __init__(self, prefix: bytes, content: Content, start: int = 0) -> None:
        self.prefix = prefix
        self.content = content
        self._shift = start - len(prefix)
        self.size = content.size - self._shift

    @property
    def start(self) -> int:
        """Where in `content` it goes on behind `prefix`."""
        return self._shift + len(self.prefix)

    @property
    def is_whole(self) -> bool:
        """Whether all of the content is there."""
        return self._shift == -len(self.prefix)

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, joining the two where the range spans both."""
        if length <= 0:
            return b""
        before = self.prefix[offset : offset + length]
        if len(before) == length:
            return before
        rest = await self.content.read(max(offset, len(self.prefix)) + self._shift, length - len(before))
        return before + rest if before else rest

    def read_now(self, offset: int, length: int) -> bytes:
        """Return what `read` does; only where `blocking_reader` says so."""
        if length <= 0:
            return b""
        before = self.prefix[offset : offset + length]
        if len(before) == length:
            return before
        content: Any = self.content
        rest: bytes = content.read_now(max(offset, len(self.prefix)) + self._shift, length - len(before))
        return before + rest if before else rest

    async def close(self) -> None:
        """Leave the content to its maker."""


class Slice:
    """
    The octets of another content from `start` on, `size` of them.

    The content stays its maker's: it must outlive this, and `close` leaves it open.
    """

    __slots__ = ("_start", "content", "size")

    def __init__(self, content: Content, start: int, size: int) -> None:
        self.content = content
        self._start = start
        self.size = size

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, fewer only at the end."""
        length = min(length, self.size - offset)
        return await self.content.read(self._start + offset, length) if length > 0 else b""

    def read_now(self, offset: int, length: int) -> bytes:
        """Return what `read` does; only where `blocking_reader` says so."""
        length = min(length, self.size - offset)
        content: Any = self.content
        octets: bytes = content.read_now(self._start + offset, length) if length > 0 else b""
        return octets

    async def close(self) -> None:
        """Leave the content to its maker."""


# ---------------------------------------------------------------- reading


#: What a content may offer besides, as ``read_now``: to be read in any thread, without the reactor.
BlockingRead = Callable[[int, int], bytes]


def blocking_reader(content: object) -> BlockingRead | None:
    """Return ``content.read_now`` if there is one; the content must stay open while it is called."""
    if isinstance(content, (Prefixed, Slice)):
        return content.read_now if blocking_reader(content.content) else None
    found: BlockingRead | None = getattr(content, "read_now", None)
    return found


async def read_whole(content: Content, offset: int, length: int) -> bytes:
    """Read exactly so much.  Raises `ValueError` for a content that ends before: nothing of it may be kept."""
    octets = await content.read(offset, length)
    while len(octets) < length:
        more = await content.read(offset + len(octets), length - len(octets))
        if not more:
            raise _ended(offset + len(octets))
        octets += more
    return octets


def read_whole_now(read: BlockingRead, offset: int, length: int) -> bytes:
    """Do what `read_whole` does, in any thread."""
    octets = read(offset, length)
    while len(octets) < length:
        more = read(offset + len(octets), length - len(octets))
        if not more:
            raise _ended(offset + len(octets))
        octets += more
    return octets


def _ended(offset: int) -> ValueError:
    return ValueError(f"a content ended before its size, at {offset}")
