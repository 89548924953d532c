"""
What a segment is made of: records, each with its length and a checksum.

The checksum is seeded with the segment's `seed`, a random number in its file's name: where the reader has to look for
the next record behind damage, no message can contain what passes for one.
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

#: Magic, kind, length of the state, length of the octets, where a file goes on (-1: no file), checksum of what follows
#: the head; then the checksum of all these.
_HEAD = struct.Struct(">4sB3xIIqI")
_CHECK = struct.Struct(">I")
_LENGTH = _HEAD.size + _CHECK.size
_MAGIC = b"\x9emq1"
_KINDS = frozenset({1, 2, 3})


class Kind(enum.IntEnum):
    """What a record says: here is a message, this is its state now, nothing is left to do with it here."""

    MESSAGE = 1
    STATE = 2
    DONE = 3


@dataclass(frozen=True, slots=True)
class Record:
    """
    One record, as read: `state` is a message's state, or in `Kind.DONE` its id.

    The message's octets lie at `offset` of the segment; where `start` is not None, what its file holds from there on
    follows.
    """

    kind: Kind
    state: bytes
    offset: int
    length: int
    start: int | None


@dataclass(frozen=True, slots=True)
class Damage:
    """Octets that are no record, from `offset` to `end`; `is_tail`: nothing follows them."""

    offset: int
    end: int
    is_tail: bool


def head(kind: Kind, seed: int, state: bytes, octets: bytes = b"", start: int | None = None) -> bytes:
    """Return the beginning of a record, which `state` and `octets` follow."""
    check = zlib.crc32(octets, zlib.crc32(state, seed))
    packed = _HEAD.pack(_MAGIC, kind, len(state), len(octets), -1 if start is None else start, check)
    return packed + _CHECK.pack(zlib.crc32(packed, seed))


def unpack(segment: bytes, seed: int) -> Iterator[Record | Damage]:
    """Read a segment's records in order, and on behind what is damaged."""
    view = memoryview(segment)
    position = 0
    while position < len(segment):
        found = _record_at(view, position, seed)
        if found is None:
            end = _next_record(segment, position + 1, seed)
            yield Damage(position, end, end == len(segment))
            position = end
        else:
            yield found
            position = found.offset + found.length


def _record_at(segment: memoryview, position: int, seed: int) -> Record | None:
    if position + _LENGTH > len(segment):
        return None
    magic, kind, state_length, length, start, check = _HEAD.unpack_from(segment, position)
    (head_check,) = _CHECK.unpack_from(segment, position + _HEAD.size)
    # The head is checked by itself, so that looking for the next one costs little whatever is in a message.
    if magic != _MAGIC or zlib.crc32(segment[position : position + _HEAD.size], seed) != head_check:
        return None
    begin = position + _LENGTH
    offset = begin + state_length
    if kind not in _KINDS or offset + length > len(segment):
        return None
    if zlib.crc32(segment[begin : offset + length], seed) != check:
        return None
    return Record(Kind(kind), bytes(segment[begin:offset]), offset, length, None if start < 0 else start)


def _next_record(segment: bytes, position: int, seed: int) -> int:
    """Return where the next record begins, or the segment ends."""
    view = memoryview(segment)
    while (position := segment.find(_MAGIC, position)) >= 0:
        if _record_at(view, position, seed):
            return position
        position += 1
    return len(segment)
