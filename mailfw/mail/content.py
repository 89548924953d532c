"""Contents made of other contents: octets in memory, and a message with something put before it."""

from __future__ import annotations

from typing import Protocol


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

    async def close(self) -> None:
        """Do nothing."""


class Prefixed:
    """
    `prefix`, then what `content` holds from the octet `start` on.

    The content stays its maker's: it must outlive this, and `close` leaves it open.
    """

    __slots__ = ("_content", "_prefix", "_shift", "size")

    def __init__(self, prefix: bytes, content: Content, start: int = 0) -> None:
        self._prefix = prefix
        self._content = content
        self._shift = start - len(prefix)
        self.size = content.size - self._shift

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, joining the two where the range spans both."""
        if length <= 0:
            return b""
        before = self._prefix[offset : offset + length]
        if len(before) == length:
            return before
        rest = await self._content.read(max(offset, len(self._prefix)) + self._shift, length - len(before))
        return before + rest if before else rest

    async def close(self) -> None:
        """Leave the content to its maker."""
