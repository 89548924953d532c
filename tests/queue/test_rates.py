from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.envelope import Envelope
from mailfw.mail.queued import Leg, Pending, Queued
from mailfw.mail.route import Route
from mailfw.queue.rates import Limiter, Rate, Rates, read_rate, read_rates
from tests.queue.fixture import ANN, BOB, CAROL

LEG = Leg(Route("relay", "example.net"), (Pending(CAROL, CAROL),), 0.0)


class ReadingTests(SynchronousTestCase):
    def test_rates(self) -> None:
        self.assertEqual(read_rate("10/s"), Rate(10, 1.0))
        self.assertEqual(read_rate("7 / m"), Rate(7, 60.0))
        self.assertEqual(read_rate("100/h"), Rate(100, 3600.0))
        self.assertEqual(read_rate("5/d"), Rate(5, 86_400.0))
        self.assertIsNone(read_rate(""))
        for text in ("0/s", "x", "10", "10/y", "-1/s", "1.5/s", "10/ss", "/s"):
            with self.assertRaises(ValueError, msg=text):
                read_rate(text)

    def test_destinations(self) -> None:
        rates = read_rates(["Example.net=10/m", " smtp://mx.example.org:25 = 1/s", "*=5/s"], "100/h", "2/d")
        self.assertEqual(
            rates.destinations,
            {"example.net": Rate(10, 60.0), "smtp://mx.example.org:25": Rate(1, 1.0), "*": Rate(5, 1.0)},
        )
        self.assertEqual((rates.sender, rates.account), (Rate(100, 3600.0), Rate(2, 86_400.0)))
        for entry in ("example.net", "example.net=", "example.net=x", "10/m"):
            with self.assertRaises(ValueError, msg=entry):
                read_rates([entry])


class LimiterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)

    def limiter(self, rates: Rates) -> Limiter:
        return Limiter(rates, self.clock.seconds)

    def queued(self, account: str = "") -> Queued:
        return Queued(Envelope("1a", ANN, (CAROL,)), 0.0, (LEG,), account=account)

    def test_destinations(self) -> None:
        limiter = self.limiter(read_rates(["example.net=2/m", "*=1/s"]))
        self.assertTrue(limiter.is_limited("example.net") and limiter.is_limited("x.example"))
        self.assertFalse(limiter.is_limited(""))
        self.assertEqual([limiter.wait_for("example.net") for _ in range(3)], [0.0, 0.0, 30.0])
        self.assertEqual([limiter.wait_for("a.example"), limiter.wait_for("b.example")], [0.0, 0.0])
        self.assertEqual(limiter.wait_for("a.example"), 1.0)
        self.assertFalse(self.limiter(Rates()).is_limited("example.net"))

    def test_senders_are_told_different_times(self) -> None:
        limiter = self.limiter(read_rates(sender="2/m"))
        self.assertFalse(limiter.is_idle)
        waits = [limiter.wait(self.queued(), LEG) for _ in range(6)]
        self.assertEqual(waits, [0.0, 0.0, 30.0, 60.0, 90.0, 120.0])
        self.clock.advance(30)
        self.assertEqual(limiter.wait(self.queued(), LEG), 0.0)

    def test_who_may_not_for_his_account_is_not_counted_for_his_address(self) -> None:
        limiter = self.limiter(read_rates(sender="3/m", account="1/m"))
        self.assertEqual(limiter.wait(self.queued("ann"), LEG), 0.0)
        self.assertGreater(limiter.wait(self.queued("ann"), LEG), 0.0)
        self.assertEqual([limiter.wait(self.queued(), LEG) for _ in range(2)], [0.0, 0.0])

    def test_what_is_not_counted(self) -> None:
        limiter = self.limiter(read_rates(sender="1/d", account="1/d"))
        local = Leg(Route("mailbox"), (Pending(BOB, BOB),), 0.0)
        again = Leg(LEG.route, LEG.recipients, 0.0, attempts=1)
        report = Queued(Envelope("1a", None, (CAROL,)), 0.0)
        for queued, leg in ((self.queued(), local), (self.queued(), again), (report, LEG)):
            self.assertEqual([limiter.wait(queued, leg) for _ in range(5)], [0.0] * 5)
        self.assertTrue(self.limiter(Rates()).is_idle)
