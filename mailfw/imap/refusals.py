"""What a mail store refuses, as the answer to a command."""

from __future__ import annotations

from collections.abc import Mapping

from mailfw.imap import responses
from mailfw.imap.responses import Completion
from mailfw.mail import failure

_REFUSALS: Mapping[type[failure.StoreRefusal], tuple[bytes, str]] = {
    failure.NoSuchAccount: (b"UNAVAILABLE", "The account is not there"),
    failure.NoSuchMailbox: (b"NONEXISTENT", "There is no such mailbox"),
    failure.MailboxExists: (b"ALREADYEXISTS", "There is such a mailbox already"),
    failure.NameRefused: (b"CANNOT", "No mailbox can have that name"),
    failure.NoPermission: (b"NOPERM", "You may not do that"),
    failure.OverQuota: (b"OVERQUOTA", "The quota is used up"),
    failure.NoSpace: (b"UNAVAILABLE", "There is no room for that at the moment"),
}


def answer(refusal: failure.StoreRefusal) -> Completion:
    """Return what a store's refusal is in the codes of RFC 5530."""
    code, text = _REFUSALS.get(type(refusal), (None, "The mail store refuses that"))
    return responses.no(str(refusal) or text, code)
