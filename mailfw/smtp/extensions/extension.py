"""What a service extension is (RFC 5321 section 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mailfw.mail.envelope import DeliverBy, Service

if TYPE_CHECKING:
    from mailfw.smtp.settings import SMTPSettings


@dataclass(frozen=True, slots=True)
class Offer:
    """
    What one connection can have at this moment.

    `trusted` is a peer whose word we take for what others have told it: a configured network, or whoever has been
    given our LMTP.  `account` has logged in.  `now` is seconds since the epoch.
    """

    settings: SMTPSettings
    secure: bool = False
    mechanisms: tuple[str, ...] = ()
    trusted: bool = False
    account: str | None = None
    xclient: bool = False
    etrn: bool = False
    now: float = 0.0

    @property
    def is_submission(self) -> bool:
        """Whether users hand in their own mail here."""
        return self.settings.service is Service.SUBMISSION


@dataclass(frozen=True, slots=True)
class MailOptions:
    """The parameters of MAIL; `size` 0 is unknown, the others are as in `Envelope`."""

    size: int = 0
    body: str = "7BIT"
    smtputf8: bool = False
    returns: str = ""
    envid: str = ""
    require_tls: bool = False
    priority: int = 0
    release: float = 0.0
    by: DeliverBy | None = None
    solicitation: str = ""
    submitter: str = ""


#: Reads one parameter's value (None: it has none) or raises `Rejected`.
Parser = Callable[[str | None, Offer], Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: the field of `MailOptions` or `RecipientOptions` that it fills, and its parser."""

    field: str
    parse: Parser


def _always(offer: Offer) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Extension:
    """
    One service extension: its EHLO line (``""``: none), and the parameters it adds to MAIL and RCPT, by their keywords.

    Where `available` says no, there is no such line, and its parameters are unknown.
    """

    line: Callable[[Offer], str]
    available: Callable[[Offer], bool] = _always
    mail: Mapping[str, Parameter] = field(default_factory=dict)
    rcpt: Mapping[str, Parameter] = field(default_factory=dict)


def word(line: str) -> Callable[[Offer], str]:
    """Return an EHLO line that is always the same."""
    return lambda offer: line
