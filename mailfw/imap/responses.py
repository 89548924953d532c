"""What an IMAP server says, as octets: RFC 3501 section 7."""

from __future__ import annotations

import enum
import functools
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from mailfw.imap import names
from mailfw.imap.updates import Exists, Expunge, FlagsChanged, Keywords, Recent, Update, Vanished
from mailfw.mail.dates import FIRST_TIME, LAST_TIME
from mailfw.mail.mailbox import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, Flags
from mailfw.mail.rights import WRITE, Rights, right_for

# ASTRING-CHAR, RFC 3501 section 9; an empty string and NIL must be quoted
_ASTRING = re.compile(rb'(?!(?i:NIL)\Z)[^\x00-\x20(){%*"\\\x7f-\xff]+')
# QUOTED-CHAR, with those that need a backslash
_QUOTABLE = re.compile(rb"[^\x00\r\n\x80-\xff]*")
_SPECIAL = re.compile(rb'(["\\])')
# objectid = 1*255(ALPHA / DIGIT / "_" / "-")                          RFC 8474 section 7
_OBJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
#: A longer string is sent as a literal.
_QUOTED_LIMIT = 1000
#: So many ranges of UIDs are named in one response: clients read lines.
_RANGES = 1000

_SYSTEM_ORDER = (ANSWERED, FLAGGED, DELETED, SEEN, DRAFT)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Status(enum.Enum):
    """How a command ended."""

    OK = b"OK"
    NO = b"NO"
    BAD = b"BAD"


@dataclass(frozen=True, slots=True)
class Completion:
    """The tagged response to a command: `code` is a response code without its brackets."""

    status: Status
    text: str
    code: bytes | None = None

    def encode(self, tag: bytes) -> bytes:
        """Return ``response-tagged = tag SP resp-cond-state CRLF``."""
        return tag + b" " + _state(self.status.value, self.text, self.code)


def ok(text: str, code: bytes | None = None) -> Completion:
    """Return a completion: done."""
    return Completion(Status.OK, text, code)


def no(text: str, code: bytes | None = None) -> Completion:
    """Return a completion: understood, and not done."""
    return Completion(Status.NO, text, code)


def bad(text: str, code: bytes | None = None) -> Completion:
    """Return a completion: not understood."""
    return Completion(Status.BAD, text, code)


#: The answer to a change of a mailbox that was opened with EXAMINE.
READ_ONLY = no("The mailbox is open for reading only")


def _state(word: bytes, text: str, code: bytes | None) -> bytes:
    bracketed = b"" if code is None else b"[" + code + b"] "
    return word + b" " + bracketed + text.encode("ascii", "replace") + b"\r\n"


def untagged(octets: bytes) -> bytes:
    """Return an untagged response."""
    return b"* " + octets + b"\r\n"


def condition(word: bytes, text: str, code: bytes | None = None) -> bytes:
    """Return an untagged OK, NO, BAD, BYE or PREAUTH."""
    return b"* " + _state(word, text, code)


def in_progress(tag: bytes, progress: tuple[int, int] | None) -> bytes:
    """
    Return ``"INPROGRESS" SP "(" (quoted / nil) SP inprogress-state ")"`` (RFC 9585 section 5).

    A tag with ``]`` is not told, and no number that says that all is done (section 4).
    """
    told = b"NIL NIL" if progress is None or progress[0] >= progress[1] else b"%d %d" % progress
    return b"INPROGRESS (" + (b"NIL" if b"]" in tag else string(tag)) + b" " + told + b")"


# ---------------------------------------------------------------- strings


def astring(value: bytes | str) -> bytes:
    """Return a string as an atom where it can be one."""
    octets = value.encode("utf-8") if isinstance(value, str) else value
    return octets if _ASTRING.fullmatch(octets) else string(octets)


def string(octets: bytes) -> bytes:
    """Return a string, quoted where it can be, else as a literal."""
    if len(octets) <= _QUOTED_LIMIT and _QUOTABLE.fullmatch(octets):
        return b'"' + _SPECIAL.sub(rb"\\\1", octets) + b'"'
    return b"{%d}\r\n%b" % (len(octets), octets)


def nstring(octets: bytes | None) -> bytes:
    """Return a string, or NIL for None."""
    return b"NIL" if octets is None else string(octets)


def nstring8(octets: bytes | None) -> bytes:
    """Return a string that may have NUL in it, or NIL for None: ``nstring / literal8``."""
    if octets is not None and b"\0" in octets:
        return b"~{%d}\r\n%b" % (len(octets), octets)
    return nstring(octets)


def object_name(id_: str) -> str:
    """Return an id as clients are told of it: one that is no ``objectid`` (RFC 8474 section 7) is made into one."""
    if _OBJECT_ID.fullmatch(id_):
        return id_
    return "X" + blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def object_id(id_: str) -> bytes:
    """Return ``"(" objectid ")"``."""
    return b"(%b)" % object_name(id_).encode("ascii")


def namespace_prefix(name: str, utf8: bool = False) -> bytes:
    """Return a name, with the delimiter at its end, as the string that NAMESPACE has (RFC 2342 section 6)."""
    return _utf8_quoted(name) if utf8 else string(names.encode(name))


def _utf8_quoted(name: str) -> bytes:
    return b'"' + _SPECIAL.sub(rb"\\\1", name.encode("utf-8", "replace")) + b'"'


def mailbox(name: str, utf8: bool = False) -> bytes:
    """Return a decoded mailbox name as an astring, in modified UTF-7 or, quoted, in UTF-8 (RFC 9051 section 5.1)."""
    if utf8 and not name.isascii():
        return _utf8_quoted(name)
    return astring(name.encode("ascii") if utf8 else names.encode(name))


# ---------------------------------------------------------------- flags, dates, sets


@functools.lru_cache(maxsize=4096)
def flags(present: Flags, recent: bool = False) -> bytes:
    """Return a flag list: system flags first, then keywords in alphabetical order."""
    words = [flag for flag in _SYSTEM_ORDER if flag in present]
    if recent:
        words.append("\\Recent")
    words.extend(sorted(present.difference(_SYSTEM_ORDER)))
    return f"({' '.join(words)})".encode("ascii", "replace")


def internal_date(epoch: int) -> bytes:
    """Return a date-time in UTC, quoted; a time no calendar has becomes the epoch."""
    minute, second = divmod(epoch, 60)
    return b'"%b:%02d +0000"' % (_minute(minute), second) if FIRST_TIME <= epoch <= LAST_TIME else internal_date(0)


@functools.lru_cache(maxsize=4096)
def _minute(minute: int) -> bytes:
    moment = time.gmtime(60 * minute)
    return (
        f"{moment.tm_mday:2}-{_MONTHS[moment.tm_mon - 1]}-{moment.tm_year:04} {moment.tm_hour:02}:{moment.tm_min:02}"
    ).encode("ascii")


def uid_set(uids: Sequence[int]) -> bytes:
    """Return UIDs in the order given, runs drawn together: ``uid-set`` of RFC 4315 section 4."""
    return ranges_set(runs(uids))


def runs(uids: Iterable[int]) -> list[tuple[int, int]]:
    """Draw runs together, in the order given."""
    drawn: list[tuple[int, int]] = []
    first = last = 0
    for uid in uids:
        if uid == last + 1 and drawn:
            last = uid
            drawn[-1] = first, last
        else:
            first = last = uid
            drawn.append((first, last))
    return drawn


def ranges_set(ranges: Sequence[tuple[int, int]]) -> bytes:
    """Return a set of ranges."""
    return b",".join([b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in ranges])


# ---------------------------------------------------------------- updates


@dataclass(frozen=True, slots=True)
class Manner:
    """
    How a client hears of messages: with their UIDs, or by them alone (RFC 9586), with their modification sequences.

    `rights` are those to the selected mailbox by which flags can be changed.
    """

    with_uid: bool
    uid_only: bool
    with_modseq: bool
    rights: Rights


def updates(told: list[Update], manner: Manner) -> bytes:
    """Return the untagged responses that bring a client up to date."""
    return b"".join(_update(update, manner) for update in told)


def _update(update: Update, manner: Manner) -> bytes:
    match update:
        case Exists(count):
            return b"* %d EXISTS\r\n" % count
        case Recent(count):
            return b"* %d RECENT\r\n" % count
        case Expunge(number):
            return b"* %d EXPUNGE\r\n" % number
        case Vanished(uids):
            return vanished(runs(uids))
        case Keywords(keywords):
            return known_flags(keywords, manner.rights)
        case FlagsChanged(uid, number, present, recent, modseq):
            shown_uid = uid if manner.with_uid or manner.uid_only else None
            shown_modseq = modseq if manner.with_modseq else None
            return fetched_flags(number, present, recent, shown_uid, shown_modseq, manner.uid_only)


def vanished(ranges: Sequence[tuple[int, int]], earlier: bool = False) -> bytes:
    """Return VANISHED, `earlier` for what went before the client asked (RFC 7162 section 3.2.10); empty for nothing."""
    start = b"* VANISHED (EARLIER) " if earlier else b"* VANISHED "
    return b"".join(start + ranges_set(ranges[at : at + _RANGES]) + b"\r\n" for at in range(0, len(ranges), _RANGES))


def fetched_flags(
    number: int,
    present: Flags | None,
    recent: bool,
    uid: int | None,
    modseq: int | None = None,
    uid_only: bool = False,
) -> bytes:
    """
    Return a FETCH response with a message's flags, if any are given, its UID and its modification sequence.

    With `uid_only` it is a UIDFETCH, for which there must be a UID (RFC 9586 section 3.3).
    """
    items = [b"UID %d" % uid] if uid is not None and not uid_only else []
    if present is not None:
        items.append(b"FLAGS " + flags(present, recent))
    if modseq is not None:
        items.append(b"MODSEQ (%d)" % modseq)
    if uid_only:
        return b"* %d UIDFETCH (%b)\r\n" % (uid or 0, b" ".join(items))
    return b"* %d FETCH (%b)\r\n" % (number, b" ".join(items))


def known_flags(keywords: tuple[str, ...], rights: Rights) -> bytes:
    """Return FLAGS, and as PERMANENTFLAGS those that may be changed; who may change any, may make new keywords."""
    known = (*_SYSTEM_ORDER, *keywords)
    changeable = [flag for flag in known if right_for(flag) in rights] + ["\\*"] * (WRITE in rights)
    words, permanent = (" ".join(each).encode("ascii", "replace") for each in (known, changeable))
    return untagged(b"FLAGS (" + words + b")") + condition(b"OK", "Flags", b"PERMANENTFLAGS (" + permanent + b")")
