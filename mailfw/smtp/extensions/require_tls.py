"""REQUIRETLS: never to be sent on without TLS (RFC 8689); offered only where the message came safely itself."""

from __future__ import annotations

from mailfw.smtp import replies
from mailfw.smtp.extensions.extension import Extension, Offer, Parameter, word
from mailfw.smtp.replies import Rejected


def _available(offer: Offer) -> bool:
    return offer.secure


def _read(value: str | None, offer: Offer) -> bool:
    if value is not None:  # section 2, item 4
        raise Rejected(replies.BAD_PARAMETER)
    return True


REQUIRETLS = Extension(word("REQUIRETLS"), _available, mail={"REQUIRETLS": Parameter("require_tls", _read)})
