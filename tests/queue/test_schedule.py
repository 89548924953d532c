from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.queue.schedule import Schedule

DAY = 86400.0


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
        self.assertEqual(self.schedule.next_attempt(0.0, 1, 0.0, 0.5), 60.0)
        self.assertEqual(self.schedule.next_attempt(0.0, 99, 5 * DAY - 60, 0.5), 5 * DAY)
        self.assertIsNone(self.schedule.next_attempt(0.0, 99, 5 * DAY, 0.5))
        self.assertIsNone(self.schedule.next_attempt(0.0, 1, 9 * DAY, 0.5))

    def test_how_often_it_is_tried(self) -> None:
        now, attempts = 0.0, 1
        while (due := self.schedule.next_attempt(0.0, attempts, now, 0.5)) is not None:
            now, attempts = due, attempts + 1
        self.assertEqual(now, 5 * DAY)
        self.assertTrue(120 < attempts < 135, attempts)
