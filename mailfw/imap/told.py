"""What a store that finds text by itself is asked in place of reading messages, and what it has told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

from mailfw.imap.keys import And, InBody, InField, InText, Key, Not, Or
from mailfw.mail.sought import AllOf, AnyOf, BodyHas, Condition, FieldHas, SearchAnswer, TextHas, Without
from mailfw.mail.terms import shown_name


def condition_of(key: Key) -> Condition | None:
    """Return a key as a condition, None if anything in it is about something other than text."""
    match key:
        case InField(name, text):
            return FieldHas(shown_name(name), text)
        case InBody(text) if text:
            return BodyHas(text)
        case InText(text) if text:
            return TextHas(text)
        case Not(inner):
            within = _conditions((inner,))
            return Without(within[0]) if within else None
        case Or():
            within = _conditions(list(_alternatives(key)))
            return AnyOf(within) if within else None
        case And(keys) if keys:
            within = _conditions(keys)
            return AllOf(within) if within else None
    return None


def _alternatives(key: Key) -> Iterator[Key]:
    """Yield what a chain of OR has: clients ask for many senders so."""
    while isinstance(key, Or):
        if isinstance(key.one, Or):
            yield from _alternatives(key.one)
        else:
            yield key.one
        key = key.other
    yield key


def _conditions(keys: Sequence[Key]) -> tuple[Condition, ...]:
    """Return all keys as conditions, none if one cannot be."""
    found = [condition_of(key) for key in keys]
    return () if None in found else tuple(each for each in found if each is not None)


def gathered(key: And) -> And:
    """Return a search with those of its keys that are about text alone as one."""
    conditions = [condition_of(each) for each in key.keys]
    texts = tuple(each for each, found in zip(key.keys, conditions, strict=True) if found is not None)
    if len(texts) < 2:
        return key
    return And((And(texts), *(each for each, found in zip(key.keys, conditions, strict=True) if found is None)))


@dataclass(slots=True)
class Answer:
    """What a store was asked, and what it has said once it `is_there`."""

    asked: Condition
    found: Set[int] = frozenset()
    unread: Set[int] = frozenset()
    is_there: bool = False

    def says(self, uid: int) -> bool | None:
        """Whether a message matches, None if that was not told."""
        if not self.is_there or uid in self.unread:
            return None
        return uid in self.found


@dataclass(slots=True)
class Told:
    """The largest parts of a search that a store can answer; nothing is told before it is asked."""

    _answers: dict[Key, Answer] = field(default_factory=dict)

    @classmethod
    def of(cls, key: And) -> Told:
        """Return what there is to ask."""
        return cls({part: Answer(condition) for part, condition in _parts(key)})

    def questions(self) -> Iterator[tuple[Key, Condition]]:
        """Yield each part with the condition to ask for."""
        for key, answer in self._answers.items():
            yield key, answer.asked

    def hear(self, key: Key, answer: SearchAnswer) -> None:
        """Take a store's answer about all messages that matter."""
        kept = self._answers[key]
        kept.found, kept.unread, kept.is_there = frozenset(answer.found), frozenset(answer.unread), True

    def about(self, key: Key) -> Answer | None:
        """Return where the answer about a part will be, if it is among those to ask for."""
        return self._answers.get(key)


def _parts(key: Key) -> Iterator[tuple[Key, Condition]]:
    condition = condition_of(key)
    if condition is not None:
        yield key, condition
        return
    match key:
        case Not(inner):
            yield from _parts(inner)
        case Or(one, other):
            yield from _parts(one)
            yield from _parts(other)
        case And(keys):
            for each in keys:
                yield from _parts(each)
