from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.allowance import Allowance
from mailfw.interfaces import IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Service
from mailfw.mail.verdict import Defer, Verdict
from mailfw.policies.rate import RateLimit
from mailfw.site import Site
from mailfw.testing.dialogue import run_now
from mailfw.testing.policy import PolicyContract

ANN = Address("ann", "example.org")
CLIENT = Client(Service.SMTP, "192.0.2.7")


def site(clock: Clock) -> Site:
    return Site("mx.example.org", frozenset({"example.org"}), Path("absent"), clock)


class AllowanceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def test_a_burst_then_evenly(self) -> None:
        allowance = Allowance(3, 60.0, self.clock.seconds)
        self.assertEqual([allowance.take("a") for _ in range(3)], [0.0] * 3)
        self.assertAlmostEqual(allowance.take("a"), 20.0)
        self.assertEqual([allowance.is_spent(name) for name in "ab"], [True, False])
        self.assertEqual(allowance.take("b"), 0.0)
        self.clock.advance(20)
        self.assertEqual(allowance.take("a"), 0.0)
        self.assertAlmostEqual(allowance.take("a"), 20.0)
        self.clock.advance(600)
        self.assertEqual([allowance.take("a") for _ in range(3)], [0.0] * 3)
        self.assertGreater(allowance.take("a"), 0.0)

    def test_no_limit(self) -> None:
        allowance = Allowance(0, 60.0, self.clock.seconds)
        self.assertEqual({allowance.take("a") for _ in range(1000)}, {0.0})

    def test_memory_is_bounded(self) -> None:
        allowance = Allowance(3, 60.0, self.clock.seconds, remembered=100)
        for n in range(1000):
            allowance.take(str(n))
        self.assertEqual(len(allowance), 100)
        self.clock.advance(61)
        for n in range(60):
            allowance.take(f"new {n}")
        self.assertLessEqual(len(allowance), 60)

    def test_a_clock_set_back_locks_nobody_out(self) -> None:
        self.clock.advance(1_000_000)
        allowance = Allowance(3, 60.0, self.clock.seconds)
        for _ in range(4):
            allowance.take("a")
        self.clock.rightNow = 0.0
        self.assertLessEqual(allowance.take("a"), 20.0)
        self.clock.advance(20)
        self.assertEqual(allowance.take("a"), 0.0)

    @given(st.integers(1, 50), st.lists(st.floats(0, 30), max_size=200))
    def test_never_more_than_twice_the_limit_in_a_period(self, limit: int, pauses: list[float]) -> None:
        clock = Clock()
        allowance = Allowance(limit, 60.0, clock.seconds)
        taken: list[float] = []
        for pause in pauses:
            clock.advance(pause)
            if allowance.take("a") == 0.0:
                taken.append(clock.seconds())
        for start in taken:
            self.assertLessEqual(len([when for when in taken if start <= when < start + 60]), 2 * limit)


class RateLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.policy = RateLimit(
            site=site(self.clock),
            client_messages=2,
            client_recipients=3,
            account_messages=1,
            account_recipients=0,
            period=60.0,
        )

    def send(self, client: Client) -> Verdict | None:
        verdict: Verdict | None = run_now(self, self.policy.on_sender(client, ANN))
        return verdict

    def test_messages_of_a_client(self) -> None:
        self.assertEqual([self.send(CLIENT) for _ in range(2)], [None, None])
        verdict = self.send(CLIENT)
        assert isinstance(verdict, Defer)
        self.assertEqual((verdict.code, verdict.status), (450, "4.7.1"))
        self.assertIn("30 s", verdict.reason)
        self.assertIsNone(self.send(Client(Service.SMTP, "192.0.2.8")))
        self.clock.advance(30)
        self.assertIsNone(self.send(CLIENT))

    def test_recipients_of_a_client(self) -> None:
        verdicts = [run_now(self, self.policy.on_recipient(CLIENT, None, ANN)) for _ in range(4)]
        self.assertEqual([type(verdict) for verdict in verdicts], [type(None)] * 3 + [Defer])

    def test_a_network_of_ipv6_is_one_client(self) -> None:
        verdicts = [self.send(Client(Service.SMTP, f"2001:db8::{n}")) for n in range(1, 4)]
        self.assertIsInstance(verdicts[-1], Defer)
        self.assertIsNone(self.send(Client(Service.SMTP, "2001:db8:0:1::1")))

    def test_ipv4_is_one_address_also_on_an_ipv6_socket(self) -> None:
        addresses = ("192.0.2.7", "::ffff:192.0.2.7", "::ffff:192.0.2.7", "::ffff:192.0.2.8")
        verdicts = [self.send(Client(Service.SMTP, address)) for address in addresses]
        self.assertEqual([verdict is None for verdict in verdicts], [True, True, False, True])

    def test_an_account_counts_for_itself_wherever_it_comes_from(self) -> None:
        one = Client(Service.SUBMISSION, "192.0.2.7", account="ann@example.org")
        other = Client(Service.SUBMISSION, "192.0.2.8", account="ann@example.org")
        self.assertIsNone(self.send(one))
        self.assertIsInstance(self.send(other), Defer)
        self.assertIsNone(self.send(Client(Service.SUBMISSION, "192.0.2.7", account="bob@example.org")))
        for _ in range(100):
            self.assertIsNone(run_now(self, self.policy.on_recipient(one, ANN, ANN)))

    def test_unix_sockets_are_not_limited(self) -> None:
        self.assertEqual({self.send(Client(Service.LMTP, "")) for _ in range(100)}, {None})

    def test_mistakes_are_refused(self) -> None:
        with self.assertRaises(ValueError):
            RateLimit(site=site(self.clock), period=0)
        with self.assertRaises(ValueError):
            RateLimit(site=site(self.clock), client_messages=-1)


class RateLimitContractTests(PolicyContract, TestCase):
    def make_policy(self) -> IDeliveryPolicy:
        return RateLimit(site=site(Clock()), client_messages=3)
