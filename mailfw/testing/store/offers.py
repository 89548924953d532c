"""The case of the store's contract that sees to it that the others are tried."""

from __future__ import annotations

from zope.interface.interface import InterfaceClass

from mailfw.optional import (
    IAnnotatedMail,
    IColumns,
    INumberedMail,
    IReplacingMail,
    IRetainedMail,
    ISearchedMail,
    ISharedMail,
)
from mailfw.testing.store.annotations import AnnotationCases
from mailfw.testing.store.bounds import BoundedFixture, QuotaCases, RetentionCases
from mailfw.testing.store.columns import ColumnCases
from mailfw.testing.store.crashes import CrashCases
from mailfw.testing.store.numbers import NumberCases
from mailfw.testing.store.replacing import ReplacingCases
from mailfw.testing.store.restarts import RestartCases
from mailfw.testing.store.searching import FoundAgainCases, SearchCases
from mailfw.testing.store.shared_histories import SharedHistoryCases
from mailfw.testing.store.sharing import SharingCases

#: The cases of what a store need not offer.
OPTIONAL: dict[InterfaceClass, tuple[type, ...]] = {
    INumberedMail: (NumberCases,),
    IAnnotatedMail: (AnnotationCases,),
    IColumns: (ColumnCases,),
    IReplacingMail: (ReplacingCases,),
    ISharedMail: (SharingCases, SharedHistoryCases),
    ISearchedMail: (SearchCases,),
    IRetainedMail: (RetentionCases,),
}


class OfferCases(BoundedFixture):
    """Whatever a store offers is tried."""

    def test_all_that_is_offered_is_tried(self) -> None:
        """The cases of every optional interface that the store provides, and of restarts and crashes, are here."""
        offered: set[type] = set()
        for interface, cases in OPTIONAL.items():
            if interface.providedBy(self.store):
                offered.update(cases)
        if offered >= {SearchCases, RetentionCases}:
            offered.add(FoundAgainCases)
        if self.can_bound:
            offered.add(QuotaCases)
        if self.can_reopen:
            offered.update([RestartCases, CrashCases] if self.spec else [RestartCases])
        missing = sorted(cases.__name__ for cases in offered if not isinstance(self, cases))
        self.assertEqual(missing, [], "the store offers more than this class tries: it needs these mixins")
