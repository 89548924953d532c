"""Messages in batches: bounded in number and octets, and the next read while the last is written."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred

from mailfw.transfer.account import Entry

T = TypeVar("T")
U = TypeVar("U")

#: What is read, and kept, together; a larger message is alone.
MESSAGES = 100
OCTETS = 4 * 1024 * 1024


def parts(entries: Iterable[Entry], messages: int = MESSAGES, octets: int = OCTETS) -> Iterator[list[Entry]]:
    """Yield the entries in batches."""
    part: list[Entry] = []
    size = 0
    for entry in entries:
        if part and (len(part) == messages or size + entry.size > octets):
            yield part
            part, size = [], 0
        part.append(entry)
        size += entry.size
    if part:
        yield part


async def ahead(
    items: Sequence[T], fetch: Callable[[T], Awaitable[U]], drop: Callable[[U], None]
) -> AsyncGenerator[U, None]:
    """Iterate over what `fetch` returns for each item, the next on its way already; `drop` gets what nobody took."""
    coming: Deferred[U] | None = None

    def start(item: T) -> Deferred[U]:
        async def get() -> U:
            return await fetch(item)

        return Deferred.fromCoroutine(get())

    try:
        for place, item in enumerate(items):
            waiting, coming = coming or start(item), None
            fetched = await waiting
            coming = start(items[place + 1]) if place + 1 < len(items) else None
            yield fetched
    finally:
        if coming is not None:
            coming.addCallbacks(drop, lambda _: None)
