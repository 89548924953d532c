"""Finding messages in memory: each is looked at."""

from __future__ import annotations

from collections.abc import Iterable

from mailfw.mail.part_table import decode_parts
from mailfw.mail.sought import Condition, SearchAnswer, holds
from mailfw.mail.summary import Summary
from mailfw.mail.terms import Terms, terms_of
from mailfw.stores.memory.mailbox import Message


def take_terms(octets: bytes, summary: Summary) -> Terms:
    """Return the text of a message."""
    return terms_of(decode_parts(summary.parts), lambda offset, length: octets[offset : offset + length])


def search(messages: Iterable[Message], condition: Condition) -> SearchAnswer:
    """Say which messages match; one with more text than is kept has to be read."""
    found: list[int] = []
    unread: list[int] = []
    for message in messages:
        terms = message.letter.terms
        if terms is None or not terms.is_whole:
            unread.append(message.uid)
        elif holds(condition, terms):
            found.append(message.uid)
    return SearchAnswer(found, unread)
