"""The store contract through the wire: the stub of a worker and the desk of a keeper."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailfw.cluster import store as cluster_store
from mailfw.cluster.channel import Asking
from mailfw.cluster.desk import StoreDesk
from mailfw.cluster.offers import lend, offers_of
from mailfw.cluster.store import RemoteStore, Watches
from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import NewMessage
from mailfw.stores.memory import MemoryStore
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store import (
    AnnotationCases,
    ReplacingCases,
    SearchCases,
    SharedHistoryCases,
    SharingCases,
    StoreContract,
)
from mailfw.testing.store.fixture import StoreFixture
from tests.cluster import keeping
from tests.cluster.keeping import adopt, answer


def ask(reactor: Any, descriptor: int) -> tuple[Asking, RemoteStore]:
    watches = Watches()
    asking = adopt(reactor, descriptor, Asking(StoreDesk, {"notice": watches.hear}))
    store = RemoteStore(asking, watches)
    lend(asking, store, offers_of(MemoryStore()))
    return asking, store


class Closing:
    """Ends the connections of a test, and waits for it."""

    def end(self, *channels: Any) -> Any:
        for each in channels:
            each.transport.loseConnection()
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        return deferLater(reactor, 0.05)


class OneProcessContract(
    StoreContract, AnnotationCases, ReplacingCases, SearchCases, SharingCases, SharedHistoryCases, Closing, TestCase
):
    def make_store(self) -> IMailStore:
        from twisted.internet import reactor

        ours, theirs = socket.socketpair()
        keeper = answer(reactor, theirs.fileno())
        asking, store = ask(reactor, ours.fileno())
        ours.close()
        theirs.close()
        self.addCleanup(self.end, asking, keeper)
        return store


class ManyTests(StoreFixture, Closing, TestCase):
    make_store = OneProcessContract.make_store

    async def test_more_than_travels_with_one_call(self) -> None:
        """Messages of one call are there in order, those that come before it among them."""
        self.patch(cluster_store, "TOGETHER", 50)
        octets = [b"Subject: %d\r\n\r\nhello\r\n" % number for number in range(9)]
        uids = [kept.uid for kept in await self.append([NewMessage(MemoryContent(each)) for each in octets])]
        self.assertEqual([await self.octets(uid) for uid in uids], octets)
        self.assertEqual(len(await self.uids()), 9)


class TwoProcessesContract(
    StoreContract, AnnotationCases, ReplacingCases, SearchCases, SharingCases, SharedHistoryCases, Closing, TestCase
):
    def make_store(self) -> IMailStore:
        from twisted.internet import reactor
        from twisted.internet.protocol import ProcessProtocol

        ours, theirs = socket.socketpair()
        gone: Deferred[None] = Deferred()

        class Child(ProcessProtocol):
            def processEnded(self, reason: Any) -> None:
                gone.callback(None)

        root = str(Path(__file__).parents[2])
        spawner: Any = reactor
        spawner.spawnProcess(
            Child(),  # run by its path, since the package of all tests imports much
            sys.executable,
            [sys.executable, keeping.__file__, "3"],
            env={"PYTHONPATH": root},
            childFDs={0: "w", 1: 1, 2: 2, 3: theirs.fileno()},
        )
        asking, store = ask(reactor, ours.fileno())
        ours.close()
        theirs.close()
        transport: Any = asking.transport
        self.addCleanup(lambda: gone)
        self.addCleanup(transport.loseConnection)
        return store
