"""What EHLO announces, and which parameters that allows: an extension is a file here and a line of `EXTENSIONS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mailfw.mail.envelope import NO_OPTIONS, RecipientOptions
from mailfw.smtp import replies
from mailfw.smtp.extensions.auth import AUTH
from mailfw.smtp.extensions.body_types import BINARYMIME, EIGHTBITMIME
from mailfw.smtp.extensions.deliver_by import DELIVERBY
from mailfw.smtp.extensions.dsn import DSN
from mailfw.smtp.extensions.etrn import ETRN
from mailfw.smtp.extensions.extension import Extension, MailOptions, Offer, Parameter, word
from mailfw.smtp.extensions.future_release import FUTURERELEASE
from mailfw.smtp.extensions.limits import LIMITS
from mailfw.smtp.extensions.no_soliciting import NO_SOLICITING
from mailfw.smtp.extensions.priority import MT_PRIORITY
from mailfw.smtp.extensions.require_tls import REQUIRETLS
from mailfw.smtp.extensions.size import SIZE
from mailfw.smtp.extensions.smtputf8 import SMTPUTF8
from mailfw.smtp.extensions.starttls import STARTTLS
from mailfw.smtp.extensions.xclient import XCLIENT
from mailfw.smtp.replies import Rejected

__all__ = ["NO_MAIL_OPTIONS", "MailOptions", "Offer", "announce", "read_mail_options", "read_rcpt_options"]

#: In the order of their announcement.
EXTENSIONS: tuple[Extension, ...] = (
    Extension(word("PIPELINING")),  # RFC 2920
    SIZE,
    STARTTLS,
    AUTH,
    Extension(word("ENHANCEDSTATUSCODES")),  # RFC 2034
    EIGHTBITMIME,
    BINARYMIME,
    Extension(word("CHUNKING")),  # RFC 3030
    SMTPUTF8,
    DSN,
    LIMITS,
    REQUIRETLS,
    MT_PRIORITY,
    FUTURERELEASE,
    DELIVERBY,
    NO_SOLICITING,
    ETRN,
    XCLIENT,
)

#: What holds where MAIL has no parameters.
NO_MAIL_OPTIONS = MailOptions()

_Table = Mapping[str, tuple[Extension, Parameter]]
_MAIL: _Table = {key: (each, parameter) for each in EXTENSIONS for key, parameter in each.mail.items()}
_RCPT: _Table = {key: (each, parameter) for each in EXTENSIONS for key, parameter in each.rcpt.items()}


def announce(offer: Offer) -> list[str]:
    """Return the lines of an EHLO reply behind the first."""
    return [line for each in EXTENSIONS if each.available(offer) and (line := each.line(offer))]


def read_mail_options(parameters: Mapping[str, str | None], offer: Offer) -> MailOptions:
    """Read the parameters of MAIL, or raise `Rejected`."""
    return MailOptions(**_read(parameters, _MAIL, offer)) if parameters else NO_MAIL_OPTIONS


def read_rcpt_options(parameters: Mapping[str, str | None], offer: Offer) -> RecipientOptions:
    """Read the parameters of RCPT, or raise `Rejected`."""
    return RecipientOptions(**_read(parameters, _RCPT, offer)) if parameters else NO_OPTIONS


def _read(parameters: Mapping[str, str | None], table: _Table, offer: Offer) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for keyword, value in parameters.items():
        extension, parameter = table.get(keyword, (None, None))
        if extension is None or parameter is None or not extension.available(offer):
            raise Rejected(replies.UNKNOWN_PARAMETER)
        if parameter.field in found:
            raise Rejected(replies.DUPLICATE_PARAMETER)
        found[parameter.field] = parameter.parse(value, offer)
    return found
