from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.envelope import DeliverBy, Envelope
from mailfw.mail.queued import Queued
from mailfw.queue.schedule import Schedule
from tests.queue.fixture import ANN, BOB, DAY


def message(arrived: float = 0.0, **options: object) -> Queued:
    return Queued(Envelope("1a", ANN, (BOB,), **options), arrived)  # type: ignore[arg-type]


class ScheduleTests(SynchronousTestCase):
    schedule = Schedule()

    def test_first_minutes_then_an_hour(self) -> None:
        pauses = [self.schedule.pause(attempts, 0.5) for attempts in range(1, 10)]
        self.assertEqual(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600])
        self.assertEqual(self.schedule.pause(0, 0.5), 60)
        self.assertEqual(self.schedule.pause(10**9, 0.5), 3600)

    @given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
    def test_chance_moves_a_pause_by_a_fifth(self, attempts: int, chance: float) -> None:
        middle = self.schedule.pause(attempts, 0.5)
        self.assertTrue(0.79 * middle < self.schedule.pause(attempts, chance) < 1.21 * middle)

    def test_the_end(self) -> None:
        queued = message()
        self.assertEqual(self.schedule.next_attempt(queued, 1, 0.0, 0.5), 60.0)
        self.assertEqual(self.schedule.next_attempt(queued, 99, 5 * DAY - 60, 0.5), 5 * DAY)
        self.assertIsNone(self.schedule.next_attempt(queued, 99, 5 * DAY, 0.5))
        self.assertIsNone(self.schedule.next_attempt(queued, 1, 9 * DAY, 0.5))

    def test_how_often_it_is_tried(self) -> None:
        now, attempts = 0.0, 1
        while (due := self.schedule.next_attempt(message(), attempts, now, 0.5)) is not None:
            now, attempts = due, attempts + 1
        self.assertEqual(now, 5 * DAY)
        self.assertTrue(120 < attempts < 135, attempts)

    def test_what_is_released_later_lives_from_then(self) -> None:
        queued = message(release=3 * DAY)
        self.assertEqual(self.schedule.expiry(queued), 8 * DAY)
        self.assertFalse(self.schedule.is_warning_due(queued, 3 * DAY + 3600))
        self.assertTrue(self.schedule.is_warning_due(queued, 3 * DAY + 5 * 3600))

    def test_deliver_by(self) -> None:
        back, late = message(by=DeliverBy(100.0, True)), message(by=DeliverBy(100.0, False))
        self.assertEqual(self.schedule.next_attempt(back, 1, 70.0, 0.5), 100.0)
        self.assertIsNone(self.schedule.next_attempt(back, 2, 100.0, 0.5))
        self.assertEqual(self.schedule.next_attempt(late, 1, 70.0, 0.5), 100.0)
        self.assertEqual(self.schedule.next_attempt(late, 2, 100.0, 0.5), 220.0)
        self.assertFalse(self.schedule.is_warning_due(back, 100.0))
        self.assertFalse(self.schedule.is_warning_due(late, 99.0))
        self.assertTrue(self.schedule.is_warning_due(late, 100.0))

    def test_warnings(self) -> None:
        queued = message()
        self.assertFalse(self.schedule.is_warning_due(queued, 4 * 3600 - 1))
        self.assertTrue(self.schedule.is_warning_due(queued, 4 * 3600))
        self.assertFalse(Schedule(warning=0).is_warning_due(queued, 4 * DAY))
        self.assertFalse(self.schedule.is_warning_due(Queued(Envelope("1a", None, (BOB,)), 0.0), 4 * DAY))
        self.assertFalse(self.schedule.is_warning_due(Queued(queued.envelope, 0.0, warned=True), 4 * DAY))
