"""Compression of a connection both ways (RFC 1951), as COMPRESS=DEFLATE of IMAP asks for it (RFC 4978)."""

from __future__ import annotations

import zlib

#: Levels beyond this cost more time than they save octets on mail that is mostly compressed or in base64.
_LEVEL = 3
#: Windows of what we send, as powers of two, and memory for it: 64 KiB a connection where zlib's own choice takes 256.
#: A peer's window can be of any size (RFC 4978 section 4), and takes 32 KiB.
_WINDOW, _MEMORY, _LARGEST_WINDOW = 13, 6, 15
#: What a client's flush ends with: an empty block without compression (RFC 1951 section 3.2.4).
_FLUSHED = b"\x00\x00\xff\xff"


def behind_flush(end: bytes, octets: bytes) -> bytes:
    """Return what is behind a flush, of which the beginning may be at the `end` of what was inflated: all without."""
    _, flushed, rest = (end + octets).rpartition(_FLUSHED)
    return rest if flushed else octets


class Deflate:
    """
    The two directions of one connection, each a raw deflate stream.

    What arrives is kept as it is until it is asked for, and inflated from flush to flush: behind the last one there may
    be what is not compressed any more (RFC 8437 section 4.1).
    """

    __slots__ = ("_compressor", "_decompressor", "_waiting", "end", "has_more")

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -_WINDOW, _MEMORY)
        self._decompressor = zlib.decompressobj(-_LARGEST_WINDOW)
        self._waiting = bytearray()
        #: The last octets before what waits: a flush may arrive in pieces.
        self.end = b""
        #: Whether there is something to ask `decompress` for.
        self.has_more = False

    def __len__(self) -> int:
        """How many octets have arrived and were not inflated."""
        return len(self._waiting)

    def compress(self, octets: bytes) -> bytes:
        """Return octets as they go over the wire, all of them: the peer can read them without what follows."""
        return self._compressor.compress(octets) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def take(self, octets: bytes) -> None:
        """Take what has arrived."""
        self._waiting += octets
        self.has_more = True

    def decompress(self, limit: int) -> bytes:
        """
        Return up to `limit` octets of what has arrived, perhaps none; ask again while it `has_more`.

        A kilobyte can stand for a megabyte.  Raises `ValueError` for what is no deflate stream, or is behind its end.
        """
        if self._decompressor.eof:
            raise ValueError("The deflate stream has ended")
        piece = bytes(self._waiting[: self._flushed()])
        del self._waiting[: len(piece)]
        try:
            found = self._decompressor.decompress(piece, limit)
        except zlib.error:
            raise ValueError("This is no deflate stream") from None
        rest = self._decompressor.unused_data if self._decompressor.eof else self._decompressor.unconsumed_tail
        self._waiting[:0] = rest
        self.end = (self.end + piece[: len(piece) - len(rest)])[-3:]
        # What zlib holds back inside shows only in a full answer.
        self.has_more = bool(self._waiting) or (len(found) >= limit and not self._decompressor.eof)
        return found

    def inflate(self, buffer: bytearray, room: int) -> bool:
        """Add to a buffer, which is to have `room`, what can be read next; whether there is any.  See `decompress`."""
        before = len(buffer)
        while self.has_more and len(buffer) == before:
            buffer += self.decompress(max(1024, room - before))
        return len(buffer) > before

    def _flushed(self) -> int:
        """Return how many of the octets that wait are there up to the end of a flush; all, if there is none."""
        at = (self.end + self._waiting).find(_FLUSHED) if self.end else self._waiting.find(_FLUSHED)
        return at + len(_FLUSHED) - len(self.end) if at >= 0 else len(self._waiting)

    def leave(self) -> bytes:
        """Return what has arrived and is not compressed, once the peer has ended its stream; see `behind_flush`."""
        return bytes(self._waiting)
