"""8BITMIME (RFC 6152) and BINARYMIME (RFC 3030): what octets a message is made of."""

from __future__ import annotations

from mailfw.smtp import replies
from mailfw.smtp.extensions.extension import Extension, Offer, Parameter, word
from mailfw.smtp.replies import Rejected

# body-value = "7BIT" / "8BITMIME" / "BINARYMIME"                    RFC 6152 section 2, RFC 3030 section 3
_VALUES = frozenset({"7BIT", "8BITMIME", "BINARYMIME"})


def _read(value: str | None, offer: Offer) -> str:
    body = (value or "").upper()
    if body not in _VALUES:
        raise Rejected(replies.BAD_PARAMETER)
    return body


EIGHTBITMIME = Extension(word("8BITMIME"), mail={"BODY": Parameter("body", _read)})
BINARYMIME = Extension(word("BINARYMIME"))
