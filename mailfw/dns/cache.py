"""What was answered, for as long as it may be believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mailfw.dns.codec import Question
from mailfw.mail.lookup import Answer, Finding

#: Seconds a failure is remembered; RFC 9520 section 3.2 asks for one at least, and for no more than 300.
FAILURE_TTL = 5
#: Octets that an entry costs besides its records, roughly.
_ENTRY = 600


@dataclass(frozen=True, slots=True)
class _Entry:
    answer: Answer[Any]
    until: float
    cost: int


class Cache:
    """Answers by question: bounded in octets, what was not asked for longest goes first."""

    def __init__(self, now: Callable[[], float], room: int = 8 * 1024 * 1024) -> None:
        self._now = now
        self._room = room
        self._cost = 0
        self._entries: dict[Question, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: Question) -> Answer[Any] | None:
        """Return what is known, with the seconds that are left of it."""
        entry = self._entries.pop(question, None)
        if entry is None:
            return None
        left = entry.until - self._now()
        if left <= 0:
            self._cost -= entry.cost
            return None
        self._entries[question] = entry  # now the one asked for last
        return replace(entry.answer, ttl=int(left))

    def put(self, question: Question, answer: Answer[Any]) -> None:
        """Remember an answer for its TTL."""
        ttl = FAILURE_TTL if answer.finding is Finding.FAILED else answer.ttl
        known = self._entries.pop(question, None)
        self._cost -= known.cost if known else 0
        if ttl <= 0:
            return
        cost = _ENTRY + sum(len(record) if isinstance(record, bytes) else 100 for record in answer.records)
        self._entries[question] = _Entry(answer, self._now() + ttl, cost)
        self._cost += cost
        while self._cost > self._room:
            oldest = next(iter(self._entries))
            self._cost -= self._entries.pop(oldest).cost
