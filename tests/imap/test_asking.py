"""Asking a store for a few texts at a time."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap import asking
from mailfw.mail.sought import AllOf, AnyOf, Condition, FieldHas, SearchAnswer, Without, holds
from mailfw.mail.terms import Terms
from mailfw.testing.dialogue import run_now

LEAVES: st.SearchStrategy[Condition] = st.sampled_from("abcd").map(lambda text: FieldHas("x", text))


def _branches(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    several = st.lists(inner, min_size=1, max_size=4).map(tuple)
    return st.one_of(several.map(AllOf), several.map(AnyOf), inner.map(Without))


CONDITIONS = st.recursive(LEAVES, _branches, max_leaves=12)


class Asking(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(asking, "TEXTS", 2)

    @given(CONDITIONS, st.lists(st.text("abcd", max_size=3), max_size=8), st.sets(st.integers(1, 8)))
    def test_the_answer_is_the_same(self, condition: Condition, texts: list[str], unknown: set[int]) -> None:
        """What the store knows is answered rightly, and what it does not know is never among what matches."""
        messages = {uid: Terms(f"x: {text}", "", "") for uid, text in enumerate(texts, 1)}

        async def search(uids: Sequence[int], asked: Condition) -> SearchAnswer:
            self.assertLessEqual(set(uids), set(messages))
            self.assertEqual(list(uids), sorted(uids))
            known = [uid for uid in uids if uid not in unknown]
            found = [uid for uid in known if holds(asked, messages[uid])]
            return SearchAnswer(found, [uid for uid in uids if uid in unknown])

        told = run_now(self, asking.ask(search, sorted(messages), condition))
        right = [uid for uid, terms in messages.items() if holds(condition, terms)]
        self.assertEqual(told.found, [uid for uid in right if uid not in unknown])
        self.assertLessEqual(set(told.unread), unknown)
        self.assertEqual(told.unread, sorted(told.unread))
        self.assertLessEqual(unknown.intersection(right), set(told.unread))

    def test_no_question_has_many_texts(self) -> None:
        asked: list[Condition] = []

        async def search(uids: Sequence[int], condition: Condition) -> SearchAnswer:
            asked.append(condition)
            return SearchAnswer((), ()) if isinstance(condition, FieldHas) else SearchAnswer(uids, ())

        each = [FieldHas("x", str(number)) for number in range(5)]
        run_now(self, asking.ask(search, [1, 2], AnyOf(tuple(each))))
        self.assertEqual(
            asked,
            [
                AllOf((Without(each[0]), Without(each[1]))),
                AllOf((Without(each[2]), Without(each[3]))),
                Without(each[4]),
            ],
        )
        asked.clear()
        run_now(self, asking.ask(search, [1, 2], AllOf((*each[:1], AnyOf(tuple(each[1:4]))))))
        self.assertEqual(asked, [each[0]])
