"""One message from its first octet to its last, by DATA or in chunks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.logger import Logger

from mailfw.mail.envelope import Service
from mailfw.mail.failure import NoSpace
from mailfw.mail.reply import Reply
from mailfw.smtp import replies
from mailfw.smtp.gauge import HeaderGauge, has_bare_line_ends
from mailfw.smtp.load import IN_MEMORY, Load
from mailfw.smtp.settings import SMTPSettings
from mailfw.wire.stream import Stream

log = Logger()

#: <CRLF>.<CRLF>, RFC 5321 section 4.1.1.4.  Nothing else ends a message: "\n.\n" and its kin are how one message is
#: smuggled inside another past servers that read line ends differently.
END = b"\r\n.\r\n"
_BEGINNINGS = tuple(END[:length] for length in range(len(END) - 1, 0, -1))

#: A client that sends so many times what it may, and `GRACE` octets more, is not going to stop.
ENDLESS = 2
GRACE = 64 * 1024


class Inlet:
    """
    What every octet of a message passes on its way to `sink`: line ends, header, size and room are looked at here.

    The first thing that is wrong is kept in `refusal`, and what comes after it is thrown away: data is read to its end
    in any case, so that the client hears the reason where it listens.  Lines may be longer than the 1000 octets of
    RFC 5321 section 4.5.3.1.6: newsletters have such lines, and to break them would break their signatures.

    On submission a lone CR or LF is made CRLF, for clients whose mail is as their disk has it (RFC 6409 section 8 lets
    it repair); else it is refused, for to repair it is to choose between two readings of one message.  NUL is refused:
    IMAP cannot show it (RFC 3501 section 4.3.1).  With `binary` the body, not the header, may hold all of these.
    """

    __slots__ = (
        "_binary",
        "_gauge",
        "_held",
        "_is_line_open",
        "_load",
        "_max_size",
        "_repair",
        "_sink",
        "_weighed",
        "refusal",
        "size",
        "taken",
    )

    def __init__(
        self, sink: Callable[[bytes], Awaitable[None]], settings: SMTPSettings, load: Load, binary: bool = False
    ) -> None:
        self._sink = sink
        self._max_size = settings.max_size
        self._repair = settings.service is Service.SUBMISSION
        self._load = load
        self._binary = binary
        self._gauge: HeaderGauge | None = HeaderGauge(settings.header_size, settings.header_fields)
        self._held = b""
        self._is_line_open = False
        self._weighed = 0
        self.refusal: Reply | None = None
        #: Octets of the message, as far as they were passed on.
        self.size = 0
        #: Octets that came.
        self.taken = 0

    @property
    def is_endless(self) -> bool:
        """Whether far more has come than was allowed."""
        return self.is_beyond(0)

    def is_beyond(self, octets: int) -> bool:
        """Whether that would be so after so many octets more."""
        return self.taken + octets > ENDLESS * self._max_size + GRACE

    async def take(self, octets: bytes) -> None:
        """Pass on a piece that does not end between CR and LF."""
        self.taken += len(octets)
        if self.refusal is None:
            self.refusal = await self._pass_on(octets)

    async def take_any(self, octets: bytes) -> None:
        """Pass on a piece that ends anywhere; after the last one `finish` is called."""
        octets = self._held + octets
        self._held = octets[-1:] if octets.endswith(b"\r") else b""
        if self._held:
            octets = octets[:-1]
        if octets:
            self._is_line_open = not octets.endswith(b"\n")
            await self.take(octets)

    async def finish(self) -> None:
        """Pass on what is left; the last line of a text gets its end, as with DATA it would have to have it."""
        if self._held:
            held, self._held, self._is_line_open = self._held, b"", False
            await self.take(held)
        if self._is_line_open and not self._binary:
            await self.take(b"\r\n")

    async def _pass_on(self, octets: bytes) -> Reply | None:
        """Return what is wrong with a piece."""
        if not self._binary:
            if has_bare_line_ends(octets):
                if not self._repair:
                    return replies.BARE_LINE_END
                octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
            if b"\0" in octets:
                return replies.NUL_IN_MESSAGE
        if self._gauge is not None:
            wrong = self._gauge.look_at(octets, self._binary)
            if wrong is not None:
                return wrong
            if self._gauge.is_over:
                self._gauge = None
        if self.size + len(octets) > self._max_size:
            return replies.TOO_LARGE
        return await self._keep(octets)

    async def _keep(self, octets: bytes) -> Reply | None:
        if self._weighed < IN_MEMORY:
            weight = min(len(octets), IN_MEMORY - self._weighed)
            if not self._load.grow(weight):
                return replies.OVERLOADED
            self._weighed += weight
        try:
            await self._sink(octets)
        except NoSpace:
            return replies.NO_SPACE
        except Exception:
            log.failure("A draft could not be written")
            return replies.FAULT
        self.size += len(octets)
        return None

    def release(self) -> None:
        """Count the message's octets no more."""
        self._load.octets -= self._weighed
        self._weighed = 0


async def read_data(stream: Stream, inlet: Inlet) -> None:
    """
    Read what follows 354 to its one true end, free of stuffed dots (RFC 5321 section 4.5.2).

    If `inlet.is_endless` afterwards the end was not reached, and the connection is of no more use.
    """
    stream.begin_bulk()
    buffered = stream.buffered
    while len(buffered) < 3 and b".\r\n".startswith(buffered):
        await stream.fill_bulk()
    if not _is_empty(stream):
        while (end := _find_end(buffered)) < 0:
            ready = len(buffered) - _held_back(buffered)
            if not ready:
                await stream.fill_bulk()
                continue
            await inlet.take(_unstuffed(stream.consume(ready)))
            if inlet.is_endless:
                return
        octets = stream.consume(end + len(END))
        await inlet.take(_unstuffed(octets[: end + 2]))
    stream.deadline = None


def _has_dots(octets: bytes | bytearray) -> bool:
    """Whether a line behind another begins with a dot; Python looks from the end at a third of the price."""
    return octets.rfind(b"\r\n.") >= 0


def _find_end(buffered: bytearray) -> int:
    """Return where the end of the message begins, -1 where it is not there yet."""
    return buffered.find(END) if _has_dots(buffered) else -1


def _unstuffed(octets: bytes) -> bytes:
    """Take away the dots before dots; to look for one first is much cheaper than to find none to replace."""
    return octets.replace(b"\r\n.", b"\r\n") if _has_dots(octets) else octets


async def read_chunk(stream: Stream, inlet: Inlet, length: int) -> None:
    """Read the octets of one BDAT (RFC 3030 section 2): they are counted, and nothing in them is a command."""
    await stream.read_into(inlet.take_any, length)


async def skip_chunk(stream: Stream, length: int) -> None:
    """Read the octets of a BDAT that is refused."""

    async def forget(octets: bytes) -> None:
        """Throw a piece away."""

    await stream.read_into(forget, length)


def _is_empty(stream: Stream) -> bool:
    """Look at the first line, which has no CRLF before it; return whether it ends the message."""
    if not stream.buffered.startswith(b"."):
        return False
    is_end = stream.buffered.startswith(b".\r\n")
    stream.consume(3 if is_end else 1)
    return is_end


def _held_back(buffered: bytearray) -> int:
    """Return how many octets at the end may be the beginning of `END`."""
    for beginning in _BEGINNINGS:
        if buffered.endswith(beginning):
            return len(beginning)
    return 0
