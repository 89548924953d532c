"""The AUTH command (RFC 4954): a SASL exchange over replies 334, judged by the portal."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from twisted.cred.error import LoginFailed, Unauthorized
from twisted.cred.portal import Portal
from twisted.logger import Logger

from mailfw.interfaces import IAccount
from mailfw.sasl import MECHANISMS, Challenge, Malformed, Mechanism
from mailfw.smtp import replies
from mailfw.smtp.grammar import decode_response
from mailfw.smtp.replies import Rejected
from mailfw.wire.stream import LineTooLong, Stream

log = Logger()

#: Of one response in base64, with its CRLF (RFC 4954 section 4).
RESPONSE_LIMIT = 12288

#: What a login gives: the account's name and what to call when the connection ends.
Login = tuple[str, Callable[[], object]]


async def converse(stream: Stream, mechanism: str, initial: bytes | None) -> Any:
    """Hold an exchange and return the credentials; raises `Rejected`.  Nothing of it may be logged."""
    exchange: Mechanism = MECHANISMS[mechanism]()
    response = initial
    while True:
        try:
            step = exchange.next(response)
        except Malformed:
            raise Rejected(replies.BAD_RESPONSE)
        if not isinstance(step, Challenge):
            return step.credentials
        stream.write(b"334 " + base64.b64encode(step.octets) + b"\r\n")
        try:
            response = decode_response(await stream.read_line(RESPONSE_LIMIT))
        except LineTooLong:
            raise Rejected(replies.AUTH_LINE_TOO_LONG)


async def judge(portal: Portal, credentials: Any) -> Login:
    """Ask the portal; raises `Rejected` with the same words for whatever is wrong about name or password."""
    try:
        login: tuple[Any, Any, Callable[[], object]] = await portal.login(credentials, None, IAccount)
    except (LoginFailed, Unauthorized):
        raise Rejected(replies.AUTH_FAILED)
    except Exception:
        log.failure("A login could not be judged")
        raise Rejected(replies.AUTH_FAULT)
    return str(login[1].name), login[2]
