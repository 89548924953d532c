"""One message from behind 354 to the one true end of its data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.logger import Logger

from mailfw.mail.failure import NoSpace
from mailfw.mail.reply import Reply
from mailfw.smtp import replies
from mailfw.wire.stream import Stream

log = Logger()

#: <CRLF>.<CRLF>, RFC 5321 section 4.1.1.4.  Nothing else ends a message: "\n.\n" and its kin are how one message is
#: smuggled inside another past servers that read line ends differently.
END = b"\r\n.\r\n"
_BEGINNINGS = tuple(END[:length] for length in range(len(END) - 1, 0, -1))

#: A client that sends so many times what it may, and `GRACE` octets more, is not going to stop.
ENDLESS = 2
GRACE = 64 * 1024


class Body:
    """
    Takes one message from the stream and passes it, free of stuffed dots, to `sink` in large pieces.

    Whatever is wrong is remembered and the data read to its end, so that the client hears the reason where it
    listens.  Lines may be longer than the 1000 octets of RFC 5321 section 4.5.3.1.6: newsletters have such
    lines, and to break them would break their signatures.

    `normalise` turns a lone CR or LF into CRLF, for clients whose mail is as their disk has it (RFC 6409 section 8
    lets submission repair); else it is refused, for to repair it is to choose between two readings of one
    message.  NUL is refused always: IMAP cannot show it (RFC 3501 section 4.3.1).
    """

    def __init__(
        self, stream: Stream, sink: Callable[[bytes], Awaitable[None]], limit: int, normalise: bool = False
    ) -> None:
        self._stream = stream
        self._sink = sink
        self._limit = limit
        self._normalise = normalise
        #: Octets of the message, as far as they were passed on.
        self.size = 0
        #: Octets taken from the stream.
        self.taken = 0

    async def read(self) -> Reply | None:
        """
        Read to the end; None if all was passed on, else why not.

        With `is_endless` the end was not reached, and the connection is of no more use.
        """
        self._stream.begin_bulk()
        refusal: Reply | None = None
        if not await self._begin():
            buffered = self._stream.buffered
            while (end := buffered.find(END)) < 0:
                ready = len(buffered) - _held_back(buffered)
                if not ready:
                    await self._stream.fill_bulk()
                    continue
                octets = self._take(ready)
                refusal = refusal or await self._pass_on(octets)
                if self.is_endless:
                    return refusal
            octets = self._take(end + 2)
            self._stream.consume(3)
            refusal = refusal or await self._pass_on(octets)
        self._stream.deadline = None
        return refusal

    @property
    def is_endless(self) -> bool:
        """Whether far more has come than was allowed."""
        return self.taken > ENDLESS * self._limit + GRACE

    async def _begin(self) -> bool:
        """Look at the first line, which has no CRLF before it; return whether the message is empty."""
        stream = self._stream
        while len(stream.buffered) < 3 and b".\r\n".startswith(bytes(stream.buffered)):
            await stream.fill_bulk()
        if stream.buffered.startswith(b".\r\n"):
            stream.consume(3)
            return True
        if stream.buffered.startswith(b"."):
            stream.consume(1)
        return False

    def _take(self, length: int) -> bytes:
        self.taken += length
        return self._stream.consume(length)

    async def _pass_on(self, octets: bytes) -> Reply | None:
        """Pass on a piece that ends outside of CRLF and CRLF dot; return what is wrong with it."""
        octets = octets.replace(b"\r\n.", b"\r\n")  # RFC 5321 section 4.5.2
        line_ends = octets.count(b"\r\n")
        if octets.count(b"\n") != line_ends or octets.count(b"\r") != line_ends:
            if not self._normalise:
                return replies.BARE_LINE_END
            octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        if b"\0" in octets:
            return replies.NUL_IN_MESSAGE
        if self.size + len(octets) > self._limit:
            return replies.TOO_LARGE
        try:
            await self._sink(octets)
        except NoSpace:
            return replies.NO_SPACE
        except Exception:
            log.failure("A draft could not be written")
            return replies.FAULT
        self.size += len(octets)
        return None


def _held_back(buffered: bytearray) -> int:
    """Return how many octets at the end may be the beginning of `END`."""
    for beginning in _BEGINNINGS:
        if buffered.endswith(beginning):
            return len(beginning)
    return 0
