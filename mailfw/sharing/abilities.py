"""What a view of a store can do beside the rest: what the store can."""

from __future__ import annotations

from functools import cache
from typing import Any

from zope.interface import Interface
from zope.interface.declarations import Provides

from mailfw.optional import (
    IAnnotatedMail,
    IColumns,
    IGenerations,
    IReplacingMail,
    ISearchedMail,
    ISettableQuota,
    IUniqueIds,
)

_ABILITIES = (ISearchedMail, IUniqueIds, IGenerations, IAnnotatedMail, IColumns, IReplacingMail, ISettableQuota)


def declare(view: Any, store: Any) -> None:
    """Let a view provide what a store does, of that which not every store can do."""
    view.__provides__ = _declaration(view.__class__, *(each for each in _ABILITIES if each.providedBy(store)))


@cache
def _declaration(kind: type, *abilities: type[Interface]) -> Any:
    """Return what `alsoProvides` declares, which costs as much as all else of a login where nobody has it yet."""
    return Provides(kind, *abilities)
