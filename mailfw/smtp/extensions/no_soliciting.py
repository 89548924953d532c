"""NO-SOLICITING: what kinds of advertisement are not wanted here (RFC 3865)."""

from __future__ import annotations

import re

from mailfw.smtp import replies
from mailfw.smtp.extensions.extension import Extension, Offer, Parameter
from mailfw.smtp.replies import Rejected

#: Of all keywords together (RFC 3865 section 2.1).
_LIMIT = 1000
# Solicitation-keywords = word *("," word); word = ALPHA *(wordchar)                   RFC 3865 section 4
_KEYWORDS = re.compile(r"[A-Za-z][A-Za-z0-9._:-]*(?:,[A-Za-z][A-Za-z0-9._:-]*)*")


def _line(offer: Offer) -> str:
    return " ".join(("NO-SOLICITING", *offer.settings.no_soliciting))


def _read(value: str | None, offer: Offer) -> str:
    if value is None or len(value) > _LIMIT or not _KEYWORDS.fullmatch(value):
        raise Rejected(replies.BAD_PARAMETER)
    unwanted = {each.lower() for each in offer.settings.no_soliciting}
    if unwanted.intersection(value.lower().split(",")):
        raise Rejected(replies.SOLICITING)
    return value


NO_SOLICITING = Extension(_line, mail={"SOLICIT": Parameter("solicitation", _read)})
