"""Counts that workers share: nothing is asked for while there is plenty, and a limit holds whoever takes turns."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.cluster.counters import Register
from mailfw.cluster.shares import MOMENT, Counted, Ledger, SharedCount, Shares

PERIOD = 3600.0


class Worker:
    """One worker's counts, and its way to the keeper: as slow as the test wants."""

    def __init__(self, keeper: Keeper, workers: int) -> None:
        self.keeper = keeper
        self.calls = 0
        self.shares = Shares(self, workers, keeper.clock)
        keeper.register.join(self, self.tell)
        keeper.ledger.join(self.tell)

    def tell(self, name: str, *said: Any) -> None:
        if name == "low":
            self.keeper.later(lambda: self.shares.hear_low(*said))

    async def call(self, name: str, counted: Counted, what: Any) -> Any:
        self.calls += 1
        await self.keeper.hop()
        answer: Any
        if name == "charge":
            events: Mapping[str, int] = dict(what)
            answer = self.keeper.ledger.charge(self, counted, events)
        else:
            answer = self.keeper.ledger.take(self, counted, what)
        await self.keeper.hop()
        return answer


class Keeper:
    """The ledger, on a clock."""

    def __init__(self, delay: float = 0.0) -> None:
        self.clock = Clock()
        self.delay = delay
        self.register = Register()
        self.ledger = Ledger(self.clock.seconds, self.register.tell_others)

    def later(self, do: Callable[[], None]) -> None:
        if self.delay:
            self.clock.callLater(self.delay, do)
        else:
            do()

    def hop(self) -> Deferred[None]:
        arrived: Deferred[None] = Deferred()
        self.later(lambda: arrived.callback(None))
        return arrived


def counts(keeper: Keeper, workers: int, limit: int) -> list[tuple[Worker, SharedCount]]:
    made = [Worker(keeper, workers) for _ in range(workers)]
    return [(worker, worker.shares.tally("rate").allow(limit, PERIOD)) for worker in made]  # type: ignore[misc]


class SharesTests(SynchronousTestCase):
    def take(self, count: SharedCount, name: str = "a") -> Deferred[float]:
        return Deferred.fromCoroutine(count.take(name))

    def test_nothing_waits_while_there_is_plenty(self) -> None:
        keeper = Keeper(delay=0.01)
        [(worker, count), _] = counts(keeper, 2, 1000)
        for _ in range(31):
            self.assertEqual(self.successResultOf(self.take(count)), 0.0)
        self.assertEqual(worker.calls, 0)
        keeper.clock.pump([MOMENT, 0.01, 0.01])
        self.assertEqual(worker.calls, 1)

    def test_a_small_limit_is_exact(self) -> None:
        keeper = Keeper()
        made = counts(keeper, 2, 3)
        answers = [self.successResultOf(self.take(made[n % 2][1])) for n in range(6)]
        self.assertEqual([wait == 0.0 for wait in answers], [True] * 3 + [False] * 3)

    def test_the_limit_holds_whoever_takes_and_however_slow_news_are(self) -> None:
        chance = random.Random(7)
        for workers, limit, delay in ((2, 100, 0.0), (2, 100, 0.02), (4, 300, 0.2), (3, 40, 1.0)):
            keeper = Keeper(delay)
            made = counts(keeper, workers, limit)
            taken: list[float] = []
            for _ in range(4 * limit):
                self.take(chance.choice(made)[1]).addCallback(taken.append)
                keeper.clock.advance(chance.choice((0.0, 0.0, 0.01, 0.1)))
            keeper.clock.pump([0.1] * 100)
            allowed = sum(wait == 0.0 for wait in taken)
            self.assertEqual(len(taken), 4 * limit)
            self.assertLessEqual(limit, allowed)
            back = limit * keeper.clock.seconds() / PERIOD  # is given back while the clock goes on
            self.assertLessEqual(allowed, limit * 9 / 8 + back + 1)

    def test_a_worker_that_comes_later_knows_who_has_little_left(self) -> None:
        keeper = Keeper()
        [(_, count)] = counts(keeper, 1, 20)
        for _ in range(30):
            self.take(count)
        [(late, another)] = counts(keeper, 1, 20)
        self.assertGreater(self.successResultOf(self.take(another)), 0.0)
        self.assertEqual(late.calls, 1)

    def test_who_has_plenty_again_is_not_asked_for(self) -> None:
        keeper = Keeper()
        [(worker, count)] = counts(keeper, 1, 20)
        for _ in range(30):
            self.take(count)
        keeper.clock.advance(MOMENT)
        keeper.clock.advance(PERIOD)
        self.take(count)
        asked = worker.calls
        self.assertEqual(self.successResultOf(self.take(count)), 0.0)
        self.assertEqual(worker.calls, asked)

    def test_no_limit_asks_nobody(self) -> None:
        keeper = Keeper()
        [(worker, count)] = counts(keeper, 1, 0)
        self.assertEqual(self.successResultOf(self.take(count)), 0.0)
        keeper.clock.advance(1)
        self.assertEqual(worker.calls, 0)

    def test_counts_of_a_configuration_that_was_are_forgotten_when_they_mean_nothing(self) -> None:
        keeper = Keeper()
        for number in range(50):
            keeper.ledger.take(None, Counted("old", number, 5, 1.0), "a")
            keeper.clock.advance(2.0)
        self.assertEqual(len(keeper.ledger), 1)
