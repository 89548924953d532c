"""Answers that were given to clients: the same question about the same messages has the same answer."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Sequence
from typing import Any

#: Answers that are kept, and messages in all of them together.
_MOST, _MESSAGES = 100, 1_000_000


class Answered:
    """
    Keeps orders and threads of mailboxes, which a question names, for clients that ask again and again.

    What they are made of never changes with a message; so an answer is right for as long as it is about exactly the
    same messages.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        # The one that was asked last comes last.
        self._kept: dict[Hashable, tuple[array[int], Any]] = {}

    def get(self, question: Hashable, messages: Sequence[int]) -> Any:
        """Return the answer to a question about these messages, None if it is not known."""
        kept = self._kept.get(question)
        if kept is None or len(kept[0]) != len(messages) or kept[0] != array("I", messages):
            return None
        self._kept[question] = self._kept.pop(question)
        return kept[1]

    def keep(self, question: Hashable, messages: Sequence[int], answer: Any) -> None:
        """Keep an answer; it has about as many parts as there are messages."""
        self._kept.pop(question, None)
        self._kept[question] = array("I", messages), answer
        while len(self._kept) > _MOST or sum(len(kept[0]) for kept in self._kept.values()) > _MESSAGES:
            del self._kept[next(iter(self._kept))]
