"""The octets of one message that FETCH asks for: found by the table of parts, sent in pieces."""

from __future__ import annotations

from mailfw.imap.commands.decoded import PIECE, DecodedPart, encoding_of
from mailfw.imap.grammar_fetch import Section, Text
from mailfw.interfaces import IContent
from mailfw.mail.decoding import decoder
from mailfw.mail.fields import split_fields
from mailfw.mail.mailbox import Row
from mailfw.mail.mime import MAX_HEADER, Part, find_part
from mailfw.mail.summary import LISTED_FIELDS
from mailfw.wire.stream import Stream

#: NUL may not stand in a literal (CHAR8 = %x01-ff, RFC 3501 section 9), and sizes must not change.
_NO_NUL = bytes.maketrans(b"\0", b"\x80")


def is_listed(section: Section) -> bool:
    """Whether a row's `fields` have all that a section asks for."""
    return section.text is Text.FIELDS and not section.numbers and section.names <= LISTED_FIELDS


def select_fields(header: bytes, section: Section) -> bytes:
    """Return the fields of a header that a section asks for, unchanged and in order, and the empty line."""
    is_wanted = section.text is Text.FIELDS
    chosen = b"".join([raw for name, raw in split_fields(header) if (name in section.names) is is_wanted])
    if chosen and not chosen.endswith(b"\n"):
        chosen += b"\r\n"
    return chosen + b"\r\n"


def listed_octets(fields: bytes, section: Section) -> bytes:
    """Return the answer to a section for which `is_listed` holds, as an nstring."""
    return _literal(_cut_octets(select_fields(fields, section), section))


def section_range(root: Part, section: Section) -> tuple[int, int] | None:
    """Return offset and length of the octets a section means, or of the header it chooses from; None without any."""
    part = find_part(root, section.numbers)
    if part is None:
        return None
    if section.text is Text.MIME:
        return part.header_start, part.header_size
    if section.text in (Text.ALL, Text.DECODED, Text.DECODED_SIZE):
        return part.body_start, part.body_size
    message = part.message if section.numbers else root
    if message is None:  # RFC 3501 section 6.4.5: HEADER and TEXT of a part are those of the message in it
        return None
    if section.text is Text.TEXT:
        return message.body_start, message.body_size
    return message.header_start, message.header_size


def is_decodable(root: Part | None, section: Section) -> bool:
    """Whether the encoding of the part that a section wants without it is known."""
    return section.text not in (Text.DECODED, Text.DECODED_SIZE) or decoder(encoding_of(root, section)) is not None


class SectionReader:
    """
    Sends the answer about one message, sections and what stands between them.

    `root` may be None where no section needs it.  Nothing is sent before
    `PIECE` octets are there or `finish` is called: a message that cannot be read leaves no half an answer,
    unless it is large, and then `has_begun`.
    """

    def __init__(self, stream: Stream, row: Row, root: Part | None, content: IContent, expected: int) -> None:
        self.has_begun = False
        self._pieces: list[bytes] = []
        self._held = 0
        self._stream = stream
        self._row = row
        self._root = root
        self._content = content
        # A small message of which several sections are asked is read once.
        self._keeps = expected > 1 and row.size <= PIECE
        self._kept: bytes | None = None

    def write(self, octets: bytes) -> None:
        """Put octets between the sections."""
        self._pieces.append(octets)
        self._held += len(octets)

    def finish(self) -> None:
        """Hand everything over."""
        self._stream.write(b"".join(self._pieces))
        self._pieces.clear()
        self._held = 0

    async def send(self, section: Section) -> None:
        """Send one section as an nstring."""
        await self._send(section)
        if self._held > PIECE:
            await self._pass_on()

    async def _pass_on(self) -> None:
        self.has_begun = True
        self.finish()
        await self._stream.drain()

    async def _send(self, section: Section) -> None:
        if is_listed(section):
            self.write(listed_octets(self._row.fields or b"", section))
            return
        if section.text in (Text.DECODED, Text.DECODED_SIZE):
            await self._send_decoded(section)
            return
        span = self._span(section)
        if span is None:
            self.write(b"NIL")
        elif section.text in (Text.FIELDS, Text.FIELDS_NOT):
            header = await self._read(span[0], min(span[1], MAX_HEADER))
            self.write(_literal(_cut_octets(select_fields(header, section), section)))
        else:
            await self._send_span(*cut(*span, section))

    async def _send_decoded(self, section: Section) -> None:
        """RFC 3516 section 4.2; a multipart or message, which nothing was ever done to, is sent as it is."""
        span = self._span(section)
        if span is None:
            self.write(b"NIL" if section.text is Text.DECODED else b"0")
            return
        part = DecodedPart(self._read, self._stream, *span, encoding_of(self._root, section))
        if section.text is Text.DECODED_SIZE:
            self.write(b"%d" % (await part.measure())[0])
            return
        if (octets := await part.small(section)) is not None:
            self.write(_literal8(octets))
            return
        size, has_nul = await part.measure(None if section.length is None else (section.origin or 0) + section.length)
        skipped, left = cut(0, size, section)
        self.write((b"~{%d}\r\n" if has_nul else b"{%d}\r\n") % left)
        async for octets in part.pieces():
            wanted = octets[skipped : skipped + left]
            skipped = max(0, skipped - len(octets))
            left -= len(wanted)
            self.write(wanted)
            await self._pass_on()
            if not left:
                return
        raise EOFError("A message is shorter than it was")

    def _span(self, section: Section) -> tuple[int, int] | None:
        if not section.needs_parts:
            return 0, self._content.size
        assert self._root is not None
        span = section_range(self._root, section)
        if span is None:
            return None
        # A file that somebody has shortened since it was summarised is not read beyond its end.
        start = min(span[0], self._content.size)
        return start, min(span[1], self._content.size - start)

    async def _send_span(self, start: int, length: int) -> None:
        if length <= PIECE:
            self.write(_literal(await self._read(start, length)))
            return
        self.write(b"{%d}\r\n" % length)
        while length:
            octets = await self._read(start, min(length, PIECE))
            if not octets:
                raise EOFError("A message is shorter than it was")
            self.write(without_nul(octets))
            start += len(octets)
            length -= len(octets)
            await self._pass_on()

    async def _read(self, start: int, length: int) -> bytes:
        if not self._keeps:
            return await self._content.read(start, length)
        if self._kept is None:
            self._kept = await self._content.read(0, self._content.size)
        return self._kept[start : start + length]


def _literal(octets: bytes) -> bytes:
    return b"{%d}\r\n%b" % (len(octets), without_nul(octets)) if octets else b'""'


def _literal8(octets: bytes) -> bytes:
    """Return an nstring, or the one literal that may have NUL: ``literal8`` (RFC 3516 section 7)."""
    return b"~{%d}\r\n%b" % (len(octets), octets) if b"\0" in octets else _literal(octets)


def without_nul(octets: bytes) -> bytes:
    """Return octets as a literal may have them."""
    return octets.translate(_NO_NUL) if b"\0" in octets else octets


def cut(start: int, length: int, section: Section) -> tuple[int, int]:
    """Take the part that a partial FETCH asks for; beyond the end there is nothing."""
    if section.origin is None or section.length is None:
        return start, length
    skipped = min(section.origin, length)
    return start + skipped, min(length - skipped, section.length)


def _cut_octets(octets: bytes, section: Section) -> bytes:
    start, length = cut(0, len(octets), section)
    return octets[start : start + length]
