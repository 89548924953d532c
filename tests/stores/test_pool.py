"""No more stays open than a process can have, though some of it is in use just when room is needed."""

from __future__ import annotations

import threading

from twisted.trial.unittest import SynchronousTestCase

from mailfw.stores.index.pool import Pool


class Thing:
    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


class PoolTests(SynchronousTestCase):
    def test_what_is_asked_for_longest_ago_is_closed(self) -> None:
        pool = Pool(Thing, 2)
        one, two = pool.of("1"), pool.of("2")
        pool.of("1")
        pool.of("3")
        self.assertEqual((one.is_open, two.is_open), (True, False))

    def test_what_is_in_use_stays_and_another_goes(self) -> None:
        pool = Pool(Thing, 2)
        busy = pool.of("busy")
        with busy.lock:
            others = [pool.of(str(number)) for number in range(10)]
            self.assertTrue(busy.is_open)
            self.assertEqual(sum(each.is_open for each in others), 1)
        pool.of("last")
        self.assertFalse(busy.is_open)

    def test_the_newest_is_never_closed(self) -> None:
        pool = Pool(Thing, 1)
        busy = pool.of("busy")
        with busy.lock:
            self.assertTrue(pool.of("new").is_open)
