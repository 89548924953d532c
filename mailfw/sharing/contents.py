"""Messages on their way from one account to another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zope.interface import implementer

from mailfw.interfaces import IContent
from mailfw.mail.failure import StoreRefusal


@implementer(IContent)
class LateContent:
    """
    A message that is opened when it is read and closed when it has been: thousands can wait their turn.

    `read` raises `StoreRefusal` where the message has gone meanwhile.
    """

    def __init__(self, size: int, open_: Callable[[], Awaitable[IContent | None]]) -> None:
        self.size = size
        self._open = open_
        self._content: IContent | None = None

    async def read(self, offset: int, length: int) -> bytes:
        """Read some of it."""
        if offset >= self.size:
            return b""
        if self._content is None:
            self._content = await self._open()
        if self._content is None:
            raise StoreRefusal("One of the messages has gone meanwhile.")
        octets = await self._content.read(offset, length)
        if offset + len(octets) >= self.size:
            await self.close()
        return octets

    async def close(self) -> None:
        """Close it, until it is read again."""
        content, self._content = self._content, None
        if content is not None:
            await content.close()
