"""Deliveries into mailboxes give way to mail that comes in."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailfw.queue.pace import Pace


class PaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pace = Pace()

    def test_a_lone_message_does_not_wait(self) -> None:
        self.pace.arrived(10.0)
        self.assertEqual(self.pace.wait(10.0, 0), 0.0)

    def test_while_mail_comes_in_one_round_ends_and_rests_before_the_next(self) -> None:
        for now in (10.0, 10.02):
            self.pace.arrived(now)
        self.pace.began(10.02)
        self.pace.arrived(10.03)
        self.assertAlmostEqual(self.pace.wait(10.03, 7), 0.05)  # until no more mail comes
        self.pace.arrived(10.04)
        rest = self.pace.wait(10.04, 0)
        self.assertAlmostEqual(rest, 0.05)
        self.pace.arrived(10.09)
        self.assertAlmostEqual(self.pace.wait(10.09, 0), 0.05)
        self.pace.arrived(10.14)
        self.assertEqual(self.pace.wait(10.141, 0), 0.0)  # five times the 20 ms of the round

    def test_when_none_comes_nothing_rests(self) -> None:
        self.pace.arrived(10.0)
        self.pace.began(10.0)
        self.assertEqual(self.pace.wait(10.051, 500), 0.0)
        self.pace.arrived(11.0)
        self.assertEqual(self.pace.wait(11.0, 500), 0.0)

    def test_what_hangs_ends_no_later_round(self) -> None:
        self.pace.arrived(10.0)
        self.pace.began(10.0)
        now, begun = 10.0, []
        while now < 20.0:
            now += 0.01
            self.pace.arrived(now)
            if not self.pace.wait(now, 1):
                self.pace.began(now)
                begun.append(now)
        self.assertGreaterEqual(len(begun), 4)
