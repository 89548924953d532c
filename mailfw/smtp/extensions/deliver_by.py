"""DELIVERBY: by when a message is wanted, and what is to happen when that cannot be (RFC 2852)."""

from __future__ import annotations

import re

from mailfw.mail.envelope import DeliverBy
from mailfw.smtp import replies
from mailfw.smtp.extensions.extension import Extension, Offer, Parameter
from mailfw.smtp.replies import Rejected

# by-value = by-time ";" by-mode [by-trace]; by-time = ["-" / "+"] 1*9DIGIT             RFC 2852 section 4
_BY = re.compile(r"([+-]?[0-9]{1,9});([NR])(T?)", re.IGNORECASE | re.ASCII)


def _line(offer: Offer) -> str:
    least = offer.settings.shortest_deliver_by
    return f"DELIVERBY {least}" if least else "DELIVERBY"


def _read(value: str | None, offer: Offer) -> DeliverBy:
    parsed = _BY.fullmatch(value or "")
    if parsed is None:
        raise Rejected(replies.BAD_PARAMETER)
    seconds, returns = int(parsed[1]), parsed[2].upper() == "R"
    if returns and seconds <= 0:  # section 4.1.1: it would have to be returned at once
        raise Rejected(replies.BAD_PARAMETER)
    if returns and seconds < offer.settings.shortest_deliver_by:
        raise Rejected(replies.TOO_SOON)
    return DeliverBy(offer.now + seconds, returns, bool(parsed[3]))


DELIVERBY = Extension(_line, mail={"BY": Parameter("by", _read)})
