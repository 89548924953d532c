from __future__ import annotations

import time

from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.queue.steady import elapsing, steady_clock, steady_timers


class SteadyTests(SynchronousTestCase):
    def test_what_passes_counts_and_nothing_else(self) -> None:
        passed = Clock()
        passed.advance(17)
        clock = elapsing(1_000_000.0, passed.seconds)
        self.assertEqual(clock(), 1_000_000.0)
        passed.advance(60)
        self.assertEqual(clock(), 1_000_060.0)

    def test_pretended_time(self) -> None:
        clock = Clock()
        seconds = steady_clock(clock)
        clock.advance(86_400)
        self.assertEqual(seconds(), 86_400)

    def test_setting_the_clock_of_the_machine(self) -> None:
        """A week ahead, or behind: no message has become a week older."""
        from twisted.internet import reactor

        seconds = steady_clock(reactor)
        self.assertTrue(abs(seconds() - time.time()) < 5)
        now = time.time()
        self.patch(time, "time", lambda: now + 7 * 86_400)
        self.assertTrue(abs(seconds() - now) < 5)

    def test_timers_when_the_clock_is_set_back(self) -> None:
        """What is to happen at once does not wait until it is that time again."""
        reactor = SelectReactor()
        self.addCleanup(reactor.disconnectAll)
        steady_timers(reactor)
        done: list[int] = []
        reactor.callLater(0, done.append, 1)
        self.patch(SelectReactor, "seconds", lambda _: time.time() - 86_400)
        reactor.runUntilCurrent()
        self.assertEqual(done, [1])
