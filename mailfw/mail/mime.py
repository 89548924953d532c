"""Where the parts of a message are: a scanner that is fed octets in any pieces, and the tree it makes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mailfw.mail.continuations import boundary_of
from mailfw.mail.delimiters import Delimiters
from mailfw.mail.fields import (
    Parameters,
    field_value,
    parse_parameters,
    split_fields,
    to_octets,
    to_text,
    without_comments,
)
from mailfw.mail.preview import TEXTS, Excerpt

#: Octets of one header that are looked at; what follows is content like any other.
MAX_HEADER = 256 * 1024
#: Octets of all headers in one message that are looked at.
MAX_HEADERS = 1024 * 1024
#: Multiparts and messages within each other; deeper ones are opaque.
MAX_DEPTH = 100
#: Parts of one message; the last of them holds all the rest.
MAX_PARTS = 1000
#: RFC 2046 section 5.1.1 allows boundaries of 70 octets; some mailers make longer ones.
MAX_BOUNDARY = 1000
#: A longer line is no delimiter, whatever it begins with.
_MAX_DELIMITER = MAX_BOUNDARY + 70

BLANK_LINE = re.compile(rb"\n\r?\n")
# type "/" subtype, whatever follows without a semicolon                    RFC 2045 section 5.1
_TYPE = re.compile(rb'([^\x00-\x20()<>@,;:\\"/\[\]?=]+)\s*/\s*([^\x00-\x20()<>@,;:\\"/\[\]?=]+)(?:\s|\Z)')
# mechanism := token                                                      RFC 2045 section 6.1
_MECHANISM = re.compile(rb'[^\x00-\x20()<>@,;:\\"/\[\]?=\x7f-\xff]+')


@dataclass(frozen=True, slots=True)
class Part:
    """
    One node of a message's MIME tree; the message itself is the root.

    Offsets are octets from the start of the message.  The header reaches up to and with its empty line, the
    body follows at once; `lines` counts the body's line ends.  `children` are the parts of a multipart, or the
    one message within a ``message/rfc822``.  Types and the encoding are in lower case; parameters, and what
    else comes from header fields, is as written there (see `fields.to_text`), None where the field is missing.
    `head` is the header itself (at most `MAX_HEADER`) in a tree fresh from the scanner, for messages only.
    """

    type: str = "text"
    subtype: str = "plain"
    parameters: Parameters = ()
    encoding: str = "7bit"
    disposition: str | None = None
    disposition_parameters: Parameters = ()
    id: str | None = None
    description: str | None = None
    language: tuple[str, ...] = ()
    location: str | None = None
    md5: str | None = None
    header_start: int = 0
    header_size: int = 0
    body_size: int = 0
    lines: int = 0
    children: tuple[Part, ...] = ()
    head: bytes = field(default=b"", repr=False, compare=False)

    @property
    def body_start(self) -> int:
        """Offset of the first octet after the header."""
        return self.header_start + self.header_size

    @property
    def is_multipart(self) -> bool:
        """Whether `children` are parts side by side."""
        return self.type == "multipart"

    @property
    def message(self) -> Part | None:
        """The message within, for a ``message/rfc822``."""
        return self.children[0] if self.children and self.type == "message" else None

    @property
    def charset(self) -> str:
        """The charset parameter in lower case; RFC 2045 section 5.2 says what a text without one has."""
        for name, value in self.parameters:
            if name.lower() == "charset" and value:
                return value.lower()
        return "us-ascii"


class _OpenPart:
    """A part whose end was not seen yet."""

    __slots__ = ("body_start", "boundary", "children", "facts", "head", "header_start", "in_digest", "newlines")

    def __init__(self, header_start: int, in_digest: bool = False) -> None:
        self.header_start = self.body_start = header_start
        self.in_digest = in_digest
        self.newlines = 0
        self.boundary = b""
        self.head = b""
        self.facts: dict[str, Any] = {}
        self.children: list[Part] = []

    def close(self, end: int, newlines: int) -> Part:
        """Return the finished part, whose body ends at `end`, where so many line ends were passed."""
        header_start, body_start = min(self.header_start, end), min(self.body_start, end)
        return Part(
            header_start=header_start,
            header_size=body_start - header_start,
            body_size=end - body_start,
            lines=max(0, newlines - self.newlines),
            children=tuple(self.children),
            head=self.head,
            **self.facts,
        )


class Scanner:
    """
    Finds the parts of a message that is fed to it in any pieces; never raises on any octets.

    Delimiters are searched for, lines are not walked through, so that a large attachment costs one pass of
    `bytes.find`.  A part that lacks its end ends with the part around it (RFC 2046 section 5.1.2).
    """

    def __init__(self) -> None:
        #: Octets fed so far.
        self.size = 0
        self._data = b"\n"  # a line end before the first line, so that every line has one before it
        self._base = -1  # offset of the first octet of _data
        self._next = -1  # offset where the search goes on: at the line end before an unread line
        self._counted = 0
        self._newlines = 0
        self._stack = [_OpenPart(0)]
        self._in_header = True
        self._header = bytearray()
        self._header_room = MAX_HEADERS
        self._blank: tuple[int, int] | None = None  # the empty line that was found last
        self._no_blank = -1  # no other begins before here
        self._delimiters = Delimiters()
        self._parts = 1
        #: The beginnings of the first texts that are no attachments, but for those of messages within.
        self.texts: list[Excerpt] = []
        self._text: Excerpt | None = None  # the one that is being read

    def feed(self, octets: bytes) -> None:
        """Take the next piece."""
        self.size += len(octets)
        self._data += octets
        while self._step():
            pass
        self._let_go()

    def finish(self) -> Part:
        """Return the whole message's tree.  Nothing can be fed afterwards."""
        self._data += b"\n"  # so that a last line without an end is seen
        while self._step():
            pass
        while self._in_header:
            self._end_header(self.size)
        self._close_down_to(0, self.size)
        root = self._stack[0]
        return root.close(self.size, self._count(self.size))

    # ------------------------------------------------------------ finding

    def _step(self) -> bool:
        """Deal with the next delimiter or end of a header; False when there is none in what we have."""
        start = self._next - self._base
        blank = self._find_blank() if self._in_header else None
        found = self._find_delimiter(start, blank[0] - self._base if blank else len(self._data))
        if found is not None:
            self._delimit(*found)
            return True
        if blank is None:
            return False
        self._next = blank[1] - 1
        self._end_header(min(self._next + 1, self.size))
        return True

    def _find_blank(self) -> tuple[int, int] | None:
        """Return where the next empty line is, with the line end before it; what was looked through is not again."""
        if self._blank is not None and self._blank[0] >= self._next:
            return self._blank
        found = BLANK_LINE.search(self._data, max(self._next, self._no_blank) - self._base)
        if found is None:
            self._no_blank = max(self._no_blank, self._base + len(self._data) - 2)
            return None
        self._blank = (self._base + found.start(), self._base + found.end())
        return self._blank

    def _find_delimiter(self, start: int, stop: int) -> tuple[int, int, int, bool] | None:
        """Return the offsets of the line ends around the next delimiter, whose it is, and whether it closes."""
        data, needle = self._data, self._delimiters.needle
        while needle:
            at = data.find(needle, start, stop)
            if at < 0:
                return None
            end = data.find(b"\n", at + 1, at + 1 + _MAX_DELIMITER)
            if end >= 0:
                known = self._delimiters.find(data[at + 1 : end])
                if known is not None:
                    return self._base + at, self._base + end, *known
            start = at + 1
        return None

    def _let_go(self) -> None:
        """Forget what was searched, but for a last line that may become a delimiter, and the octets before it."""
        data = self._data
        last = data.rfind(b"\n", max(0, len(data) - _MAX_DELIMITER))
        if last < 0:
            last = len(data)
        keep = max(0, last - 1)
        self._gather_header(self._base + keep)
        self._gather_text(self._base + keep)
        self._count(self._base + keep)
        self._next = max(self._next, self._base + min(last, len(data) - 1))
        self._data = data[keep:]
        self._base += keep

    def _count(self, offset: int) -> int:
        """Return how many line ends there are before `offset`, which never decreases."""
        offset = min(offset, self.size)
        if offset > self._counted:
            self._newlines += self._data.count(b"\n", self._counted - self._base, offset - self._base)
            self._counted = offset
        return self._newlines

    # ------------------------------------------------------------ headers

    def _gather_header(self, offset: int) -> None:
        """Keep the octets of the present header up to `offset`, as far as there is room."""
        if not self._in_header:
            return
        begin = self._stack[-1].header_start + len(self._header)
        end = min(offset, self.size, begin + MAX_HEADER - len(self._header), begin + self._header_room)
        if begin >= self._base and end > begin:
            self._header += self._data[begin - self._base : end - self._base]
            self._header_room -= end - begin

    # ------------------------------------------------------------ texts

    def _begin_text(self, part: _OpenPart) -> None:
        """Keep the beginning of a text, if it is among the first that a reader sees."""
        if len(self.texts) < TEXTS and all(each.facts["type"] == "multipart" for each in self._stack[:-1]):
            above = self._stack[-2] if len(self._stack) > 1 else None
            is_choice = above is not None and above.facts["subtype"] == "alternative"
            excerpt = excerpt_of(part.facts, above if is_choice else None)
            if excerpt is not None:
                self.texts.append(excerpt)
                self._text = excerpt

    def _gather_text(self, offset: int) -> None:
        """Keep the octets of the present text up to `offset`, as far as there is use for them."""
        if self._text is not None and self._text.room:
            begin = self._stack[-1].body_start + len(self._text.octets)
            end = min(offset, self.size, begin + self._text.room)
            if end > begin:
                self._text.octets += self._data[begin - self._base : end - self._base]

    # ------------------------------------------------------------ the end of a header

    def _end_header(self, body_start: int) -> None:
        """Read the header that ends here, and see what its body is."""
        self._gather_header(body_start)
        part = self._stack[-1]
        part.body_start = body_start
        part.newlines = self._count(body_start)
        head = bytes(self._header)
        self._header.clear()
        part.facts = read_facts(split_fields(head), part.in_digest)
        parent = self._stack[-2] if len(self._stack) > 1 else None
        if parent is None or parent.facts["type"] == "message":
            part.head = head
        self._in_header = False
        if part.facts["type"] == "multipart":
            self._enter_multipart(part)
        elif part.facts["type"] == "message" and part.facts["subtype"] in ("rfc822", "global"):
            self._enter_message(part)
        if part.facts["type"] == "text":
            self._begin_text(part)

    def _enter_multipart(self, part: _OpenPart) -> None:
        octets = to_octets(boundary_of(part.facts["parameters"])).rstrip(b" \t\r\n")
        if not octets or len(octets) > MAX_BOUNDARY or b"\n" in octets:
            # A multipart without a boundary is malformed: shown as RFC 2045 section 5.2 says, so that it can be read.
            part.facts.update(type="text", subtype="plain", parameters=())
        elif len(self._stack) >= MAX_DEPTH:
            part.facts.update(type="application", subtype="octet-stream")
        else:
            part.boundary = octets
            self._delimiters.know([part.boundary for part in self._stack])

    def _enter_message(self, part: _OpenPart) -> None:
        if len(self._stack) >= MAX_DEPTH or self._parts >= MAX_PARTS:
            part.facts.update(type="application", subtype="octet-stream")
            return
        self._parts += 1
        self._stack.append(_OpenPart(part.body_start))
        self._in_header = True

    # ------------------------------------------------------------ delimiters

    def _delimit(self, before: int, after: int, depth: int, closes: bool) -> None:
        """End what the delimiter between these two line ends ends, and begin the next part."""
        if not closes and self._parts >= MAX_PARTS:
            self._delimiters.forget()
            return
        self._next = after
        self._close_down_to(depth, self._end_before(before, depth))
        owner = self._stack[depth]
        self._in_header = not closes
        if closes:
            owner.boundary = b""
        else:
            self._parts += 1
            self._stack.append(_OpenPart(min(after + 1, self.size), owner.facts["subtype"] == "digest"))
        self._delimiters.know([part.boundary for part in self._stack])

    def _end_before(self, before: int, depth: int) -> int:
        """Return where a body ends that a delimiter follows, to which the line end before it belongs."""
        index = before - self._base
        end = before - 1 if index and self._data[index - 1] == 13 else before
        # So does the empty line behind a header, or the end of the header's last line (RFC 2046 section 5.1.1).
        part = self._stack[min(depth + 1, len(self._stack) - 1)]
        end = max(end, part.header_start)
        while self._in_header:
            self._end_header(max(end, self._stack[-1].header_start))
        return end

    def _close_down_to(self, depth: int, end: int) -> None:
        self._gather_text(end)
        self._text = None
        newlines = self._count(end)
        if end < self._counted:
            newlines -= self._data.count(b"\n", end - self._base, self._counted - self._base)
        while len(self._stack) > depth + 1:
            part = self._stack.pop()
            self._stack[-1].children.append(part.close(end, newlines))


# ---------------------------------------------------------------- the fields that describe a part


def read_facts(fields: Iterable[tuple[bytes, bytes]], in_digest: bool = False) -> dict[str, Any]:
    """Return what the Content fields of a header say, as keyword arguments of `Part`; the first of a kind counts."""
    return facts_of(tuple([raw for name, raw in fields if name.startswith(b"content-")]), in_digest)


def facts_of(content_fields: tuple[bytes, ...], in_digest: bool = False) -> dict[str, Any]:
    """Return what these raw Content fields say, as `read_facts` does."""
    read = _remembered_facts if is_short(content_fields) else _facts
    return dict(read(content_fields, in_digest))


#: Content fields of no more octets together are remembered.
_SHORT = 500


def is_short(content_fields: tuple[bytes, ...]) -> bool:
    """Whether what comes of these raw Content fields is worth remembering."""
    return sum(map(len, content_fields)) <= _SHORT


def _facts(content_fields: tuple[bytes, ...], in_digest: bool) -> dict[str, Any]:
    found: dict[bytes, bytes] = {}
    for name, raw in split_fields(b"".join(content_fields)):
        found.setdefault(name[8:], field_value(raw))
    # RFC 2046 section 5.1.5: what a part of a digest is unless it says otherwise.
    facts: dict[str, Any] = {"type": "message", "subtype": "rfc822"} if in_digest else {"type": "text"}
    if (value := found.get(b"type")) is not None:
        facts = _read_type(value)
    if value := found.get(b"transfer-encoding"):
        mechanism = parse_parameters(value)[0]
        facts["encoding"] = to_text(mechanism).lower() if _MECHANISM.fullmatch(mechanism) else "7bit"
    if value := found.get(b"disposition"):
        kind, parameters = parse_parameters(value)
        facts |= {"disposition": to_text(kind) or "attachment", "disposition_parameters": parameters}
    if value := found.get(b"language"):
        tags = to_text(without_comments(value))  # RFC 3282 section 2
        facts["language"] = tuple(tag for tag in re.split(r"[,\s]+", tags) if tag)
    for name, key in ((b"id", "id"), (b"description", "description"), (b"location", "location"), (b"md5", "md5")):
        if (value := found.get(name)) is not None:
            facts[key] = to_text(value)
    facts.setdefault("subtype", "plain")
    facts.setdefault("parameters", ())
    return facts


#: Mailers write the same few.
_remembered_facts = lru_cache(maxsize=512)(_facts)


def excerpt_of(facts: dict[str, Any], group: object = None) -> Excerpt | None:
    """Return what is to be filled with the beginning of a part with these facts, None where it is no text to read."""
    is_shown = (facts.get("disposition") or "inline").lower() == "inline"
    if facts["type"] != "text" or facts["subtype"] not in ("plain", "html") or not is_shown:
        return None
    charset = next((value for name, value in facts["parameters"] if name.lower() == "charset" and value), "us-ascii")
    return Excerpt(facts["subtype"], charset.lower(), facts.get("encoding", "7bit"), group)


def end_of_header(octets: bytes) -> int | None:
    """Return where the body of a message begins; None if that takes a `Scanner` to tell."""
    blank = BLANK_LINE.search(octets, 0, MAX_HEADER)
    return None if blank is None or octets.startswith((b"\n", b"\r\n")) else blank.end()


def _read_type(value: bytes) -> dict[str, Any]:
    kind, parameters = parse_parameters(value)
    match = _TYPE.match(kind)
    if match is None:
        return {"type": "text", "parameters": parameters if kind.lower() == b"text" else ()}
    return {"type": to_text(match[1]).lower(), "subtype": to_text(match[2]).lower(), "parameters": parameters}


# ---------------------------------------------------------------- finding a part again


def find_part(root: Part, numbers: tuple[int, ...]) -> Part | None:
    """
    Return the part that RFC 3501 section 6.4.5 numbers so, None if there is none; no numbers name the root.

    The only part of a message that is no multipart is number 1, and is the message's own `Part`.
    """
    part: Part = root
    is_message = True
    for number in numbers:
        if not is_message and part.message is not None:
            part = part.message
            is_message = True
        if part.is_multipart:
            if not 1 <= number <= len(part.children):
                return None
            part = part.children[number - 1]
        elif number != 1 or not is_message:
            return None
        is_message = False
    return part
