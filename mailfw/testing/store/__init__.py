"""
The contract of `IMailStore`, for your own store in three lines.

::

    class AcmeStoreTests(StoreContract, TestCase):  # twisted.trial.unittest.TestCase
        spec = "acme_mail.store.acme"  # or the plug-in's name

Its factory gets a new data directory as ``site.data``.  A store that cannot be had so is what ``make_store(self)``
returns.

What a store may offer besides has mixins of its own, to be named behind `StoreContract`; one of its cases fails where
one is missing:

- `RestartCases` where it can be opened again over the same data: by a `spec` whose factory has a parameter ``site``, or
  by ``async def reopen_store(self, store)``; `CrashCases` where it is a `spec` that says so;
- `QuotaCases` where its factory takes ``quotas``, or there is ``make_bounded_store(self, quotas, retention)``;
- `NumberCases` for `INumberedMail`, `AnnotationCases` for `IAnnotatedMail`, `ReplacingCases` for `IReplacingMail`,
  `ColumnCases` for `IColumns`,
  `SharingCases` and `SharedHistoryCases` for `ISharedMail`, `SearchCases` for
  `ISearchedMail`, `RetentionCases` for `IRetainedMail`, and in place of the last two `FoundAgainCases` for both.

`FullContract` is all of them together: it skips the cases of what the store does not offer.
"""

from __future__ import annotations

from mailfw.testing.store.accounts import AccountCases
from mailfw.testing.store.annotations import AnnotationCases
from mailfw.testing.store.bounds import QuotaCases, RetentionCases
from mailfw.testing.store.changes import ChangeCases
from mailfw.testing.store.columns import ColumnCases
from mailfw.testing.store.conversations import ConversationCases
from mailfw.testing.store.copies import CopyCases
from mailfw.testing.store.crashes import CrashCases
from mailfw.testing.store.histories import HistoryCases
from mailfw.testing.store.mailboxes import MailboxCases
from mailfw.testing.store.messages import MessageCases
from mailfw.testing.store.numbers import NumberCases
from mailfw.testing.store.offers import OfferCases
from mailfw.testing.store.replacing import ReplacingCases
from mailfw.testing.store.restarts import RestartCases
from mailfw.testing.store.scaling import ScalingCases
from mailfw.testing.store.searching import FoundAgainCases, SearchCases
from mailfw.testing.store.sessions import SessionCases
from mailfw.testing.store.shared_histories import SharedHistoryCases
from mailfw.testing.store.sharing import SharingCases
from mailfw.testing.store.watching import ConcurrencyCases, WatchCases

__all__ = [
    "AnnotationCases",
    "ColumnCases",
    "CrashCases",
    "FoundAgainCases",
    "FullContract",
    "NumberCases",
    "QuotaCases",
    "ReplacingCases",
    "RestartCases",
    "RetentionCases",
    "SearchCases",
    "SharedHistoryCases",
    "SharingCases",
    "StoreContract",
]


class StoreContract(
    AccountCases,
    MailboxCases,
    MessageCases,
    ChangeCases,
    CopyCases,
    ConversationCases,
    WatchCases,
    ConcurrencyCases,
    HistoryCases,
    SessionCases,
    ScalingCases,
    OfferCases,
):
    """Every sentence of `IMailStore`, tried: mix it into a `TestCase`, and what else the store offers behind it."""


class FullContract(
    StoreContract,
    RestartCases,
    QuotaCases,
    FoundAgainCases,
    RetentionCases,
    NumberCases,
    AnnotationCases,
    ColumnCases,
    ReplacingCases,
    SearchCases,
    SharingCases,
    SharedHistoryCases,
    CrashCases,
):
    """All that a store can offer."""
