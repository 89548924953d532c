"""Looking for what messages are about: RFC 6203."""

from __future__ import annotations

from collections.abc import Iterator

from mailfw.imap.keys import And, Fuzzy, InBody, InField, InText, Key, Not, Or
from mailfw.mail.sought import AllOf, BodyHas, Condition, FieldHas, TextHas

#: A fuzzy text of more words is looked for by the first ones.
_WORDS = 10
#: English endings; what is left without them is long enough to be a word.
_ENDINGS = ("ings", "ing", "edly", "ies", "ed", "es", "s", "e")
_SHORTEST = 4


def has_fuzzy(key: Key) -> bool:
    """Whether any part of a search is fuzzy."""
    match key:
        case Fuzzy():
            return True
        case Not(inner):
            return has_fuzzy(inner)
        case Or(one, other):
            return has_fuzzy(one) or has_fuzzy(other)
        case And(keys):
            return any(map(has_fuzzy, keys))
    return False


def expanded(key: Key, fuzzy: bool = False) -> Key:
    """Return a key without `Fuzzy`: in its place stands that all words are there, in any order and with any ending."""
    match key:
        case Fuzzy(inner):
            return expanded(inner, True)
        case Not(inner):
            return Not(expanded(inner, fuzzy))
        case Or(one, other):
            return Or(expanded(one, fuzzy), expanded(other, fuzzy))
        case And(keys):
            return And(tuple(expanded(each, fuzzy) for each in keys))
        case InField(name, text) if fuzzy and text:
            return _all([InField(name, stem) for stem in stems(text)])
        case InBody(text) if fuzzy and text:
            return _all([InBody(stem) for stem in stems(text)])
        case InText(text) if fuzzy and text:
            return _all([InText(stem) for stem in stems(text)])
    return key


def _all(keys: list[Key]) -> Key:
    return keys[0] if len(keys) == 1 else And(tuple(keys))


def stems(text: str) -> list[str]:
    """Return the words of a folded text without their endings."""
    return [_stem(word) for word in text.split()[:_WORDS]] or [text]


def _stem(word: str) -> str:
    if word.isascii() and word.isalpha():
        for ending in _ENDINGS:
            if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
                return word[: -len(ending)]
    return word


def texts(key: Key, fuzzy: bool = False) -> Iterator[str]:
    """Yield the texts that messages should be about."""
    match key:
        case Fuzzy(inner):
            yield from texts(inner, True)
        case Or(one, other):
            yield from texts(one, fuzzy)
            yield from texts(other, fuzzy)
        case And(keys):
            for each in keys:
                yield from texts(each, fuzzy)
        case InField(_, text) | InBody(text) | InText(text) if fuzzy and text:
            yield text


def merits(text: str) -> list[tuple[int, Condition]]:
    """Return what makes a message of those that were found a better one, and by how much."""
    words = text.split()[:_WORDS] or [text]
    subject: Condition = AllOf(tuple(FieldHas("subject", word) for word in words))
    found: list[tuple[int, Condition]] = [
        (20, AllOf(tuple(FieldHas("subject", word) for word in stems(text)))),
        (10, subject),
        (15, AllOf(tuple(FieldHas("from", word) for word in words))),
        (5, AllOf(tuple(BodyHas(word) for word in words))),
    ]
    if len(words) > 1:
        found += [(15, FieldHas("subject", text)), (15, TextHas(text))]
    return found
