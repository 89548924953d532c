"""What text somebody looks for in messages: a small tree of conditions, without flags, dates or sizes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mailfw.mail.terms import Terms

# All text in conditions is folded (see `mailfw.mail.text.fold`).  What the fields, the body and the text of a message
# are says `mailfw.mail.terms`.


@dataclass(frozen=True, slots=True)
class FieldHas:
    """A header field of this name (in lower case) contains the text; it need only be there where that is empty."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class BodyHas:
    """The body contains the text."""

    text: str


@dataclass(frozen=True, slots=True)
class TextHas:
    """The header or the body contains the text, or what describes a part."""

    text: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of these holds."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of these holds."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Without:
    """This does not hold."""

    condition: Condition


Condition = FieldHas | BodyHas | TextHas | AllOf | AnyOf | Without


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """
    The UIDs of messages that match, and of those that have to be read to tell; both ascending.

    All others do not match.
    """

    found: Sequence[int]
    unread: Sequence[int]


def holds(condition: Condition, terms: Terms) -> bool:
    """Whether a condition holds for a message of these terms."""
    match condition:
        case FieldHas(name, text):
            return any(text in value for value in terms.values(name))
        case BodyHas(text):
            return text in terms.body
        case TextHas(text):
            return text in terms.head or text in terms.body or text in terms.rest
        case AllOf(conditions):
            return all(holds(each, terms) for each in conditions)
        case AnyOf(conditions):
            return any(holds(each, terms) for each in conditions)
        case Without(inner):
            return not holds(inner, terms)


# ---------------------------------------------------------------- on its way between processes


def write_condition(condition: Condition) -> str:
    """Return a condition as text that `read_condition` reads."""
    return json.dumps(_plain(condition), ensure_ascii=False)


def _plain(condition: Condition) -> list[Any]:
    match condition:
        case FieldHas(name, text):
            return ["field", name, text]
        case BodyHas(text):
            return ["body", text]
        case TextHas(text):
            return ["text", text]
        case AllOf(conditions):
            return ["all", *map(_plain, conditions)]
        case AnyOf(conditions):
            return ["any", *map(_plain, conditions)]
        case Without(inner):
            return ["without", _plain(inner)]


def read_condition(text: str) -> Condition:
    """Read a condition.  Raises `ValueError`."""
    return _condition(json.loads(text))


def _condition(plain: Any) -> Condition:
    match plain:
        case ["field", str(name), str(text)]:
            return FieldHas(name, text)
        case ["body", str(text)]:
            return BodyHas(text)
        case ["text", str(text)]:
            return TextHas(text)
        case ["all", *conditions]:
            return AllOf(tuple(map(_condition, conditions)))
        case ["any", *conditions]:
            return AnyOf(tuple(map(_condition, conditions)))
        case ["without", inner]:
            return Without(_condition(inner))
    raise ValueError("this is no condition")
