"""A server's store, borrowed: the store's contract through the socket, accounts on hold, and who may not."""

from __future__ import annotations

import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mailfw.cluster import loan
from mailfw.cluster.loan import BorrowedStore
from mailfw.cluster.procedures import ConnectionToKeeperLost
from mailfw.interfaces import IMailStore
from mailfw.mail.failure import StoreRefusal
from mailfw.optional import INumberedMail, ISharedMail
from mailfw.service.lender import Lender, borrow
from mailfw.stores.memory import MemoryStore
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store import (
    AnnotationCases,
    NumberCases,
    ReplacingCases,
    SearchCases,
    SharedHistoryCases,
    SharingCases,
    StoreContract,
)
from mailfw.testing.store.fixture import ANN, BOB


async def make_draft(size_hint: int) -> MemoryContent:
    return MemoryContent()


class Lending:
    """Lends a memory store, of which `held` accounts get no mail."""

    def lend(self, case: Any) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.data = Path(case.mktemp()).absolute()
        self.data.mkdir()
        self.held: set[str] = set()
        post: Any = SimpleNamespace(custody=SimpleNamespace(open_draft=make_draft), held=self.held)
        self.lender = Lender(data=self.data, reactor=reactor, store=MemoryStore(), post=post)
        self.lender.listen()
        case.addCleanup(self.lender.close)

    async def borrow(self) -> BorrowedStore:
        store = await borrow(self.data, self.reactor)
        assert store is not None
        return store

    async def give_back(self, *stores: BorrowedStore) -> None:
        for store in stores:
            store._asking.transport.loseConnection()
        await self.pause()

    async def pause(self) -> None:
        await deferLater(self.reactor, 0.05)


class BorrowedStoreContract(
    StoreContract,
    AnnotationCases,
    ReplacingCases,
    NumberCases,
    SearchCases,
    SharingCases,
    SharedHistoryCases,
    Lending,
    TestCase,
):
    async def make_store(self) -> IMailStore:
        self.lend(self)
        store = await self.borrow()
        self.addCleanup(self.give_back, store)
        return store


class LoanTests(Lending, TestCase):
    async def setUp(self) -> None:  # type: ignore[override] # trial awaits it
        self.lend(self)
        self.store = await self.borrow()
        self.addCleanup(self.give_back, self.store)

    def test_what_is_offered(self) -> None:
        self.assertTrue(INumberedMail.providedBy(self.store))
        self.assertTrue(ISharedMail.providedBy(self.store))

    def test_who_may_open_it(self) -> None:
        self.assertEqual(stat.S_IMODE((self.data / "store.sock").stat().st_mode), 0o600)

    async def test_accounts_on_hold(self) -> None:
        """One command at a time; what it held is free when it is released, or the command gone."""
        other = await self.borrow()
        await self.store.hold(ANN)
        await self.store.hold(BOB)
        await self.store.hold(ANN)
        self.assertEqual(self.held, {ANN, BOB})
        with self.assertRaises(StoreRefusal):
            await other.hold(ANN)
        await other.release(ANN)
        self.assertEqual(self.held, {ANN, BOB})
        await self.store.release(ANN)
        await other.hold(ANN)
        self.assertEqual(self.held, {ANN, BOB})
        await self.give_back(self.store)
        self.assertEqual(self.held, {ANN})
        await self.give_back(other)
        self.assertEqual(self.held, set())

    async def test_another_version(self) -> None:
        with patch.object(loan, "__version__", "0.0.1"):
            asked = self.store._asking.call("hello", "0.0.2")
            try:
                await asked
                self.fail("it was lent")
            except StoreRefusal as refused:
                self.assertIn("start the server again", str(refused))

    async def test_the_server_stops(self) -> None:
        await self.store.open_account(ANN)
        await self.lender.close()
        await self.pause()
        with self.assertRaises(ConnectionToKeeperLost):
            await self.store.mailboxes(ANN)
        self.assertIsNone(await borrow(self.data, self.reactor))

    async def test_what_a_killed_server_has_left(self) -> None:
        """A socket that nobody listens to is no server, and is replaced by the next."""
        with patch("os.unlink"):
            await self.lender.close()
        await self.pause()
        self.assertIsNone(await borrow(self.data, self.reactor))
        self.lender.listen()
        again = await self.borrow()
        await self.give_back(again)
