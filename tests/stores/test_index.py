"""The index's own parts: what changed when, and what the numbers of a mailbox become."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.mailbox import DELETED, NO_FLAGS, SEEN, Flags
from mailfw.stores.index import journal
from mailfw.stores.index.journal import Gaps, Journal, positions
from mailfw.stores.index.mailbox import Entry, Messages, Tally, flags_of, text_of
from mailfw.stores.index.transaction import _runs


class GapTests(SynchronousTestCase):
    @given(st.sets(st.integers(1, 40)), st.integers(1, 45))
    def test_what_is_not_there(self, uids: set[int], limit: int) -> None:
        present = sorted(uid for uid in uids if uid < limit)
        gaps = Gaps(present, limit)
        expected = [uid for uid in range(1, limit) if uid not in uids]
        self.assertEqual(list(gaps), expected)
        self.assertEqual(len(gaps), len(expected))
        self.assertEqual([gaps[place] for place in range(-len(gaps), len(gaps))], expected * 2)
        self.assertEqual(gaps[1:-1], expected[1:-1])
        self.assertEqual({uid for uid in range(-1, 50) if uid in gaps}, set(expected))
        self.assertRaises(IndexError, lambda: gaps[len(gaps)])

    def test_costs_what_is_there(self) -> None:
        self.assertEqual(len(Gaps([5], 2**31 - 1)), 2**31 - 3)


class JournalTests(SynchronousTestCase):
    @given(st.lists(st.sets(st.integers(1, 9), min_size=1), max_size=40), st.integers(0, 50))
    def test_since(self, changes: list[set[int]], since: int) -> None:
        self.patch(journal, "LENGTH", 10)
        kept = Journal(0)
        for modseq, uids in enumerate(changes, 1):
            kept.add(modseq, uids)
        if since >= kept.floor:
            self.assertEqual(kept.since(since), set().union(*changes[since:]))
        self.assertLessEqual(len(kept._uids), 30)

    def test_positions(self) -> None:
        self.assertEqual(positions([2, 4, 6], [1, 2, 3, 6, 9]), [0, 2])


class MessagesTests(SynchronousTestCase):
    def test_messages_stay_in_order(self) -> None:
        messages = Messages([(2, 10, "\\Seen", "two", 5, 90, 1)], 10)
        messages.add([Entry(4, 11, NO_FLAGS, "four", 6, 91, 2), Entry(3, 12, NO_FLAGS, "three", 7, 92, 3)])
        self.assertEqual((list(messages.uids), messages.keys), ([2, 3, 4], ["two", "three", "four"]))
        messages.alter(13, {1: frozenset({SEEN})})
        self.assertEqual(messages.since(12), [1])
        messages.remove(14, [0, 2])
        self.assertEqual((list(messages.uids), list(messages.modseqs), messages.keys), ([3], [13], ["three"]))
        self.assertEqual(messages.vanished.since(13), {2, 4})

    def test_many_removed(self) -> None:
        messages = Messages([(uid, 1, "", str(uid), 1, 0, uid) for uid in range(1, 101)], 1)
        messages.remove(2, range(0, 100, 2))
        self.assertEqual(messages.keys, [str(uid) for uid in range(2, 101, 2)])
        self.assertEqual(list(messages.emails), list(range(2, 101, 2)))

    def test_tally(self) -> None:
        tally = Tally().counting(5, frozenset({DELETED}), 100, 1).counting(6, frozenset({SEEN}), 50, 1)
        self.assertEqual(tally, Tally(modseq=6, messages=2, unseen=1, deleted=1, size=150))
        self.assertEqual(tally.counting(7, frozenset({DELETED}), 100, -1), Tally(1, 7, 1, 1, 0, 0, 50))

    def test_flags_as_text(self) -> None:
        flags = frozenset({SEEN, "$A", "b"})
        self.assertIs(flags_of(text_of(flags)), flags_of("$A \\Seen b"))
        self.assertEqual(flags_of(text_of(flags)), flags)
        self.assertEqual(flags_of(""), NO_FLAGS)


class RunTests(SynchronousTestCase):
    @given(st.dictionaries(st.integers(0, 30), st.sampled_from([frozenset("a"), frozenset("b"), frozenset[str]()])))
    def test_neighbours(self, changed: dict[int, Flags]) -> None:
        """Changes of flags are written in runs: of what is changed and nothing else, and as few as can be."""
        runs = _runs(changed)
        written = {place: changed[first] for first, last in runs for place in range(first, last + 1)}
        self.assertEqual(written, changed)
        for (first, last), (following, _) in itertools.pairwise(runs):
            self.assertTrue(following > last + 1 or changed[following] != changed[first])
