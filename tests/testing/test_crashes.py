"""The cases of crashes: they pass a store that writes before it says so, and fail one that does not."""

from __future__ import annotations

import unittest
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.mail.mailbox import CreateMailbox
from mailfw.testing.store.crashes import CrashCases
from mailfw.testing.store.doomed import ACCOUNT, PATHS, mailbox_ids
from mailfw.testing.store.truth import Answer, Change, Differs, Truth, outcomes
from tests.testing.pickled import PickledStore


def complaints_of(spec_: str) -> list[str]:
    class Tried(CrashCases, TestCase):
        spec, crashes, seed, whole_calls = spec_, 3, 1, True

    result = unittest.TestResult()
    Tried("test_killed_at_random_moments").run(result)
    assert result.testsRun == 1 and not result.skipped
    return [str(complaint) for _, complaint in (*result.failures, *result.errors)]


class CrashTests(SynchronousTestCase):
    def test_who_writes_first_loses_nothing(self) -> None:
        self.assertEqual(complaints_of("tests.testing.pickled.prompt"), [])

    def test_who_writes_later_is_found_out(self) -> None:
        [complaint] = complaints_of("tests.testing.pickled.lazy")
        self.assertIn("changes acknowledged: ", complaint)


class PickledStoreTests(TestCase):
    async def test_goes_on_where_it_was(self) -> None:
        """A process may be killed between one mailbox and the next."""
        path = Path(self.mktemp())
        first = PickledStore.opened(path, 1)
        await first.open_account(ACCOUNT)
        await first.edit_mailbox(ACCOUNT, CreateMailbox(PATHS[0]))
        ids = await mailbox_ids(PickledStore.opened(path, 1))
        self.assertEqual(len(set(ids)), len(PATHS))


class TruthTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.truth = Truth.of(2)
        self.truth.take(Change("append", 0, (7, 8), frozenset({"$A"})), Answer(1, ((7, 1), (8, 2))))

    def test_any_order_that_fits_the_answers(self) -> None:
        move = Change("move", 0, (1,), to=1), Answer(2, ((1, 1),))
        late = Change("add", 0, (1,), frozenset({"$B"})), Answer(3, ())
        [after] = outcomes(self.truth, [late, move])
        self.assertEqual((after.flags(0), after.flags(1)), ({2: {"$A"}}, {1: {"$A"}}))

    def test_no_order_fits(self) -> None:
        moves = [(Change("move", 0, (1,), to=1), Answer(2, ((1, uid),))) for uid in (1, 2)]
        with self.assertRaises(Differs):
            list(outcomes(self.truth, moves))

    def test_uid_given_again(self) -> None:
        self.truth.take(Change("replace", 0, (2,), frozenset({"\\Deleted"})), self.answer(2, frozenset({"\\Deleted"})))
        self.truth.take(Change("expunge", 0, (1, 2)), Answer(3, ((2, 2),)))
        with self.assertRaises(Differs):
            self.truth.take(Change("append", 0, (9,)), Answer(4, ((9, 2),)))

    def test_conflicts_are_exact(self) -> None:
        stamp = self.truth.stamp
        self.truth.take(Change("remove", 0, (1,), frozenset({"$A"})), self.answer(1, frozenset()))
        change = Change("add", 0, (1, 2), frozenset({"$C"}), since=1, stamp=stamp)
        for conflicts in ((), (2,), (1, 2)):
            with self.assertRaises(Differs):
                self.truth.copy().take(change, Answer(3, ((2, 2),), (frozenset({"$A", "$C"}),), conflicts))
        self.truth.take(change, Answer(3, ((2, 2),), (frozenset({"$A", "$C"}),), (1,)))

    def test_notes_are_read_back(self) -> None:
        change = Change("copy", 3, (1, 5), frozenset({"$A", "\\Seen"}), 2)
        self.assertEqual(Change.read(change.noted()), change)
        answer = Answer(9, ((1, 4), (5, 6)), (frozenset({"x"}),), (3,))
        self.assertEqual(Answer.read(answer.noted()), answer)

    def answer(self, uid: int, flags: frozenset[str]) -> Answer:
        return Answer(0, ((uid, uid),), (flags,))
