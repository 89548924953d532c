"""The AUTH command (RFC 4954): a SASL exchange over replies 334."""

from __future__ import annotations

from collections.abc import Mapping

from mailfw.mail.reply import Reply
from mailfw.sasl.exchange import Cancelled, Malformed, Refused, Throttled, Unavailable
from mailfw.sasl.logins import Login, Logins
from mailfw.smtp import replies
from mailfw.smtp.replies import Rejected
from mailfw.wire.interruptions import LineTooLong
from mailfw.wire.stream import Stream

#: What stands before a challenge.
PREFIX = b"334 "

#: What is answered to each way in which an exchange can go wrong (RFC 4954 sections 4 and 6).
_REPLIES: Mapping[type[Exception], Reply] = {
    Malformed: replies.BAD_RESPONSE,
    Cancelled: replies.AUTH_CANCELLED,
    Throttled: replies.AUTH_THROTTLED,
    Refused: replies.AUTH_FAILED,
    Unavailable: replies.AUTH_FAULT,
    LineTooLong: replies.AUTH_LINE_TOO_LONG,
}


async def authenticate(logins: Logins, stream: Stream, mechanism: str, initial: bytes | None) -> Login:
    """Hold an exchange; raises `Rejected`, with the same words for whatever is wrong about name or password."""
    try:
        return await logins.authenticate(stream, mechanism, initial)
    except tuple(_REPLIES) as wrong:
        raise Rejected(next(reply for kind, reply in _REPLIES.items() if isinstance(wrong, kind)))
