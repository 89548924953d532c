"""Work in steps."""

from collections.abc import Sequence
from operator import itemgetter

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail import steps
from mailfw.testing.dialogue import run_now


class Ordered(SynchronousTestCase):
    def sort(self, items: Sequence[tuple[int, int]], reverse: bool) -> tuple[list[tuple[int, int]], int]:
        """Return what was sorted by the first of two numbers, and in how many steps."""
        turns: list[None] = []

        async def give_way() -> None:
            turns.append(None)
            await succeed(None)

        return run_now(self, steps.in_turns(steps.ordered(items, itemgetter(0), reverse), give_way)), len(turns)

    @given(st.lists(st.integers(0, 9), max_size=40), st.booleans())
    def test_it_sorts(self, numbers: list[int], reverse: bool) -> None:
        self.patch(steps, "PORTION", 3)
        items = [(number, place) for place, number in enumerate(numbers)]
        found, _ = self.sort(items, reverse)
        self.assertEqual(found, sorted(items, key=itemgetter(0), reverse=reverse))

    def test_others_have_their_turn(self) -> None:
        items = [(number, number) for number in range(5 * steps.PORTION, 0, -1)]
        found, turns = self.sort(items, False)
        self.assertEqual(found, items[::-1])
        self.assertEqual(turns, 5 + 3 + 2 + 1)
        self.assertEqual(self.sort(items[: steps.PORTION], False)[1], 0)
