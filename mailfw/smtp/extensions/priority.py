"""MT-PRIORITY: which messages go first (RFC 6710); only from whom we would believe it."""

from __future__ import annotations

import re

from mailfw.smtp import replies
from mailfw.smtp.extensions.extension import Extension, Offer, Parameter
from mailfw.smtp.replies import Rejected

# priority-value = (["-"] NZDIGIT) / "0"                             RFC 6710 section 6
_PRIORITY = re.compile(r"-?[1-9]|0")


def _line(offer: Offer) -> str:
    """Name the policy by which priorities are handled, where the site has one (section 4.1, item 4)."""
    name = offer.settings.priority_policy
    return f"MT-PRIORITY {name}" if name else "MT-PRIORITY"


def _available(offer: Offer) -> bool:
    """Clients of submission look at this before they log in, and send nothing until they have."""
    return offer.trusted or offer.is_submission or offer.account is not None


def _read(value: str | None, offer: Offer) -> int:
    if value is None or not _PRIORITY.fullmatch(value):
        raise Rejected(replies.BAD_PARAMETER)
    return int(value)


MT_PRIORITY = Extension(_line, _available, mail={"MT-PRIORITY": Parameter("priority", _read)})
