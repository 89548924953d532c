"""Taking messages into memory."""

from __future__ import annotations

import time

from mailfw.interfaces import IContent
from mailfw.mail.mailbox import NewMessage
from mailfw.mail.summary import Summariser
from mailfw.stores.memory.mailbox import Letter
from mailfw.stores.memory.search import take_terms

#: How much of a message is read at once.
PIECE = 2**16


async def read_letter(new: NewMessage, email_id: str, makes_terms: bool) -> Letter:
    """Read a message to its end."""
    content = IContent(new.content)
    octets, summariser = bytearray(), Summariser()
    while piece := await content.read(len(octets), PIECE):
        octets += piece
        if new.summary is None:
            summariser.feed(piece)
    summary = new.summary or summariser.finish()
    received = int(time.time()) if new.received is None else new.received
    terms = take_terms(bytes(octets), summary) if makes_terms else None
    return Letter(email_id, bytes(octets), summary, received, terms)
