"""SMTPUTF8: addresses and headers in every alphabet (RFC 6531)."""

from __future__ import annotations

from mailfw.smtp import replies
from mailfw.smtp.extensions.extension import Extension, Offer, Parameter, word
from mailfw.smtp.replies import Rejected


def _read(value: str | None, offer: Offer) -> bool:
    if value is not None:  # RFC 6531 section 3.1, item 4
        raise Rejected(replies.BAD_PARAMETER)
    return True


SMTPUTF8 = Extension(word("SMTPUTF8"), mail={"SMTPUTF8": Parameter("smtputf8", _read)})
