"""SIZE: how large a message may be, and is going to be (RFC 1870)."""

from __future__ import annotations

import re

from mailfw.smtp import replies
from mailfw.smtp.extensions.extension import Extension, Offer, Parameter
from mailfw.smtp.replies import Rejected

# size-value = 1*20DIGIT                                             RFC 1870 section 4
_SIZE = re.compile(r"[0-9]{1,20}")


def _line(offer: Offer) -> str:
    return f"SIZE {offer.settings.max_size}"


def _read(value: str | None, offer: Offer) -> int:
    if value is None or not _SIZE.fullmatch(value):
        raise Rejected(replies.BAD_PARAMETER)
    return int(value)


SIZE = Extension(_line, mail={"SIZE": Parameter("size", _read)})
