"""Which messages belong together: message ids as RFC 5256 section 3 compares them, and what a thread is found by."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

#: Octets of what stands for an id, or an id with a subject: 2**48 have to be tried until two are the same.
WIDTH = 12

#: What stands for the id of a message that has none.
NO_ID = bytes(WIDTH)

#: References of one message that count: the first, where a conversation began, and the last ones.
MAX_REFERENCES = 100

# msg-id = "<" id-left "@" id-right ">"                               RFC 5322 section 3.6.4
# The "@" is often missing, and spaces are where a field was folded.  No quotes hide a bracket: so each "<" is looked
# from as far as the next one only, and any value takes time in proportion to its length.
_ID = re.compile(rb'<((?:[^<>"]|"(?:[^"\\<>]|\\[^<>])*+")++)>')
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_SPACES = re.compile(rb"[ \t\r\n]+")
_ONE = re.compile(rb'<[^<>"\s]++>')
_PLAIN = re.compile(rb"[^\s<>\"]{1,998}")


class Relations(NamedTuple):
    """
    How a message is related to others, by strings of `WIDTH` octets each.

    `ids` is its own Message-ID (`NO_ID` without one), then the ids it refers to, the eldest first: References, or
    else In-Reply-To, as RFC 5256 section 3 takes them.  `keys` are these together with the subject, in the order in
    which a thread is looked for; the last is that of the eldest, which names a new thread.
    """

    ids: bytes
    keys: bytes


def relations(values: Mapping[bytes, bytes], subject: bytes) -> Relations:
    """Return the relations of a message with these unfolded field values and this prepared base subject."""
    own = next(iter(message_ids(values.get(b"message-id", b""), lenient=True)), None)
    replied = message_ids(values.get(b"in-reply-to", b""))
    referred = message_ids(values.get(b"references", b""))
    named = referred or replied[:1]
    ids = b"".join([NO_ID if own is None else _digest(own), *map(_digest, named)])
    # The nearest relation first: RFC 8621 section 3 asks for the ids of all three fields, and for the same subject.
    nearest = ([] if own is None else [own]) + replied + named[::-1]
    return Relations(ids, _keys(nearest, subject.replace(b" ", b"")))


def message_ids(value: bytes, lenient: bool = False) -> list[bytes]:
    """
    Return the ids in a field value without their brackets: quotes that change nothing, and spaces, are gone.

    Of more than `MAX_REFERENCES` these are the first and the last ones.  With `lenient`, a value without brackets is an
    id.
    """
    if not value:
        return []
    if _ONE.fullmatch(value) is not None:
        return [value[1:-1]]
    written = _ID.findall(value)
    if len(written) > MAX_REFERENCES:
        written = [written[0], *written[1 - MAX_REFERENCES :]]
    found = list(filter(None, map(_normal, written)))
    if lenient and not found and _PLAIN.fullmatch(value.strip()):
        return [value.strip()]
    return found


def _normal(written: bytes) -> bytes:
    if b'"' in written:
        written = _QUOTED.sub(lambda quoted: _PAIR.sub(rb"\1", quoted[1]), written)
    return _SPACES.sub(b"", written)


def _digest(id_: bytes) -> bytes:
    return blake2b(id_, digest_size=WIDTH).digest()


def _keys(ids: list[bytes], subject: bytes) -> bytes:
    return b"".join([_digest(b"%b\0%b" % (id_, subject)) for id_ in dict.fromkeys(ids)])


def split(strings: bytes) -> list[bytes]:
    """Return the strings of `WIDTH` octets that are joined in one."""
    return [strings[start : start + WIDTH] for start in range(0, len(strings), WIDTH)]


def join(known: MutableMapping[bytes, bytes], keys: Sequence[bytes], lonely: bytes) -> tuple[bytes, list[bytes]]:
    """
    Return the thread of a message with these keys, and which of them were not known until now.

    It is the first in `known`, where all its keys are afterwards, else one named by its last key; without keys it is
    `lonely`.  So a thread never changes, and mostly has the same name whichever of its messages came first.
    """
    thread = next((known[key] for key in keys if key in known), keys[-1] if keys else lonely)
    new = [key for key in keys if key not in known]
    known.update(dict.fromkeys(new, thread))
    return thread, new


def thread_id(thread: bytes) -> str:
    """Return how clients are told of a thread: ``objectid`` of RFC 8474 section 7."""
    return "T" + thread.hex()


def lonely_thread(email_id: str) -> bytes:
    """Return the thread of a message that has no ids at all, and which nothing ever joins."""
    return _digest(email_id.encode("utf-8", "surrogatepass"))
