"""Deliveries into mailboxes give way to mail that comes in."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailfw.queue.pace import Pace


class PaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.worked = 0.0
        self.pace = Pace(lambda: self.worked)

    def arrived(self, now: float) -> None:
        """Let a message come in, and the thread be busy until then."""
        self.worked = now
        self.pace.arrived(now)

    def test_a_lone_message_does_not_wait(self) -> None:
        self.pace.arrived(10.0)
        self.assertEqual(self.pace.wait(10.0, 0), 0.0)

    def test_while_mail_comes_in_one_round_ends_and_rests_before_the_next(self) -> None:
        self.arrived(10.02)
        self.pace.began(10.02, 1, 2000)
        self.arrived(10.03)
        self.assertAlmostEqual(self.pace.wait(10.03, 7), 0.1)  # until no more mail comes
        self.arrived(10.04)
        self.assertAlmostEqual(self.pace.wait(10.04, 0), 0.02)  # until it is time to look
        for now in (10.06, 10.08, 10.1, 10.12, 10.14, 10.16, 10.18):
            self.arrived(now)
            self.assertGreater(self.pace.wait(now, 0), 0.0)
        self.arrived(10.2)
        self.assertEqual(self.pace.wait(10.201, 0), 0.0)  # eight times the 20 ms of the round

    def test_who_has_nothing_to_do_needs_no_rest(self) -> None:
        self.arrived(10.0)
        self.pace.began(10.0, 1, 2000)
        self.arrived(10.5)
        self.assertGreater(self.pace.wait(10.5, 0), 0.0)
        self.worked += 0.005
        self.pace.arrived(10.52)
        self.assertEqual(self.pace.wait(10.521, 0), 0.0)

    def test_when_none_comes_nothing_rests(self) -> None:
        self.pace.arrived(10.0)
        self.pace.began(10.0, 1, 2000)
        self.assertEqual(self.pace.wait(10.101, 500), 0.0)
        self.pace.arrived(11.0)
        self.assertEqual(self.pace.wait(11.0, 500), 0.0)

    def test_a_round_has_few_large_messages_or_many_small_ones(self) -> None:
        for copies, size, fit in ((1, 100, 256), (1, 2**20, 8), (50, 2000, 6), (1, 2**40, 1)):
            self.pace.wait(10.0, 0)
            begun = 0
            while self.pace.has_room:
                self.pace.began(10.0, copies, size)
                begun += 1
            self.assertEqual(begun, fit)

    def test_what_hangs_ends_no_later_round(self) -> None:
        self.pace.arrived(10.0)
        self.pace.began(10.0, 1, 2000)
        now, begun = 10.0, []
        while now < 20.0:
            now += 0.01
            self.arrived(now)
            if not self.pace.wait(now, 1):
                self.pace.began(now, 1, 2000)
                begun.append(now)
        self.assertGreaterEqual(len(begun), 4)
