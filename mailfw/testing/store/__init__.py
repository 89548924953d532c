"""
The contract of `IMailStore`, for your own store in three lines.

::

    class AcmeStoreTests(StoreContract, TestCase):  # twisted.trial.unittest.TestCase
        def make_store(self):
            return AcmeStore(self.mktemp())

With ``async def reopen_store(self, store)``, which closes the store and opens it again from where it keeps
its mail, the cases of a restart are tried too.
"""

from __future__ import annotations

from mailfw.testing.store.accounts import AccountCases
from mailfw.testing.store.changes import ChangeCases
from mailfw.testing.store.copies import CopyCases
from mailfw.testing.store.histories import HistoryCases
from mailfw.testing.store.mailboxes import MailboxCases
from mailfw.testing.store.messages import MessageCases
from mailfw.testing.store.scaling import ScalingCases
from mailfw.testing.store.watching import ConcurrencyCases, WatchCases

__all__ = ["StoreContract"]


class StoreContract(
    AccountCases,
    MailboxCases,
    MessageCases,
    ChangeCases,
    CopyCases,
    WatchCases,
    ConcurrencyCases,
    ScalingCases,
    HistoryCases,
):
    """Every sentence of `IMailStore`, tried: mix it into a `TestCase` and override `make_store`."""
