"""Who a message is from and for, and who handed it to us."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from mailfw.mail.address import Address


class Service(enum.Enum):
    """
    What kind of listener a client came to; the value is its key in the configuration's ``[listen]``.

    `LOCAL` is none of them: a command on this machine, or the server itself.
    """

    SMTP = "smtp"
    SUBMISSION = "submission"
    LMTP = "lmtp"
    LOCAL = "local"

    @property
    def takes_new_mail(self) -> bool:
        """Whether what comes there is from its author, and may lack what RFC 6409 section 8 adds."""
        return self in (Service.SUBMISSION, Service.LOCAL)


#: The finding that a policy wanted the message in Junk before there was a message to say so of.
QUARANTINE = "smtp.quarantine"


@dataclass(frozen=True, slots=True)
class Client:
    """
    The sending side of one connection, as far as it is known when a policy is asked.

    `address` is an IP address as text, or ``""`` for a UNIX socket.  `helo` is ``""`` before the client has
    named itself, and for `Service.LOCAL` ``uid=…``, or ``""`` for the server itself.  `account` is `None` before it
    has logged in.  `certificate` is the subject of the client's certificate, where it has shown one that was verified.
    `findings` is where a policy leaves what it learnt for the policies after it, under its own name; each transaction
    starts with a copy of what the connection has found.
    """

    service: Service
    address: str
    port: int = 0
    helo: str = ""
    extended: bool = False
    tls: str | None = None
    account: str | None = None
    certificate: str | None = None
    findings: dict[str, object] = field(default_factory=dict, compare=False, repr=False)

    def afresh(self) -> Client:
        """Return the same client with findings of its own."""
        return Client(
            self.service,
            self.address,
            self.port,
            self.helo,
            self.extended,
            self.tls,
            self.account,
            self.certificate,
            self.findings.copy(),
        )

    @property
    def protocol(self) -> str:
        """The ``with`` word of a Received field, e.g. ``ESMTPSA`` (RFC 3848, RFC 6531 is added by the envelope)."""
        if self.service is Service.LOCAL:
            return "local"
        word = "LMTP" if self.service is Service.LMTP else "ESMTP" if self.extended else "SMTP"
        return word + ("S" if self.tls else "") + ("A" if self.account and self.extended else "")


class Notify(enum.Flag):
    """What a sender can want to hear of: the values of NOTIFY (RFC 3461 section 4.1)."""

    NEVER = 0
    SUCCESS = enum.auto()
    FAILURE = enum.auto()
    DELAY = enum.auto()
    #: What holds where nothing was asked for (RFC 3461 section 4.1).
    DEFAULT = FAILURE | DELAY


@dataclass(frozen=True, slots=True)
class RecipientOptions:
    """
    The parameters of one RCPT: NOTIFY (None: not given) and ORCPT (RFC 3461 sections 4.1 and 4.2).

    `original` is the address type and the decoded address, ``("rfc822", "ann@example.org")``, or None.
    """

    notify: Notify | None = None
    original: tuple[str, str] | None = None


#: What holds for a recipient of whom nothing special was said.
NO_OPTIONS = RecipientOptions()


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """
    The BY parameter (RFC 2852): the time, in seconds since the epoch, and what happens then.

    With `returns` (mode R) the message is given back, else (mode N) its sender is told of the delay, and goes on
    waiting.  `trace` asks for a report of each relaying.
    """

    deadline: float
    returns: bool
    trace: bool = False


@dataclass(frozen=True, slots=True)
class Envelope:
    """
    What SMTP says about one message: `sender` is `None` for the null reverse-path.

    `id` names the message in our logs, in Received, in the queue and in the 250 reply.  `smtputf8` says that the client
    asked for RFC 6531, `body` is the BODY parameter: ``7BIT``, ``8BITMIME`` (RFC 6152) or ``BINARYMIME`` (RFC 3030).

    `returns` is RET, ``FULL``, ``HDRS`` or ``""``, and `envid` the decoded ENVID (RFC 3461 sections 4.3 and 4.4);
    `options` holds what RCPT said of single recipients.  `require_tls` is the REQUIRETLS of RFC 8689, `tls_optional`
    the ``TLS-Required: No`` of its section 5, which gives way to it; `priority`, -9 to 9, is RFC 6710; `release`
    RFC 4865: not to be sent before, seconds since the epoch; `by` RFC 2852; `solicitation` the keywords of RFC 3865,
    as sent; `submitter` the decoded AUTH of RFC 4954 section 5, ``"<>"`` for nobody known.
    """

    id: str
    sender: Address | None
    recipients: tuple[Address, ...]
    smtputf8: bool = False
    body: str = "7BIT"
    returns: str = ""
    envid: str = ""
    options: Mapping[Address, RecipientOptions] = field(default_factory=dict)
    require_tls: bool = False
    priority: int = 0
    release: float = 0.0
    by: DeliverBy | None = None
    solicitation: str = ""
    submitter: str = ""
    tls_optional: bool = False

    def of(self, recipient: Address) -> RecipientOptions:
        """Return what was said of one of the recipients."""
        return self.options.get(recipient, NO_OPTIONS)
