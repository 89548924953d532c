"""Frames on a local socket: JSON, and octets beside it."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from mailfw.cluster.codec import Blobs, Malformed

#: Octets of one frame: a snapshot of some millions of messages fits.
LARGEST = 256 * 1024 * 1024
#: Octets of all that follows, of the JSON, and how many pieces of octets there are.
_HEAD = struct.Struct(">III")


def write_frame(message: Sequence[Any], blobs: Blobs) -> list[bytes]:
    """Return the pieces of one frame."""
    text = json.dumps(message, separators=(",", ":")).encode("ascii")
    lengths = struct.pack(f">{len(blobs)}I", *map(len, blobs))
    size = len(text) + len(lengths) + sum(map(len, blobs))
    if size > LARGEST:
        raise Malformed(f"a frame may have {LARGEST} octets, not {size}")
    return [_HEAD.pack(size, len(text), len(blobs)) + lengths + text, *blobs]


class FrameReader:
    """Takes octets in any pieces, and gives whole frames."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def feed(self, data: bytes) -> list[tuple[list[Any], Blobs]]:
        """Return the frames that are whole now.  Raises `Malformed`."""
        self._octets += data
        frames: list[tuple[list[Any], Blobs]] = []
        start = 0
        while len(self._octets) - start >= _HEAD.size:
            size, text, count = _HEAD.unpack_from(self._octets, start)
            if size > LARGEST or text + 4 * count > size:
                raise Malformed("a frame is too long")
            end = start + _HEAD.size + size
            if len(self._octets) < end:
                break
            frames.append(self._frame(start + _HEAD.size, end, text, count))
            start = end
        if start:
            del self._octets[:start]
        return frames

    def _frame(self, start: int, end: int, text: int, count: int) -> tuple[list[Any], Blobs]:
        lengths = struct.unpack_from(f">{count}I", self._octets, start)
        start += 4 * count
        if start + text + sum(lengths) != end:
            raise Malformed("the lengths of a frame do not fit")
        try:
            message = json.loads(self._octets[start : start + text])
        except (ValueError, RecursionError):
            raise Malformed("a frame is no JSON")
        if type(message) is not list or not message:
            raise Malformed("a frame is no message")
        blobs, place = [], start + text
        for length in lengths:
            blobs.append(bytes(self._octets[place : place + length]))
            place += length
        return message, blobs
