"""Binary messages as mailboxes can keep them: made of lines."""

from __future__ import annotations

from mailfw.interfaces import IContent, IDraft
from mailfw.smtp.client.fitting import Means, converted, pieces


async def as_lines(content: IContent, means: Means) -> IDraft | None:
    """
    Return a message of type BINARYMIME in 7-bit encodings, None where it can be kept as it is.

    No reader of a mailbox expects a NUL, nor CR or LF that is no line end: IMAP cannot show the one (RFC 3501 section
    4.3.1), and other programs take the others for line ends.  Raises `NoSpace`, and whatever reading raises.
    """
    return None if await _has_lines(content) else await converted(content, means)


async def _has_lines(content: IContent) -> bool:
    held = b""
    async for piece in pieces(content):
        octets = held + piece
        held = b"\r" if octets.endswith(b"\r") else b""
        octets = octets.removesuffix(b"\r")
        ends = octets.count(b"\r\n")
        if b"\0" in octets or octets.count(b"\r") != ends or octets.count(b"\n") != ends:
            return False
    return not held
