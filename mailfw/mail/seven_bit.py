"""A message of 8-bit or binary parts as one that servers without 8BITMIME and BINARYMIME take (RFC 6152 section 3)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mailfw.mail.fields import to_octets
from mailfw.mail.message import token
from mailfw.mail.mime import MAX_DEPTH, read_facts
from mailfw.mail.plain_fields import plain_field
from mailfw.mail.transfer import (
    Base64,
    Cleansed,
    Escaped,
    QuotedPrintable,
    Sink,
    Untouched,
    is_seven_bit,
)

#: Octets of a part that are looked at before its encoding is chosen.
_LOOKAHEAD = 64 * 1024
#: Octets of one header field that are taken together, and of fields that wait.
_FIELD_LIMIT = 64 * 1024
#: Longer boundaries do not fit a line (RFC 2046 section 5.1.1 allows 70).
_MAX_BOUNDARY = 900
#: Octets of a line that are taken together; no delimiter is as long.
_LINE_PIECE = 8192
#: Of so many octets of a text one may be no ASCII; where there are more, base64 is shorter than quoted-printable.
_MOSTLY = 6

_WAITING_LIMIT = 4 * _FIELD_LIMIT

_ENCODING = b"content-transfer-encoding"
#: Fields that depend on the body, or say what it is.
_MEANT = (b"content-type", _ENCODING, b"mime-version")
#: What a part's octets were before they were encoded, so that encoding changes nothing (RFC 2045 section 6.2).
_IDENTITY = ("7bit", "8bit", "binary")
_UNSAFE = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\xff]")


@dataclass(slots=True)
class _Entity:
    """A header and its body: the message, a part, or a message within."""

    is_message: bool
    in_digest: bool = False
    in_signed: bool = False
    #: Fields that wait for the encoding to be chosen, by lower-case names (``b""``: a line that is none), and octets.
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    waiting: int = 0
    #: Whether an empty line ends the header.
    is_ended: bool = True
    type: str = "text"
    subtype: str = "plain"
    encoding: str = "7bit"
    boundary: bytes = b""
    #: Where the body goes; None while its first octets are looked at.
    sink: Sink | None = None

    def read(self) -> None:
        """Read what the header says of the body."""
        facts = read_facts(self.fields, self.in_digest)
        self.type, self.subtype = facts["type"], facts["subtype"]
        self.encoding = facts.get("encoding", "7bit")
        if self.type == "multipart":
            stated = next((value for name, value in facts["parameters"] if name.lower() == "boundary"), "")
            boundary = to_octets(stated).rstrip(b" \t\r\n")
            self.boundary = boundary if boundary.isascii() and len(boundary) <= _MAX_BOUNDARY else b""

    @property
    def holds_message(self) -> bool:
        """Whether the body is a message to be converted by itself (RFC 2046 section 5.2.1)."""
        return (self.type, self.subtype) == ("message", "rfc822") and self.encoding in _IDENTITY


class SevenBit:
    """
    Converts a message that is fed to it in any pieces; never raises on any octets, and never loses one.

    Every part that has to be is encoded, quoted-printable or base64, in multiparts and messages within each other, and
    has an X-MIME-Autoconverted field that says so.  What is not understood is treated as one part.  Raw 8-bit text in
    header fields becomes encoded words.  No more than a few hundred KiB are held, whatever comes.

    With `keeps_bodies` only headers are converted; `convert` does it, a raw field at a time.
    """

    def __init__(self, convert: Callable[[bytes], bytes] = plain_field, keeps_bodies: bool = False) -> None:
        self._convert = convert
        self._keeps_bodies = keeps_bodies
        #: Whether a part below a multipart/signed was changed, so that its signature fits no longer (RFC 1847).
        self.broke_signature = False
        self._out: list[bytes] = []
        self._rest = b""
        self._in_line = False
        self._stack = [_Entity(is_message=True)]
        self._in_header = True
        self._field = b""
        self._looked = bytearray()
        self._line_end = b""
        self._delimiters: dict[bytes, tuple[int, bool]] = {}

    def feed(self, octets: bytes) -> bytes:
        """Take the next piece, and return what can be sent."""
        *lines, self._rest = (self._rest + octets).split(b"\n")
        for line in lines:
            self._take(line + b"\n")
        *pieces, self._rest = _pieces(self._rest)
        for piece in pieces:
            self._step(piece)
        return self._ready()

    def close(self) -> bytes:
        """Return the rest."""
        if self._rest:
            self._take(self._rest)
        if self._in_header:
            self._end_header(has_body=False)
        self._end_body(keep_line_end=True)
        while len(self._stack) > 1:
            self._stack.pop()
            self._end_body(keep_line_end=False)
        return self._ready()

    def _ready(self) -> bytes:
        ready = b"".join(self._out)
        self._out.clear()
        return ready

    def _take(self, line: bytes) -> None:
        for piece in _pieces(line):
            self._step(piece)

    def _step(self, piece: bytes) -> None:
        """Deal with a line, or a piece of one."""
        starts, self._in_line = not self._in_line, not piece.endswith(b"\n")
        if starts and piece.startswith(b"--") and (found := self._delimiters.get(piece.rstrip(b" \t\r\n"))):
            self._delimit(piece, *found)
        elif self._in_header:
            self._header_line(piece, starts)
        else:
            self._body_line(piece)

    # ------------------------------------------------------------ headers

    def _header_line(self, piece: bytes, starts: bool) -> None:
        if starts and not piece.strip(b"\r\n"):
            self._end_header()
            return
        if starts and piece[:1] not in (b" ", b"\t"):
            self._end_field()
        elif len(self._field) > _FIELD_LIMIT:
            self._end_field()
            piece = b" " + piece  # what follows still belongs to the field
        self._field += piece

    def _end_field(self) -> None:
        """Let a field wait for the body; where there are too many, only those do that depend on it."""
        raw, self._field = self._field, b""
        if not raw:
            return
        name, colon, _ = raw.partition(b":")
        entity = self._stack[-1]
        entity.fields.append((name.rstrip(b" \t").lower() if colon else b"", raw))
        entity.waiting += len(raw)
        if entity.waiting > _WAITING_LIMIT:
            kept = dict(
                reversed([each for each in entity.fields if each[0] in _MEANT and len(each[1]) <= _FIELD_LIMIT])
            )
            for each in entity.fields:
                if each[0] not in kept:
                    self._write_field(each[1])
            entity.fields = list(kept.items())
            entity.waiting = sum(map(len, kept.values()))

    def _write_field(self, raw: bytes) -> None:
        written = self._convert(raw)
        self.broke_signature |= self._stack[-1].in_signed and written != raw
        self._out.append(written)

    def _end_header(self, has_body: bool = True) -> None:
        """Read the header that ends here, and see what its body is."""
        self._end_field()
        self._in_header = False
        entity = self._stack[-1]
        entity.is_ended = has_body
        entity.read()
        if not has_body:
            self._decide(complete=True)
        elif entity.boundary and len(self._stack) < MAX_DEPTH:
            self._know_delimiters()
        elif entity.holds_message and len(self._stack) < MAX_DEPTH:
            self._write_header(entity.encoding if self._keeps_bodies else "7bit")
            entity.sink = Untouched()
            self._stack.append(_Entity(is_message=True, in_signed=entity.in_signed))
            self._in_header = True
        else:
            entity.boundary = b""

    def _write_header(self, encoding: str) -> None:
        """Write the fields that waited and the empty line; `encoding` is what the body has from now on."""
        entity = self._stack[-1]
        if encoding != entity.encoding:
            self.broke_signature |= entity.in_signed
            self._state(encoding)
        for _, raw in entity.fields:
            self._write_field(raw)
        if entity.is_ended:
            self._out.append(b"\r\n")

    def _state(self, encoding: str) -> None:
        """Put the encoding where the last one was stated, or at the end of what every reader takes for the header."""
        entity = self._stack[-1]
        names = [name for name, _ in entity.fields]
        at = names.index(b"") if b"" in names else len(names)
        if entity.is_message and b"mime-version" not in names:
            entity.fields.insert(at, (b"mime-version", b"MIME-Version: 1.0\r\n"))
        if _ENCODING in names:
            at = names.index(_ENCODING)
            del entity.fields[at]
        stated = f"Content-Transfer-Encoding: {encoding}\r\n".encode("ascii")
        entity.fields.insert(at, (_ENCODING, stated))
        if encoding != "7bit":
            entity.fields.insert(at + 1, (b"", _converted(entity, encoding)))

    # ------------------------------------------------------------ bodies

    def _body_line(self, piece: bytes) -> None:
        """Pass on a line; its end waits, for it may belong to a delimiter."""
        end = 2 if piece.endswith(b"\r\n") else 1 if piece.endswith(b"\n") else 0
        self._pass_on(self._line_end + piece[: len(piece) - end])
        self._line_end = piece[len(piece) - end :]

    def _pass_on(self, octets: bytes) -> None:
        sink = self._stack[-1].sink
        if sink is not None:
            self._out.append(sink.feed(octets))
            return
        self._looked += octets
        if len(self._looked) > _LOOKAHEAD:
            self._decide(complete=False)

    def _decide(self, complete: bool) -> None:
        """Choose how the body is written, from its beginning or, if `complete`, all of it."""
        entity = self._stack[-1]
        looked = bytes(self._looked)
        self._looked.clear()
        if self._keeps_bodies:
            entity.boundary = b""
            self._know_delimiters()
            self._write_header(entity.encoding)
            entity.sink = Untouched()
            self._out.append(looked)
            return
        is_clean = complete and is_seven_bit(looked)
        if entity.boundary:
            entity.boundary = b""
            self._know_delimiters()
        if entity.type == "multipart" and not is_clean:  # without a delimiter: it can be encoded as a text only
            at = next(at for at, (name, _) in enumerate(entity.fields) if name == b"content-type")
            broken = b"X-Broken-" + entity.fields[at][1]
            entity.fields[at : at + 1] = [(b"content-type", b"Content-Type: text/plain\r\n"), (b"x", broken)]
            entity.type = "text"
        encoding, entity.sink = _choose(entity, looked, is_clean)
        stated = any(name == b"content-type" for name, _ in entity.fields)
        if encoding not in (entity.encoding, "7bit") and entity.type == "text" and not stated:
            entity.fields.insert(0, (b"content-type", _type_of(looked)))
        self._write_header(encoding)
        self._out.append(entity.sink.feed(looked))

    def _end_body(self, keep_line_end: bool) -> None:
        """End the innermost entity's body; the line end before a delimiter is the delimiter's."""
        if keep_line_end and self._line_end:
            self._pass_on(self._line_end)
        self._line_end = b""
        entity = self._stack[-1]
        if entity.sink is None:
            self._decide(complete=True)
        assert entity.sink is not None, "decided"
        rest = entity.sink.close()
        self._out.append(rest)
        if keep_line_end and rest and isinstance(entity.sink, Base64):
            self._out.append(b"\r\n")

    # ------------------------------------------------------------ delimiters

    def _know_delimiters(self) -> None:
        """Of equal boundaries the innermost counts."""
        self._delimiters.clear()
        for depth, entity in enumerate(self._stack):
            if entity.boundary:
                self._delimiters[b"--" + entity.boundary + b"--"] = (depth, True)
                self._delimiters[b"--" + entity.boundary] = (depth, False)

    def _delimit(self, line: bytes, depth: int, closes: bool) -> None:
        """End what the delimiter ends, write it, and begin the next part."""
        if self._in_header:
            self._end_header(has_body=False)
        line_end = self._line_end
        owner = self._stack[depth]
        while len(self._stack) > depth + 1:
            self._end_body(keep_line_end=False)
            self._stack.pop()
        if owner.sink is None:
            self._begin_parts(owner)
        self._line_end = b""
        self._out += (b"\r\n" if line_end else b"", line.rstrip(b" \t\r\n"), b"\r\n" if line.endswith(b"\n") else b"")
        self._in_header = not closes
        if closes:
            owner.boundary = b""
        else:
            signed = owner.in_signed or owner.subtype == "signed"
            self._stack.append(_Entity(is_message=False, in_digest=owner.subtype == "digest", in_signed=signed))
        self._know_delimiters()

    def _begin_parts(self, owner: _Entity) -> None:
        """Write a multipart's header and preamble; what is behind its last part is treated like that too."""
        is_kept = owner.encoding not in _IDENTITY or self._keeps_bodies
        self._write_header(owner.encoding if is_kept else "7bit")
        preamble = Untouched() if self._keeps_bodies else Escaped()
        self._out += (preamble.feed(bytes(self._looked)), preamble.close())
        self._looked.clear()
        owner.sink = Untouched() if self._keeps_bodies else Escaped()


def _pieces(line: bytes) -> Iterator[bytes]:
    """Yield a line in pieces of bounded size; no CRLF is cut."""
    start = 0
    while len(line) - start > _LINE_PIECE:
        end = start + _LINE_PIECE
        if line[end - 1] == 0x0D:
            end -= 1
        yield line[start:end]
        start = end
    yield line[start:]


def _choose(entity: _Entity, looked: bytes, is_clean: bool) -> tuple[str, Sink]:
    """Return the encoding that a body will have, and what writes it."""
    if entity.encoding == "base64":
        return entity.encoding, Cleansed()
    if entity.encoding == "quoted-printable":
        return entity.encoding, Escaped()
    if is_clean:
        return "7bit" if entity.encoding in _IDENTITY else entity.encoding, Untouched()
    if entity.encoding not in _IDENTITY or entity.type not in ("text", "message"):
        return "base64", Base64()
    # RFC 2046 section 5.2 allows no message/… to be encoded; where one cannot be sent as it is, it must be readable
    is_mostly_ascii = len(_UNSAFE.findall(looked)) * _MOSTLY <= len(looked)
    return (
        ("quoted-printable", QuotedPrintable()) if is_mostly_ascii or entity.type == "message" else ("base64", Base64())
    )


def _type_of(looked: bytes) -> bytes:
    """Name the charset of a text whose sender has not (RFC 1428 section 3)."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(looked)
    except UnicodeDecodeError:
        return b"Content-Type: text/plain; charset=unknown-8bit\r\n"
    return b"Content-Type: text/plain; charset=utf-8\r\n"


def _converted(entity: _Entity, encoding: str) -> bytes:
    """Say what was done; mail servers have written this field since there is 8-bit mail."""
    was = token(entity.encoding)
    note = "; breaks the signature around it" if entity.in_signed else ""
    return f"X-MIME-Autoconverted: from {was} to {encoding} by mailfw{note}\r\n".encode("ascii")
