"""Whether a message matches a search key, as far as what is known of it can tell."""

from __future__ import annotations

import enum
import functools
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from mailfw.imap.keys import (
    And,
    Fuzzy,
    HasChanged,
    HasFlag,
    HasId,
    InBody,
    InField,
    InText,
    IsAmong,
    IsLarger,
    IsRecent,
    IsSmaller,
    IsYounger,
    Key,
    Not,
    Or,
    Received,
    Saved,
    Sent,
    When,
)
from mailfw.imap.responses import object_name
from mailfw.imap.resync import common
from mailfw.imap.told import Told
from mailfw.imap.view import View
from mailfw.mail.fields import split_fields
from mailfw.mail.mailbox import Flags, Row
from mailfw.mail.summary import LISTED_FIELDS
from mailfw.mail.terms import value_text

_DAY = 24 * 60 * 60
#: So many sets at the top of a search are looked at before any message is.
NARROWING = 4


class Depth(enum.IntEnum):
    """How far one must look into a message to answer a key, cheapest first."""

    VIEW = 0
    ROW = 1
    FIELDS = 2
    CONTENT = 3


@dataclass(slots=True)
class Known:
    """
    What is known of a message at some depth.

    `row` is there from `Depth.ROW` on, `header` holds the listed fields at `Depth.FIELDS` and all of them at
    `Depth.CONTENT`, where `in_body` and `in_text` are the texts that were found.
    """

    uid: int
    depth: Depth
    row: Row | None = None
    header: bytes = b""
    in_body: frozenset[str] = frozenset()
    in_text: frozenset[str] = frozenset()
    _values: dict[bytes, list[str]] = field(default_factory=dict, repr=False)
    _flags: Flags | None = field(default=None, repr=False)

    def values(self, name: bytes) -> list[str]:
        """Return the decoded and folded values of all fields of this name."""
        values = self._values.get(name)
        if values is None:
            values = self._values[name] = [value_text(raw) for raw in _raw_values(self.header, name)]
        return values

    def flags(self, view: View) -> Flags:
        """Return the flags it has in its view, in lower case."""
        if self._flags is None:
            self._flags = lowered(view.flags_of(self.uid))
        return self._flags


# field-name = 1*ftext                                               RFC 5322 section 3.6.8
_NAME = re.compile(rb"[!-9;-~]+")
#: Patterns of longer ones are not worth keeping.
_LONGEST = 100


@functools.lru_cache(maxsize=256)
def _field_pattern(name: bytes) -> re.Pattern[bytes]:
    """Return what finds the values of the fields that `split_fields` gives this name."""
    return re.compile(rb"^%b[ \t]*(:[^\n]*(?:\n[ \t][^\n]*)*)" % re.escape(name), re.IGNORECASE | re.MULTILINE)


def _raw_values(header: bytes, name: bytes) -> list[bytes]:
    """Return what stands behind the colon, and the colon."""
    if len(name) <= _LONGEST and _NAME.fullmatch(name):
        return _field_pattern(name).findall(header)
    return [raw[max(raw.find(b":"), 0) :] for found, raw in split_fields(header) if found == name]


#: Answers True, False, or None where it must be looked deeper.
Check = Callable[[Known], bool | None]


@dataclass(frozen=True, slots=True)
class Matcher:
    """A key made ready: `depth` is how deep one may have to look."""

    check: Check
    depth: Depth


def depth_of(key: Key) -> Depth:
    """Return how deep one has to look for a key that contains no others."""
    match key:
        case HasFlag() | IsRecent() | IsAmong() | HasChanged() | InBody("") | InText(""):
            return Depth.VIEW
        case InField(name, _):
            return Depth.FIELDS if name in LISTED_FIELDS else Depth.CONTENT
        case InBody() | InText():
            return Depth.CONTENT
    return Depth.ROW


def compile_key(key: Key, view: View, told: Told) -> Matcher:
    """
    Make a key ready for messages of a view; what is `told` decides before anything is looked at.

    Raises `BadSyntax` for a message number that is not there.
    """
    matcher = _compiled(key, view, told)
    told_of_it = told.about(key)
    if told_of_it is None:
        return matcher

    def check(known: Known) -> bool | None:
        answer = told_of_it.says(known.uid)
        return matcher.check(known) if answer is None else answer

    return Matcher(check, matcher.depth)


def _compiled(key: Key, view: View, told: Told) -> Matcher:
    match key:
        case And(keys):
            return _all([compile_key(each, view, told) for each in keys])
        case Or(one, other):
            return _negation(_all([_negation(compile_key(each, view, told)) for each in (one, other)]))
        case Not(inner):
            return _negation(compile_key(inner, view, told))
        case Fuzzy(inner):
            return compile_key(inner, view, told)
    depth, check = depth_of(key), _leaf_check(key, view)
    if depth is Depth.VIEW:
        return Matcher(check, depth)
    return Matcher(lambda known: check(known) if known.depth >= depth else None, depth)


def _leaf_check(key: Key, view: View) -> Callable[[Known], bool]:
    match key:
        case HasFlag(flag):
            return lambda known: flag in known.flags(view)
        case IsRecent():
            return lambda known: view.is_recent(known.uid)
        case IsAmong():
            return _set_check(key, view)
        case InField(name, text):
            return lambda known: any(text in value for value in known.values(name))
        case InBody(text):
            return lambda known: not text or text in known.in_body
        case InText(text):
            return lambda known: not text or text in known.in_text
        case HasId(id_, of_thread):
            return lambda known: object_name(_id(_row(known), of_thread)) == id_
        case IsLarger(octets):
            return lambda known: _row(known).size > octets
        case IsSmaller(octets):
            return lambda known: _row(known).size < octets
        case Received(when, day):
            return lambda known: _is_then(_row(known).received, when, day)
        case Sent(when, day):
            return lambda known: _is_then(_row(known).sent, when, day)
        case Saved(when, day):
            return lambda known: _is_then(_saved(_row(known)), when, day)
        case HasChanged(modseq):
            return lambda known: view.modseq_of(known.uid) >= modseq
        case IsYounger(seconds, younger):
            since = time.time() - seconds
            return lambda known: (_row(known).received > since) is younger
    raise AssertionError(key)


def _all(matchers: list[Matcher]) -> Matcher:
    """Match what all match; the cheap ones are asked first."""
    matchers.sort(key=lambda matcher: matcher.depth)
    checks = [matcher.check for matcher in matchers]
    depth = matchers[-1].depth if matchers else Depth.VIEW
    if len(checks) == 1:
        return matchers[0]

    def check_all(known: Known) -> bool | None:
        result: bool | None = True
        for check in checks:
            answer = check(known)
            if answer is False:
                return False
            if answer is None:
                result = None
        return result

    return Matcher(check_all, depth)


def _negation(matcher: Matcher) -> Matcher:
    check = matcher.check

    def check_not(known: Known) -> bool | None:
        answer = check(known)
        return None if answer is None else not answer

    return Matcher(check_not, matcher.depth)


def lowered(flags: Flags) -> Flags:
    """Return flags in lower case, as keys name them."""
    return frozenset(map(str.lower, flags))


def about_flags(key: Key) -> Callable[[Flags], bool] | None:
    """Return what a key says of a message's flags in lower case, None if it is about anything else."""
    match key:
        case HasFlag(flag):
            return lambda flags: flag in flags
        case Not(HasFlag(flag)):
            return lambda flags: flag not in flags
        case And(keys):
            said = [about_flags(each) for each in keys]
            checks = [each for each in said if each is not None]
            return None if len(checks) < len(said) else lambda flags: all(check(flags) for check in checks)
    return None


def _set_check(key: IsAmong, view: View) -> Callable[[Known], bool]:
    # Held as ranges: a command may name sets of all messages very many times.
    spans = view.spans(key.wanted, key.by_uid)
    first = [view.uids[start] for start, _ in spans]
    last = [view.uids[end - 1] for _, end in spans]

    def check(known: Known) -> bool:
        at = bisect_right(first, known.uid) - 1
        return at >= 0 and known.uid <= last[at]

    return check


def _id(row: Row, of_thread: bool) -> str:
    return (row.thread_id or "") if of_thread else row.email_id


def _row(known: Known) -> Row:
    assert known.row is not None
    return known.row


def _saved(row: Row) -> int:
    return row.received if row.saved is None else row.saved  # RFC 8514 section 4.3


def _is_then(moment: int | None, when: When, day: int) -> bool:
    if moment is None:
        return False
    match when:
        case When.BEFORE:
            return moment // _DAY < day
        case When.ON:
            return moment // _DAY == day
        case When.SINCE:
            return moment // _DAY >= day


# ---------------------------------------------------------------- what a key is made of


def looked_at(keys: Sequence[Key], view: View) -> Sequence[int]:
    """Return the messages that sets at the top of a search leave, of which all others are sure not to match."""
    spans = [view.spans(each.wanted, each.by_uid) for each in islice(_sets(keys), NARROWING)]
    if not spans:
        return view.uids
    left = [(start, end - 1) for start, end in spans[0]]
    for more in spans[1:]:
        left = common(left, [(start, end - 1) for start, end in more])
    return [uid for first, last in left for uid in view.uids[first : last + 1]]


def _sets(keys: Sequence[Key]) -> Iterator[IsAmong]:
    for key in keys:
        match key:
            case IsAmong():
                yield key
            case And(inner):
                yield from _sets(inner)


def leaves(key: Key) -> Iterator[Key]:
    """Yield the keys that do not contain others."""
    match key:
        case And(keys):
            for each in keys:
                yield from leaves(each)
        case Or(one, other):
            yield from leaves(one)
            yield from leaves(other)
        case Not(inner) | Fuzzy(inner):
            yield from leaves(inner)
        case _:
            yield key
