from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.interfaces import IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.verdict import Accept, Refuse, Verdict
from mailfw.network import Networks
from mailfw.policies.clients import ClientList
from mailfw.policies.patterns import Addresses, network_of
from mailfw.policies.recipients import RecipientList
from mailfw.policies.senders import SenderList
from mailfw.policies.size import SizeLimit
from mailfw.testing.contents import MemoryContent
from mailfw.testing.dialogue import run_now
from mailfw.testing.policy import PolicyContract

ANN = Address("Ann", "example.org")
BOB = Address("bob", "mail.example.net")


def from_address(address: str) -> Client:
    return Client(Service.SMTP, address)


class ClientListTests(SynchronousTestCase):
    policy = ClientList(allow=["192.0.2.7", "2001:db8:1::/48"], refuse=["192.0.2.0/24", "2001:db8::/32", "203.0.113.9"])

    def connect(self, address: str) -> Verdict | None:
        verdict: Verdict | None = run_now(self, self.policy.on_connect(from_address(address)))
        return verdict

    def test_refused(self) -> None:
        for address in ("192.0.2.8", "2001:db8::1", "203.0.113.9", "::ffff:192.0.2.9"):
            verdict = self.connect(address)
            assert isinstance(verdict, Refuse)
            self.assertEqual((verdict.code, verdict.status), (554, "5.7.1"))

    def test_allowed_wins_and_holds_at_every_stage(self) -> None:
        for address in ("192.0.2.7", "2001:db8:1::9", "::ffff:192.0.2.7"):
            client = from_address(address)
            for asked in (
                self.policy.on_connect(client),
                self.policy.on_helo(client),
                self.policy.on_sender(client, None),
                self.policy.on_recipient(client, None, ANN),
                self.policy.on_message(client, Envelope("1", None, (ANN,)), MemoryContent()),
            ):
                self.assertEqual(run_now(self, asked), Accept())

    def test_others(self) -> None:
        for address in ("198.51.100.1", "2001:db9::1", "", "no address", "203.0.113.90"):
            self.assertIsNone(self.connect(address))
        self.assertIsNone(run_now(self, self.policy.on_sender(from_address("203.0.113.9"), None)))

    def test_mistakes_are_refused(self) -> None:
        for text in ("example.org", "192.0.2.0/33", ""):
            with self.assertRaises(ValueError):
                ClientList(refuse=[text])


class NetworkTests(SynchronousTestCase):
    def test_network_of(self) -> None:
        self.assertEqual(network_of("192.0.2.77"), "192.0.2.0/24")
        self.assertEqual(network_of("::ffff:192.0.2.77"), "192.0.2.0/24")
        self.assertEqual(network_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64")
        self.assertEqual(network_of(""), "")

    @given(st.ip_addresses())
    def test_an_address_is_in_its_own_network(self, address: object) -> None:
        self.assertIn(address, Networks([str(address)]))
        if getattr(address, "ipv4_mapped", None) is None:
            self.assertIn(address, Networks([network_of(str(address))]))


class AddressesTests(SynchronousTestCase):
    def test_patterns(self) -> None:
        for pattern, matches, others in (
            ("ann@example.org", [ANN, Address("ANN", "example.org")], [BOB, Address("ann", "mail.example.org"), None]),
            ("@Example.ORG", [ANN, Address("x", "example.org")], [BOB, Address("ann", "mail.example.org"), None]),
            ("*@*.example.net", [BOB, Address("x", "a.b.example.net")], [ANN, Address("x", "example.net"), None]),
            ("@*.example.net", [BOB], [ANN]),
            ("a*@example.*", [ANN], [BOB]),
            ("*", [ANN, BOB, Address("postmaster", "")], []),
            ("<>", [None], [ANN, BOB]),
            ("@xn--9n2bp8q.xn--vc0b", [], [ANN]),
            ("@예시.한국", [Address("하늘", "예시.한국")], [ANN]),
            ("user@[192.0.2.1]", [Address("user", "[192.0.2.1]")], [Address("user", "1")]),
        ):
            addresses = Addresses([pattern])
            for address in matches:
                self.assertIn(address, addresses, pattern)
            for address in others:
                self.assertNotIn(address, addresses, pattern)

    def test_mistakes_are_refused(self) -> None:
        for pattern in ("", "ann", "example.org", "ann@"):
            with self.assertRaises(ValueError, msg=pattern):
                Addresses([pattern])

    def test_many_stars_stay_quick(self) -> None:
        addresses = Addresses(["*a***********a*b@example.org"])
        self.assertNotIn(Address("a" * 64, "example.org"), addresses)


class SenderListTests(SynchronousTestCase):
    policy = SenderList(allow=["bob@mail.example.net"], refuse=["@mail.example.net", "<>"], reason="Not you")

    def test_verdicts(self) -> None:
        for sender, verdict in (
            (BOB, Accept()),
            (Address("x", "mail.example.net"), Refuse("Not you", "5.7.1", 550)),
            (None, Refuse("Not you", "5.7.1", 550)),
            (ANN, None),
        ):
            self.assertEqual(run_now(self, self.policy.on_sender(from_address(""), sender)), verdict)
        self.assertIsNone(
            run_now(self, self.policy.on_recipient(from_address(""), ANN, Address("x", "mail.example.net")))
        )


class RecipientListTests(SynchronousTestCase):
    policy = RecipientList(allow=["ann@example.org"], refuse=["*@example.org"])

    def test_verdicts(self) -> None:
        client = from_address("")
        self.assertEqual(run_now(self, self.policy.on_recipient(client, None, ANN)), Accept())
        self.assertIsInstance(
            run_now(self, self.policy.on_recipient(client, None, Address("x", "example.org"))), Refuse
        )
        self.assertIsNone(run_now(self, self.policy.on_recipient(client, None, BOB)))
        self.assertIsNone(run_now(self, self.policy.on_sender(client, Address("x", "example.org"))))


class SizeLimitTests(SynchronousTestCase):
    def ask(self, policy: SizeLimit, size: int, account: str | None = None) -> Verdict | None:
        client = Client(Service.SMTP, "192.0.2.7", account=account)
        verdict: Verdict | None = run_now(
            self, policy.on_message(client, Envelope("1", None, (BOB, ANN)), MemoryContent(b"x" * size))
        )
        return verdict

    def test_for_everybody(self) -> None:
        policy = SizeLimit(octets=100)
        self.assertIsNone(self.ask(policy, 100))
        verdict = self.ask(policy, 101)
        assert isinstance(verdict, Refuse)
        self.assertEqual((verdict.code, verdict.status), (552, "5.3.4"))

    def test_for_some(self) -> None:
        self.assertIsNotNone(self.ask(SizeLimit(octets=100, recipients=["@example.org"]), 101))
        self.assertIsNone(self.ask(SizeLimit(octets=100, recipients=["@example.com"]), 101))
        submitters = SizeLimit(octets=100, accounts=["*"])
        self.assertIsNone(self.ask(submitters, 101))
        self.assertIsNotNone(self.ask(submitters, 101, "ann@example.org"))

    def test_mistakes_are_refused(self) -> None:
        with self.assertRaises(ValueError):
            SizeLimit(octets=0)


class ClientListContractTests(PolicyContract, TestCase):
    def make_policy(self) -> IDeliveryPolicy:
        return ClientList(allow=["192.0.2.0/24"], refuse=["2001:db8::/32"])


class SenderListContractTests(PolicyContract, TestCase):
    def make_policy(self) -> IDeliveryPolicy:
        return SenderList(allow=["ann@example.org"], refuse=["*@*.한국", "<>"])


class RecipientListContractTests(PolicyContract, TestCase):
    def make_policy(self) -> IDeliveryPolicy:
        return RecipientList(allow=["ann@example.org"], refuse=["*"])


class SizeLimitContractTests(PolicyContract, TestCase):
    def make_policy(self) -> IDeliveryPolicy:
        return SizeLimit(octets=1000, recipients=["@example.org"], accounts=["ann@*"])
