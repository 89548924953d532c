"""DSN: what a sender wants to hear of his message (RFC 3461)."""

from __future__ import annotations

import re

from mailfw.mail.envelope import Notify
from mailfw.mail.xtext import decode_unitext, decode_xtext
from mailfw.smtp import replies
from mailfw.smtp.extensions.extension import Extension, Offer, Parameter, word
from mailfw.smtp.replies import Rejected

#: Characters of ENVID and of ORCPT, as they are sent (RFC 3461 sections 4.4 and 4.2).
ENVID_LIMIT, ORCPT_LIMIT = 100, 500

# notify-esmtp-value = "NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" )                RFC 3461 section 4.1
_EVENTS = {each.name: each for each in (Notify.SUCCESS, Notify.FAILURE, Notify.DELAY)}
# original-recipient-address = addr-type ";" xtext                                    RFC 3461 section 4.2
_ORCPT = re.compile(r"([A-Za-z0-9!#$%&'*/?^_`{|}~-]{1,40});(.+)", re.DOTALL)


def _read_returns(value: str | None, offer: Offer) -> str:
    returns = (value or "").upper()
    if returns not in ("FULL", "HDRS"):
        raise Rejected(replies.BAD_PARAMETER)
    return returns


def _read_envid(value: str | None, offer: Offer) -> str:
    if not value or len(value) > ENVID_LIMIT:
        raise Rejected(replies.BAD_PARAMETER)
    try:
        envid = decode_xtext(value)
    except ValueError:
        raise Rejected(replies.BAD_PARAMETER)
    if not envid.isascii():  # section 4.4: printable characters of US-ASCII
        raise Rejected(replies.BAD_PARAMETER)
    return envid


def _read_notify(value: str | None, offer: Offer) -> Notify:
    words = (value or "").upper().split(",")
    if words == ["NEVER"]:
        return Notify.NEVER
    notify = Notify.NEVER
    for each in words:
        if each not in _EVENTS:
            raise Rejected(replies.BAD_PARAMETER)
        notify |= _EVENTS[each]
    return notify


def _read_original(value: str | None, offer: Offer) -> tuple[str, str]:
    parsed = _ORCPT.fullmatch(value or "")
    if parsed is None or len(parsed.string) > ORCPT_LIMIT:
        raise Rejected(replies.BAD_PARAMETER)
    kind = parsed[1].lower()
    decode = decode_unitext if kind == "utf-8" else decode_xtext  # RFC 6533 section 3
    try:
        return kind, decode(parsed[2])
    except ValueError:
        raise Rejected(replies.BAD_PARAMETER)


DSN = Extension(
    word("DSN"),
    mail={"RET": Parameter("returns", _read_returns), "ENVID": Parameter("envid", _read_envid)},
    rcpt={"NOTIFY": Parameter("notify", _read_notify), "ORCPT": Parameter("original", _read_original)},
)
