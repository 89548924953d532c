from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.interfaces import IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Service
from mailfw.mail.verdict import Defer, Verdict
from mailfw.policies.greylist import Acquaintances, Greylist
from mailfw.site import Site
from mailfw.testing.dialogue import run_now
from mailfw.testing.policy import PolicyContract
from tests.accounts.pretend import PretendReactor

ANN = Address("ann", "example.org")
CAROL = Address("carol", "example.net")
STRANGER = Client(Service.SMTP, "192.0.2.7")
DAY = 86400.0


class GreylistTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = PretendReactor()
        self.reactor.advance(1_700_000_000)
        self.data = Path(self.mktemp())
        self.data.mkdir()
        self.policy = self.make()

    def make(self) -> Greylist:
        site = Site("mx.example.org", frozenset({"example.org"}), self.data, self.reactor)
        return Greylist(site=site, auto_allow=2)

    def ask(
        self, client: Client = STRANGER, sender: Address | None = CAROL, recipient: Address = ANN
    ) -> Verdict | None:
        verdict: Verdict | None = run_now(self, self.policy.on_recipient(client, sender, recipient))
        return verdict

    def test_comes_back_in_time(self) -> None:
        verdict = self.ask()
        assert isinstance(verdict, Defer)
        self.assertEqual((verdict.code, verdict.status), (450, "4.7.1"))
        self.assertIn("300 s", verdict.reason)
        self.reactor.advance(299)
        self.assertIsInstance(self.ask(), Defer)
        self.reactor.advance(1)
        self.assertIsNone(self.ask())
        self.assertIsNone(self.ask())
        self.reactor.advance(30 * DAY)
        self.assertIsNone(self.ask())
        self.reactor.advance(36 * DAY)
        self.assertIsInstance(self.ask(), Defer)

    def test_comes_back_too_late(self) -> None:
        self.ask()
        self.reactor.advance(2 * DAY + 1)
        self.assertIsInstance(self.ask(), Defer)

    def test_the_network_counts_not_the_host(self) -> None:
        self.ask()
        self.reactor.advance(300)
        self.assertIsNone(self.ask(Client(Service.SMTP, "192.0.2.200")))
        self.assertIsInstance(self.ask(Client(Service.SMTP, "192.0.3.7")), Defer)

    def test_sender_and_recipient_count(self) -> None:
        self.ask()
        self.reactor.advance(300)
        self.assertIsInstance(self.ask(sender=None), Defer)
        self.assertIsInstance(self.ask(recipient=Address("bob", "example.org")), Defer)
        self.assertIsNone(self.ask(sender=Address("CAROL", "example.net")))

    def test_a_network_that_always_comes_back(self) -> None:
        for recipient in ("a", "b"):
            self.ask(recipient=Address(recipient, "example.org"))
        self.reactor.advance(300)
        for recipient in ("a", "b"):
            self.assertIsNone(self.ask(recipient=Address(recipient, "example.org")))
        self.assertIsNone(self.ask(recipient=Address("c", "example.org")))
        self.reactor.advance(36 * DAY)
        self.assertIsInstance(self.ask(recipient=Address("d", "example.org")), Defer)

    def test_who_passes(self) -> None:
        for client in (
            Client(Service.SUBMISSION, "192.0.2.7", account="ann@example.org"),
            Client(Service.SUBMISSION, "192.0.2.7"),
            Client(Service.LMTP, "192.0.2.7"),
            Client(Service.SMTP, ""),
            Client(Service.SMTP, "no address"),
        ):
            self.assertIsNone(self.ask(client))

    def test_what_is_known_survives(self) -> None:
        self.ask()
        self.ask(recipient=Address("bob", "example.org"))
        self.reactor.advance(300)
        self.assertIsNone(self.ask())
        self.reactor.advance(60)
        self.policy = self.make()
        self.assertIsNone(self.ask())
        self.assertIsNone(self.ask(recipient=Address("bob", "example.org")))
        self.assertIsNone(self.ask(recipient=Address("new", "example.org")), "The network has come back twice")

    def test_nothing_is_written_where_nothing_changes(self) -> None:
        self.reactor.advance(1000)
        self.assertFalse((self.data / "greylist").exists())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_file_that_cannot_be_read(self) -> None:
        for text in ("something else", "mailfw greylist 1\ntriplet x y\n", "mailfw greylist 1\ntriplet \xff 1 2 3\n"):
            (self.data / "greylist").write_text(text, "latin-1")
            self.policy = self.make()
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1, text)
            self.assertIsInstance(self.ask(), Defer)

    def test_a_file_that_cannot_be_written(self) -> None:
        self.data.rmdir()
        self.ask()
        self.reactor.advance(60)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.data.mkdir()
        self.ask()
        self.reactor.advance(60)
        self.assertTrue((self.data / "greylist").exists())

    def test_memory_is_bounded(self) -> None:
        table = Acquaintances(remembered=10)
        for n in range(100):
            table.meet(str(n), 0.0)
            table.meet("0", 0.0)
        self.assertEqual(len(table), 10)
        self.assertIsNotNone(table.get("0"))
        self.assertIsNone(table.get("50"))

    def test_mistakes_are_refused(self) -> None:
        site = Site("mx.example.org", frozenset({"example.org"}), self.data, self.reactor)
        with self.assertRaises(ValueError):
            Greylist(site=site, delay=10.0, window=5.0)


class GreylistContractTests(PolicyContract, TestCase):
    def make_policy(self) -> IDeliveryPolicy:
        data = Path(self.mktemp())
        data.mkdir()
        return Greylist(site=Site("mx.example.org", frozenset({"example.org"}), data, PretendReactor()))
