"""Taking turns."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailfw.turns import Turns


class TurnsTests(SynchronousTestCase):
    """Order, places, giving up, and very many who wait."""

    def setUp(self) -> None:
        self.inside: list[int] = []
        self.gates: dict[int, Deferred[None]] = {}

    async def visit(self, turns: Turns, number: int) -> None:
        async with turns:
            self.inside.append(number)
            self.gates[number] = Deferred()
            await self.gates[number]

    def begin(self, turns: Turns, *numbers: int) -> list[Deferred[None]]:
        return [Deferred.fromCoroutine(self.visit(turns, number)) for number in numbers]

    def test_one_at_a_time_in_order(self) -> None:
        turns = Turns()
        self.begin(turns, 1, 2, 3)
        self.assertEqual(self.inside, [1])
        self.gates[1].callback(None)
        self.assertEqual(self.inside, [1, 2])
        self.gates[2].callback(None)
        self.gates[3].callback(None)
        self.assertEqual(self.inside, [1, 2, 3])
        self.assertTrue(turns.is_idle)

    def test_places(self) -> None:
        turns = Turns(2)
        self.begin(turns, 1, 2, 3)
        self.assertEqual(self.inside, [1, 2])
        self.gates[2].callback(None)
        self.assertEqual(self.inside, [1, 2, 3])
        self.assertFalse(turns.is_idle)

    def test_a_fault_gives_the_place_back(self) -> None:
        turns = Turns()
        first, _ = self.begin(turns, 1, 2)
        self.gates[1].errback(ValueError())
        self.failureResultOf(first, ValueError)
        self.assertEqual(self.inside, [1, 2])

    def test_whoever_gives_up_is_not_let_in(self) -> None:
        turns = Turns()
        _, second, _ = self.begin(turns, 1, 2, 3)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.gates[1].callback(None)
        self.assertEqual(self.inside, [1, 3])

    def test_ten_thousand_who_leave_at_once(self) -> None:
        turns, done = Turns(), []

        async def pass_through(number: int) -> None:
            async with turns:
                done.append(number)

        self.begin(turns, -1)
        for number in range(10_000):
            Deferred.fromCoroutine(pass_through(number))
        self.gates[-1].callback(None)
        self.assertEqual(done, list(range(10_000)))
        self.assertTrue(turns.is_idle)
