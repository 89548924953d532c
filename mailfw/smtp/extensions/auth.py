"""AUTH: the mechanisms, and who a message was submitted by (RFC 4954)."""

from __future__ import annotations

from mailfw.mail.xtext import decode_xtext
from mailfw.smtp import replies
from mailfw.smtp.extensions.extension import Extension, Offer, Parameter
from mailfw.smtp.replies import Rejected

#: Who submitted the message is not known, or is not told.
NOBODY = "<>"


def _line(offer: Offer) -> str:
    return " ".join(("AUTH", *offer.mechanisms)) if offer.mechanisms else ""


def _read_submitter(value: str | None, offer: Offer) -> str:
    """
    Read ``AUTH=xtext`` or ``AUTH=<>``.

    Section 5: what somebody says whom we do not trust counts as ``<>``; a user may say who he is himself.
    """
    if not value:
        raise Rejected(replies.BAD_PARAMETER)
    if value == NOBODY:
        return NOBODY
    try:
        submitter = decode_xtext(value)
    except ValueError:
        raise Rejected(replies.BAD_PARAMETER)
    return submitter if offer.trusted or submitter == offer.account else NOBODY


# Servers tell the submitter wherever they hand in mail, whether or not anybody can log in there.
AUTH = Extension(_line, mail={"AUTH": Parameter("submitter", _read_submitter)})
