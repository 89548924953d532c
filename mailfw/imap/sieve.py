"""Search keys about dates and sizes, answered for many messages at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from operator import and_, not_, or_
from typing import NamedTuple

from mailfw.imap.keys import And, IsLarger, IsSmaller, IsYounger, Key, Not, Or, Received, Sent, When
from mailfw.mail.columns import Columns
from mailfw.mail.mailbox import Want

_DAY = 24 * 60 * 60


class Sieve(NamedTuple):
    """`check` says of each message in columns, which have what is wanted, whether it matches."""

    check: Callable[[Columns], Sequence[bool]]
    want: Want = Want.NOTHING


def sieve_of(key: Key) -> Sieve | None:
    """Return what answers a key, None if columns do not have all that it is about."""
    match key:
        case Not(inner):
            return _without(sieve_of(inner))
        case Or(one, other):
            return _combined(or_, [sieve_of(one), sieve_of(other)])
        case And(keys) if keys:
            return _combined(and_, [sieve_of(each) for each in keys])
        case IsLarger(octets):
            return Sieve(lambda columns: [size > octets for size in columns.sizes])
        case IsSmaller(octets):
            return Sieve(lambda columns: [size < octets for size in columns.sizes])
        case Received(when, day):
            within = _within(when, day)
            return Sieve(lambda columns: within(columns.received))
        case Sent(when, day):
            within = _within(when, day)
            return Sieve(lambda columns: within(columns.sent), Want.SENT)
        case IsYounger(seconds, younger):
            since = time.time() - seconds
            return Sieve(lambda columns: [(moment > since) is younger for moment in columns.received])
    return None


def _within(when: When, day: int) -> Callable[[Sequence[int | None]], list[bool]]:
    """Return what compares moments with a day; one that is not known is never right."""
    begins, ends = day * _DAY, (day + 1) * _DAY
    match when:
        case When.BEFORE:
            return lambda moments: [moment is not None and moment < begins for moment in moments]
        case When.ON:
            return lambda moments: [moment is not None and begins <= moment < ends for moment in moments]
        case When.SINCE:
            return lambda moments: [moment is not None and moment >= begins for moment in moments]


def _without(sieve: Sieve | None) -> Sieve | None:
    return Sieve(lambda columns: list(map(not_, sieve.check(columns))), sieve.want) if sieve is not None else None


def _combined(operation: Callable[[bool, bool], bool], sieves: Sequence[Sieve | None]) -> Sieve | None:
    whole = [sieve for sieve in sieves if sieve is not None]
    if len(whole) < len(sieves):
        return None
    want = Want.NOTHING
    for sieve in whole:
        want |= sieve.want

    def check(columns: Columns) -> Sequence[bool]:
        first, *others = whole
        answers = first.check(columns)
        for other in others:
            answers = list(map(operation, answers, other.check(columns)))
        return answers

    return Sieve(check, want)
