"""
What can be found in a message: its text, folded, piece by piece and as a whole; and the grams to find it by.

The text of a message is what people read of it: the header, text parts and messages within, decoded from their
transfer encodings and charsets, HTML without its markup.  What describes the parts, names of
attachments among it, is text but not the body.  Of each part the first
`PART_LIMIT` octets count, of each message the first `MESSAGE_LIMIT`.  No text is found across the end of a piece.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from mailfw.mail.fields import split_fields, unfold
from mailfw.mail.mime import MAX_HEADER, Part
from mailfw.mail.text import fold, part_text
from mailfw.mail.words import decode_parameter, decode_words

#: Octets of one part that are searched: what lies beyond, no text written by people reaches.
PART_LIMIT = 1024 * 1024
#: Octets of one message that are searched.
MESSAGE_LIMIT = 8 * 1024 * 1024
#: Characters of one message's text that are kept; of what has more, the message must be read to know all.
KEPT = 1024 * 1024

#: What parts two pieces, or two fields: no folded text has it, so nothing is found across it.
BREAK = "\n"


class Section(Enum):
    """Where a piece of text belongs to."""

    HEAD = "head"
    BODY = "body"
    #: What describes a part, and is neither the message's header nor what people read.
    REST = "rest"


@dataclass(frozen=True, slots=True)
class Piece:
    """Octets of a message that are text, or `text` that is known already; `part` is None for a header."""

    section: Section
    start: int
    size: int
    part: Part | None = None
    text: str = ""

    def read(self, octets: bytes) -> str:
        """Return the folded text of these octets; never raises."""
        if self.text:
            return self.text
        if self.part is None:
            return header_text(octets)
        part = self.part
        return fold(part_text(octets, part.subtype if part.type == "text" else "", part.encoding, part.charset))


def pieces(root: Part) -> Iterator[Piece]:
    """Yield what is to be searched, in the order of the message; together no more than `MESSAGE_LIMIT` octets."""
    yield Piece(Section.HEAD, 0, min(root.header_size, MAX_HEADER))
    room = MESSAGE_LIMIT
    for piece in _within(root):
        size = min(piece.size, PART_LIMIT, room)
        room -= size
        yield Piece(piece.section, piece.start, size, piece.part, piece.text)


def _within(part: Part) -> Iterator[Piece]:
    if name := _file_name(part):
        yield Piece(Section.REST, 0, 0, text=name)
    if part.children:
        for child in part.children:
            # The header of a message within is part of the body; that of a part only describes it.
            section = Section.REST if part.message is None else Section.BODY
            yield Piece(section, child.header_start, min(child.header_size, MAX_HEADER))
            yield from _within(child)
    elif part.type in ("text", "message"):
        yield Piece(Section.BODY, part.body_start, part.body_size, part)


def _file_name(part: Part) -> str:
    if not part.disposition_parameters and not part.parameters:
        return ""
    name = decode_parameter(part.disposition_parameters, "filename") or decode_parameter(part.parameters, "name")
    return fold(name) if name else ""


def header_text(octets: bytes) -> str:
    """Return a header as ``name: value`` on a line for each field, folded."""
    return BREAK.join([f"{shown_name(name)}: {value_text(raw)}" for name, raw in split_fields(octets)])


def value_text(raw: bytes) -> str:
    """Return the value of a raw field as text, encoded words decoded, folded."""
    value = unfold(raw[raw.find(b":") + 1 :])
    is_plain = value.isascii() and b"=?" not in value
    return fold(value.decode("ascii") if is_plain else decode_words(value)).strip(" ")


def shown_name(name: bytes) -> str:
    """Return a field's name, in lower case, as `header_text` writes it."""
    return fold(name.decode("ascii", "replace"))


# ---------------------------------------------------------------- a message's text


@dataclass(frozen=True, slots=True)
class Terms:
    """
    A message's text: that of its header, of its body, and the rest.

    Not `is_whole`, it lacks what exceeds `KEPT`; the header is never what it lacks.
    """

    head: str
    body: str
    rest: str
    is_whole: bool = True

    def values(self, name: str) -> list[str]:
        """Return the values of the header fields of this name."""
        start = name + ":"
        skipped = len(start) + 1
        return [line[skipped:] for line in self.head.split(BREAK) if line.startswith(start)]

    def column(self, name: str) -> str | None:
        """Return the values of the fields of this name in one text, None where there is none."""
        values = self.values(name)
        return BREAK.join(values) if values else None


def terms_of(root: Part, read: Callable[[int, int], bytes]) -> Terms:
    """Return the text of a message of these parts; ``read(offset, length)`` is asked for one piece after the other."""
    found: dict[Section, list[str]] = {section: [] for section in Section}
    room = KEPT
    is_whole = True
    for piece in pieces(root):
        text = piece.read(read(piece.start, piece.size) if piece.size else b"")
        if len(text) > room and piece.section is not Section.HEAD:  # each character of a header may become eighteen
            text, is_whole = text[: max(room, 0)], False
        room -= len(text)
        if text:
            found[piece.section].append(text)
        if not is_whole:
            break
    head, body, rest = (BREAK.join(found[section]) for section in Section)
    return Terms(head, body, rest, is_whole)


# ---------------------------------------------------------------- grams

# What grams are made of: everything but ASCII's signs and controls.  Folded text has no capitals.
_RUN = re.compile(r"[^\0-/:-`{-\x7f]+")


def grams(text: str) -> set[str]:
    """
    Return the grams of folded text: every two characters that are side by side in a run, and the last one of each.

    A run is what stands between spaces and ASCII's signs.  Two characters, because most Korean words have no more.
    """
    found: set[str] = set()
    for run in set(_RUN.findall(text)):
        found.add(run[-1])
        found.update(map(str.__add__, run, run[1:]))
    return found


@dataclass(frozen=True, slots=True)
class Clue:
    """A gram that every text has which contains what is sought; `begins` means: any gram that begins so."""

    gram: str
    begins: bool = False


def clues(text: str) -> list[Clue]:
    """Return what the grams of a text must have for it to contain this folded text; nothing if that says nothing."""
    found: dict[Clue, None] = {}
    for match in _RUN.finditer(text):
        run, ends = match[0], match.end() < len(text)
        for pair in map(str.__add__, run, run[1:]):
            found[Clue(pair)] = None
        if ends:
            found[Clue(run[-1])] = None
        elif len(run) == 1:
            found[Clue(run, begins=True)] = None
    return list(found)


def is_told_by_clues(text: str) -> bool:
    """Whether a text that has the clues is sure to contain this one: one character of a run, or two."""
    return len(text) <= 2 and _RUN.fullmatch(text) is not None


def as_tokens(found: Iterable[str]) -> str:
    """Return grams as words between spaces, the same ones always in the same order."""
    return " ".join(sorted(found))
