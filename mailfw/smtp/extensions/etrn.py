"""ETRN: a client asks for the mail that waits for it (RFC 1985)."""

from __future__ import annotations

import re

from mailfw.mail.address import normalise_domain
from mailfw.smtp import replies
from mailfw.smtp.extensions.extension import Extension, Offer, word
from mailfw.smtp.replies import Rejected

# node name = Domain, without the option characters "@" and "#" of section 5.3, which nobody has queues for
_NODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*")


def _available(offer: Offer) -> bool:
    return offer.etrn


def parse_etrn(argument: str) -> str:
    """Read the domain whose mail is wanted."""
    if not argument:
        raise Rejected(replies.NO_ARGUMENT)
    if len(argument) > 255 or not _NODE.fullmatch(argument):
        raise Rejected(replies.BAD_ARGUMENT)
    try:
        return normalise_domain(argument)
    except ValueError:
        raise Rejected(replies.BAD_ARGUMENT)


ETRN = Extension(word("ETRN"), _available)
