"""The hosts that a message can be handed to, and how safe the connection has to be."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from mailfw.mail.lookup import TLSA


class TLSLevel(enum.Enum):
    """How much TLS a connection to another server must have before mail may go through it."""

    NONE = "none"  #: never
    MAY = "may"  #: where it is offered, whatever the certificate (opportunistic, RFC 7435)
    ENCRYPT = "encrypt"  #: always, whatever the certificate
    VERIFY = "verify"  #: always, with a certificate that `TLSDemand.names` or `TLSDemand.tlsa` vouch for


@dataclass(frozen=True, slots=True)
class TLSDemand:
    """
    What is demanded of one connection.

    With `tlsa` records the certificate is judged by them (RFC 7672), else at `VERIFY` by the system's authorities and
    `names`, any of which it must have.  `implicit` begins with the handshake (RFC 8314).  `policy` is what demanded it,
    in the words of RFC 8460 section 4.2: ``sts``, ``tlsa`` or ``no-policy-found``.

    ``sts`` at `MAY` is a policy in testing mode (RFC 8461 section 5): `names` are looked at for the report, and none
    mean that the host is not of the policy's; mail goes through whatever is found.
    """

    level: TLSLevel = TLSLevel.MAY
    implicit: bool = False
    names: tuple[str, ...] = ()
    tlsa: tuple[TLSA, ...] = ()
    policy: str = "no-policy-found"

    @property
    def is_test(self) -> bool:
        """Whether what a policy demands is only looked at."""
        return self.policy == "sts" and self.level is TLSLevel.MAY


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and password of ours at another server."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hop:
    """
    One address of one host: `host` is its name (SNI, certificate, logs), `address` an IP address or a socket's path.

    `protocol` is ``smtp`` or ``lmtp``.  Two messages may share a connection when their hops are equal.
    """

    host: str
    address: str
    port: int
    protocol: str = "smtp"
    tls: TLSDemand = TLSDemand()
    login: Login | None = None
