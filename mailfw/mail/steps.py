"""Work on very many things, in steps between which others may have their turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

#: Work that returns something in the end; wherever it yields, others may have their turn.
Steps = Generator[None, None, T]

#: Things that are worked on between two of these places.
PORTION = 2000


async def in_turns(steps: Steps[T], give_way: Callable[[], Awaitable[None]]) -> T:
    """Do all the work, giving way between steps; return what comes of it."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return] # of a generator that returns T
        await give_way()


def portions(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield all things, as many at a time as can be worked on in one step."""
    for start in range(0, len(items), PORTION):
        yield items[start : start + PORTION]


def ordered(items: Sequence[T], key: Callable[[T], Any], reverse: bool = False) -> Steps[list[T]]:
    """Sort as `sorted` does; `key` is asked several times for each thing."""
    if len(items) <= PORTION:
        return sorted(items, key=key, reverse=reverse)
    runs: list[list[T]] = []
    for portion in portions(items):
        runs.append(sorted(portion, key=key, reverse=reverse))
        yield
    while len(runs) > 1:
        merged: list[list[T]] = []
        for at in range(0, len(runs), 2):
            both = [each for run in runs[at : at + 2] for each in run]
            both.sort(key=key, reverse=reverse)  # two runs are merged in one pass
            merged.append(both)
            yield
        runs = merged
    return runs[0]
