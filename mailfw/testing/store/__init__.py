"""
The contract of `IMailStore`, for your own store in three lines.

::

    class AcmeStoreTests(StoreContract, TestCase):  # twisted.trial.unittest.TestCase
        spec = "acme_mail.store.acme"  # or the plug-in's name

Its factory gets a new data directory as ``site.data``.  A store that cannot be had so is what ``make_store(self)``
returns; with ``async def reopen_store(self, store)``, which closes it and opens it again from where it keeps its
mail, the cases of a restart are tried too, but none in which its process is killed.
"""

from __future__ import annotations

from mailfw.testing.store.accounts import AccountCases
from mailfw.testing.store.bounds import QuotaCases, RetentionCases
from mailfw.testing.store.changes import ChangeCases
from mailfw.testing.store.conversations import ConversationCases
from mailfw.testing.store.copies import CopyCases
from mailfw.testing.store.crashes import CrashCases
from mailfw.testing.store.histories import HistoryCases
from mailfw.testing.store.mailboxes import MailboxCases
from mailfw.testing.store.messages import MessageCases
from mailfw.testing.store.numbers import NumberCases
from mailfw.testing.store.scaling import ScalingCases
from mailfw.testing.store.searching import SearchCases
from mailfw.testing.store.sessions import SessionCases
from mailfw.testing.store.shared_histories import SharedHistoryCases
from mailfw.testing.store.sharing import SharingCases
from mailfw.testing.store.watching import ConcurrencyCases, WatchCases

__all__ = ["StoreContract"]


class StoreContract(
    AccountCases,
    MailboxCases,
    MessageCases,
    ChangeCases,
    CopyCases,
    ConversationCases,
    NumberCases,
    WatchCases,
    ConcurrencyCases,
    QuotaCases,
    RetentionCases,
    SharingCases,
    SharedHistoryCases,
    SearchCases,
    HistoryCases,
    SessionCases,
    CrashCases,
    ScalingCases,
):
    """Every sentence of `IMailStore`, tried: mix it into a `TestCase` and override `make_store`."""
