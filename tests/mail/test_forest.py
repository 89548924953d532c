"""Threads of messages."""

import time
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap.results import thread
from mailfw.mail.conversation import NO_ID, relations
from mailfw.mail.forest import Forest, Messages, Threads, ordered_subject
from mailfw.mail.steps import Steps

T = TypeVar("T")


def done(steps: Steps[T]) -> T:
    """Do all steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return] # of a generator that returns T


#: A number, a subject (with Re: it is that of an answer), and when it was sent.
Node = tuple[int, str, int]


def node(number: int, subject: str = "", sent: int | None = None) -> Node:
    """Make a message."""
    return number, subject, number if sent is None else sent


def messages_of(made: Sequence[tuple[Node, bytes]]) -> Messages:
    """Return messages with their ids in columns."""
    return Messages(
        [number for (number, _, _), _ in made],
        [sent for (_, _, sent), _ in made],
        [subject.removeprefix("Re: ").encode() for (_, subject, _), _ in made],
        [subject.startswith("Re: ") for (_, subject, _), _ in made],
        [ids for _, ids in made],
    )


def forest(messages: Sequence[tuple[Node, str, str]]) -> Forest:
    """Make a forest of messages with a name each, and the names of those that they refer to."""
    made = []
    for message, own, named in messages:
        values = {b"message-id": f"<{own}@x>".encode()} if own else {}
        values[b"references"] = " ".join(f"<{each}@x>" for each in named.split()).encode()
        made.append((message, relations(values, b"").ids))
    return Forest(messages_of(made))


def shown(threads: Steps[Threads]) -> str:
    """Return threads as THREAD has them."""
    return done(thread(done(threads))).decode().removeprefix("* THREAD").strip()


class Shapes(SynchronousTestCase):
    def check(self, messages: list[tuple[str, str, str]], references: str, refs: str = "") -> None:
        """Compare: each message is subject, name, names."""
        made = [(node(at, subject), own, named) for at, (subject, own, named) in enumerate(messages, 1)]
        self.assertEqual(shown(forest(made).references()), references)
        made = [(node(at, subject), own, named) for at, (subject, own, named) in enumerate(messages, 1)]
        self.assertEqual(shown(forest(made).refs()), refs or references)

    def test_answers(self) -> None:
        self.check([("", "a", ""), ("", "b", "a"), ("", "c", "a b"), ("", "d", "a")], "(1 (2 3)(4))")
        self.check([("", "c", "a b"), ("", "b", "a"), ("", "a", "")], "(3 2 1)")
        self.check([], "")

    def test_what_is_not_there(self) -> None:
        self.check([("", "c", "a b")], "(1)")
        self.check([("", "c", "a b"), ("", "d", "a b")], "((1)(2))")
        self.check([("", "c", "a b"), ("", "d", "a")], "((1)(2))")
        self.check([("", "a", ""), ("", "c", "a b"), ("", "d", "a b")], "(1 (2)(3))")

    def test_loops(self) -> None:
        self.check([("", "a", "b"), ("", "b", "a")], "(2 1)")
        self.check([("", "a", "a")], "(1)")
        self.check([("", "a", "c b"), ("", "b", "a"), ("", "c", "b")], "(2 (1)(3))")

    def test_what_a_message_says_of_itself_counts(self) -> None:
        self.check([("", "c", "a b"), ("", "b", ""), ("", "a", "")], "(2 1)(3)", "(2 1)(3)")
        self.check([("", "b", ""), ("", "a", ""), ("", "c", "a b")], "(2 1 3)")
        self.check([("", "b", "a b"), ("", "a", "")], "(1)(2)")

    def test_the_same_id_twice(self) -> None:
        self.check([("", "a", ""), ("", "a", ""), ("", "b", "a")], "(1 3)(2)", "(2)(1 3)")

    def test_without_ids(self) -> None:
        self.check([("", "", ""), ("", "", "a"), ("", "a", "")], "(1)(3 2)")

    def test_the_same_subject(self) -> None:
        self.check([("x", "a", ""), ("Re: x", "b", "")], "(1 2)", "(1)(2)")
        self.check([("Re: x", "b", ""), ("x", "a", "")], "(2 1)", "(1)(2)")
        self.check([("x", "a", ""), ("x", "b", "")], "((1)(2))", "(1)(2)")
        self.check([("x", "a", ""), ("x", "b", ""), ("x", "c", "")], "((1)(2)(3))", "(1)(2)(3)")
        self.check([("Re: x", "a", ""), ("Re: x", "b", "")], "((1)(2))", "(1)(2)")
        self.check([("x", "b", "a"), ("x", "c", "a"), ("x", "d", "")], "((1)(2)(3))", "((1)(2))(3)")
        self.check([("x", "d", ""), ("x", "b", "a"), ("x", "c", "a")], "((1)(2)(3))", "(1)((2)(3))")
        self.check(
            [("x", "b", "a"), ("x", "c", "a"), ("x", "e", "d"), ("x", "f", "d")], "((1)(2)(3)(4))", "((1)(2))((3)(4))"
        )

    def test_order(self) -> None:
        made = [(node(1, sent=9), "a", ""), (node(2, sent=5), "b", ""), (node(3, sent=7), "c", "b")]
        self.assertEqual(shown(forest(made).references()), "(2 3)(1)")
        made = [(node(1, sent=9), "a", ""), (node(2, sent=5), "b", ""), (node(3, sent=10), "c", "b")]
        self.assertEqual(shown(forest(made).refs()), "(1)(2 3)")

    def test_subjects_alone(self) -> None:
        messages = [node(1, "b", 5), node(2, "Re: a", 3), node(3, "b", 1), node(4, "a", 4), node(5, "b", 2)]
        self.assertEqual(shown(ordered_subject(messages_of([(each, b"") for each in messages]))), "(3 (5)(1))(2 4)")

    @given(
        st.lists(
            st.tuples(st.sampled_from(" abcdef"), st.text("abcdef ", max_size=6), st.sampled_from("xy ")), max_size=20
        )
    )
    def test_every_message_is_there_once(self, messages: list[tuple[str, str, str]]) -> None:
        for shape in ("references", "refs"):
            made = [
                (node(at, subject.strip()), own.strip(), " ".join(named))
                for at, (own, named, subject) in enumerate(messages, 1)
            ]
            text = shown(getattr(forest(made), shape)())
            numbers = [int(each) for each in text.replace("(", " ").replace(")", " ").split()]
            self.assertEqual(sorted(numbers), list(range(1, len(messages) + 1)), text)
            self.assertEqual(text.count("("), text.count(")"))


class Bounds(SynchronousTestCase):
    def test_a_chain_of_any_length(self) -> None:
        ids = [b"%012d" % number for number in range(20_000)]
        made = Forest(messages_of([(node(at + 1), own + (ids[at - 1] if at else b"")) for at, own in enumerate(ids)]))
        self.assertEqual(shown(made.references()), "(" + " ".join(str(at + 1) for at in range(20_000)) + ")")

    def test_mail_that_is_made_to_take_long(self) -> None:
        ids = [b"%012d" % number for number in range(5000)]
        chain = [(node(at + 1), own + (ids[at - 1] if at else b"")) for at, own in enumerate(ids)]
        began = time.process_time()
        made = Forest(messages_of(chain + [(node(at), NO_ID + (ids[-1] + ids[0]) * 50) for at in range(5001, 8000)]))
        numbers = shown(made.references()).replace("(", " ").replace(")", " ").split()
        self.assertEqual(len(numbers), 7999)
        self.assertLess(time.process_time() - began, 5)
