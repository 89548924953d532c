"""Compression of a connection both ways (RFC 1951), as COMPRESS=DEFLATE of IMAP asks for it (RFC 4978)."""

from __future__ import annotations

import zlib

#: Levels beyond this cost more time than they save octets on mail that is mostly compressed or in base64.
_LEVEL = 3
#: Windows of what we send, as powers of two, and memory for it: 64 KiB a connection where zlib's own choice takes 256.
#: A peer's window can be of any size (RFC 4978 section 4), and takes 32 KiB.
_WINDOW, _MEMORY, _LARGEST_WINDOW = 13, 6, 15


class Deflate:
    """The two directions of one connection, each a raw deflate stream that never ends."""

    __slots__ = ("_compressor", "_decompressor", "_waiting", "has_more")

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -_WINDOW, _MEMORY)
        self._decompressor = zlib.decompressobj(-_LARGEST_WINDOW)
        self._waiting = b""
        #: Whether `decompress` stopped at its limit.
        self.has_more = False

    def compress(self, octets: bytes) -> bytes:
        """Return octets as they go over the wire, all of them: the peer can read them without what follows."""
        return self._compressor.compress(octets) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def decompress(self, octets: bytes, limit: int) -> bytes:
        """
        Return up to `limit` octets of what has arrived; ask again with nothing while it `has_more`.

        A kilobyte can stand for a megabyte.  Raises `ValueError` for what is no deflate stream, or is behind its end.
        """
        try:
            found = self._decompressor.decompress(self._waiting + octets, limit)
        except zlib.error:
            raise ValueError("This is no deflate stream") from None
        self._waiting = self._decompressor.unconsumed_tail
        # What zlib holds back inside shows only in a full answer.
        self.has_more = bool(self._waiting) or len(found) >= limit
        if self._decompressor.eof:
            raise ValueError("The deflate stream has ended")
        return found
