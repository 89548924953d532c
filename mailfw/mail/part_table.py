"""The table of a message's parts, kept beside the message so that each part can be read by its offset."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from mailfw.mail.fields import Parameters
from mailfw.mail.mime import Part


def encode_parts(root: Part) -> bytes:
    """Return the tree as octets to be kept beside the message."""
    return json.dumps(_to_list(root), separators=(",", ":")).encode("ascii")


def decode_parts(octets: bytes) -> Part:
    """Return the tree that `encode_parts` wrote, without `Part.head`."""
    return _from_list(json.loads(octets))


def shift_parts(octets: bytes, size: int) -> bytes:
    """Return the table for the same message with `size` octets of header put before it."""
    if octets.endswith(_CHILDLESS):
        facts, header, body, lines, _ = octets.rsplit(b",", 4)
        return b"%b,%d,%b,%b%b" % (facts, int(header) + size, body, lines, _CHILDLESS)
    root = json.loads(octets)
    root[_HEADER_SIZE] += size
    waiting = list(root[_CHILDREN])
    while waiting:
        part = waiting.pop()
        part[_HEADER_START] += size
        waiting += part[_CHILDREN]
    return json.dumps(root, separators=(",", ":")).encode("ascii")


#: Places in a line of the table.
_HEADER_START, _HEADER_SIZE, _CHILDREN = 11, 12, 15

#: How the table ends of a message without parts, whose line alone is shifted without being read.
_CHILDLESS = b",[]]"


def _to_list(part: Part) -> list[Any]:
    return [
        part.type,
        part.subtype,
        part.parameters,
        part.encoding,
        part.disposition,
        part.disposition_parameters,
        part.id,
        part.description,
        part.language,
        part.location,
        part.md5,
        part.header_start,
        part.header_size,
        part.body_size,
        part.lines,
        [_to_list(child) for child in part.children],
    ]


def _from_list(values: list[Any]) -> Part:
    *facts, children = values
    part = Part(*facts)
    return replace(
        part,
        parameters=_pairs(values[2]),
        disposition_parameters=_pairs(values[5]),
        language=tuple(part.language),
        children=tuple(_from_list(child) for child in children),
    )


def _pairs(values: list[list[str]]) -> Parameters:
    return tuple((name, value) for name, value in values)
