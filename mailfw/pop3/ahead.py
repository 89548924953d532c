"""Messages opened before they are asked for: clients take one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from mailfw.interfaces import IContent
from mailfw.optional import IManyContents

#: Messages that one look ahead is for; the store opens them in batches of a size that it bounds.
REACH = 1000


class ReadAhead:
    """Opens messages in batches; those that nobody took are closed before the next."""

    def __init__(self, store: IManyContents, account: str, mailbox: str, uids: Sequence[int]) -> None:
        self._batches: AsyncIterator[Sequence[tuple[int, IContent]]] | None = store.contents(account, mailbox, uids)
        self._last = uids[-1]
        self._opened: dict[int, IContent] = {}

    async def take(self, uid: int) -> IContent | None:
        """Return a message, None if it is gone or not among ours.  UIDs ascend from call to call; the caller closes."""
        if not uid <= self._last:
            return None
        while uid not in self._opened:
            if any(opened > uid for opened in self._opened) or not await self._open_more():
                return None
        return self._opened.pop(uid)

    async def _open_more(self) -> bool:
        await self._close_opened()
        if self._batches is None:
            return False
        try:
            self._opened = dict(await anext(self._batches))
        except StopAsyncIteration:
            self._batches = None
        return self._batches is not None

    async def _close_opened(self) -> None:
        opened, self._opened = self._opened, {}
        for content in opened.values():
            await content.close()

    async def close(self) -> None:
        """Let go of everything."""
        await self._close_opened()
        batches, self._batches = self._batches, None
        if batches is not None:
            await batches.aclose()  # type: ignore[attr-defined] # the interface asks for an async generator
