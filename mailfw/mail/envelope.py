"""Who a message is from and for, and who handed it to us."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from mailfw.mail.address import Address


class Service(enum.Enum):
    """What kind of listener a client came to; the value is its key in the configuration's ``[listen]``."""

    SMTP = "smtp"
    SUBMISSION = "submission"
    LMTP = "lmtp"


#: The finding that a policy wanted the message in Junk before there was a message to say so of.
QUARANTINE = "smtp.quarantine"


@dataclass(frozen=True, slots=True)
class Client:
    """
    The sending side of one connection, as far as it is known when a policy is asked.

    `address` is an IP address as text, or ``""`` for a UNIX socket.  `helo` is ``""`` before the client has
    named itself, `account` is `None` before it has logged in.  `findings` is where a policy leaves what it
    learnt for the policies after it, under its own name; each transaction starts with a copy of what the
    connection has found.
    """

    service: Service
    address: str
    port: int = 0
    helo: str = ""
    extended: bool = False
    tls: str | None = None
    account: str | None = None
    findings: dict[str, object] = field(default_factory=dict, compare=False, repr=False)

    @property
    def protocol(self) -> str:
        """The ``with`` word of a Received field, e.g. ``ESMTPSA`` (RFC 3848, RFC 6531 is added by the envelope)."""
        word = "LMTP" if self.service is Service.LMTP else "ESMTP" if self.extended else "SMTP"
        return word + ("S" if self.tls else "") + ("A" if self.account and self.extended else "")


@dataclass(frozen=True, slots=True)
class Envelope:
    """
    What SMTP says about one message: `sender` is `None` for the null reverse-path.

    `id` names the message in our logs, in Received and in the 250 reply.  `smtputf8` says that the client
    asked for RFC 6531, `body` is the BODY parameter of RFC 6152: ``7BIT`` or ``8BITMIME``.
    """

    id: str
    sender: Address | None
    recipients: tuple[Address, ...]
    smtputf8: bool = False
    body: str = "7BIT"
