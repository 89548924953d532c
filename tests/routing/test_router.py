from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.interfaces import IRouter
from mailfw.mail.address import Address
from mailfw.routing.router import LocalRouter, local
from mailfw.site import Site
from mailfw.testing.dialogue import run_now
from mailfw.testing.router import RouterContract
from tests.queue.fixture import ANN, CAROL, NOBODY, PretendDirectory


class LocalRouterTests(SynchronousTestCase):
    def test_what_is_ours_goes_to_the_mailbox(self) -> None:
        alias = Address("sales", "example.org")
        router = LocalRouter(directory=PretendDirectory({str(alias): [CAROL]}))
        for address, courier in ((ANN, "mailbox"), (alias, "mailbox"), (NOBODY, "mailbox"), (CAROL, None)):
            self.assertEqual(run_now(self, router.route(address)), courier)


class LocalRouterContractTests(RouterContract, TestCase):
    def make_router(self) -> IRouter:
        site = Site("mx.example.org", frozenset({"example.org"}), Path("absent"), Clock())
        return local(site, PretendDirectory())
