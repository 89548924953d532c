"""Asking a store that finds text by itself, for a few texts at a time: nothing stops it before it has found all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from mailfw.mail.sought import AllOf, AnyOf, Condition, SearchAnswer, Without

#: Texts that are asked for at once.
TEXTS = 16

#: Says which of these messages match, as `ISearchedMail.search` does.
Search = Callable[[Sequence[int], Condition], Awaitable[SearchAnswer]]


async def ask(search: Search, uids: Sequence[int], condition: Condition) -> SearchAnswer:
    """Say which of these messages (ascending) match, and which must be read to tell."""
    if _texts(condition) <= TEXTS:
        return await search(uids, condition)
    match condition:
        case AllOf(conditions):
            return await _all(search, uids, conditions)
        case AnyOf(conditions):
            # Either holds where it does not hold that neither does.
            return _others(uids, await _all(search, uids, [Without(each) for each in conditions]))
        case Without(inner):
            return _others(uids, await ask(search, uids, inner))
    raise AssertionError(condition)  # it has one text


def _others(uids: Sequence[int], told: SearchAnswer) -> SearchAnswer:
    matching = {*told.found, *told.unread}
    return SearchAnswer([uid for uid in uids if uid not in matching], told.unread)


async def _all(search: Search, uids: Sequence[int], conditions: Sequence[Condition]) -> SearchAnswer:
    unread: set[int] = set()
    for group in _groups(conditions):
        told = await ask(search, uids, group[0] if len(group) == 1 else AllOf(tuple(group)))
        unread = unread.intersection(told.found).union(told.unread)
        uids = sorted({*told.found, *told.unread})
        if not uids:
            break
    return SearchAnswer([uid for uid in uids if uid not in unread], sorted(unread))


def _groups(conditions: Sequence[Condition]) -> Iterator[list[Condition]]:
    """Yield conditions, as many together as may be asked for; one that has more texts stands alone."""
    group: list[Condition] = []
    count = 0
    for condition in conditions:
        texts = _texts(condition)
        if group and count + texts > TEXTS:
            yield group
            group, count = [], 0
        group.append(condition)
        count += texts
    yield group


def _texts(condition: Condition) -> int:
    match condition:
        case AllOf(conditions) | AnyOf(conditions):
            return sum(map(_texts, conditions))
        case Without(inner):
            return _texts(inner)
    return 1
