"""What a listener is told, and how messages are named."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mailfw.mail.envelope import Service
from mailfw.network import Networks
from mailfw.sasl.mechanisms import USUAL

#: Messages up to this many octets are taken unless the configuration says otherwise.
MAX_SIZE = 50 * 1024 * 1024

_NONE = Networks()


@dataclass(frozen=True, slots=True)
class SMTPSettings:
    """
    How one listener behaves; a number that is 0 sets no limit where nothing else is said.

    `require_auth` concerns submission alone; without it whoever reaches the listener may send anywhere.  `tls` is
    the context factory for STARTTLS, None where it is not offered; implicit TLS needs none here, the stream knows.
    """

    hostname: str
    service: Service
    # the message
    max_size: int = MAX_SIZE
    max_recipients: int = 1000  # RFC 5321 section 4.5.3.1.8 asks for 100 at least
    max_messages: int = 0  # in one connection; RFC 9422 has them told it
    header_size: int = 100 * 1024  # octets; Postfix's header_size_limit
    header_fields: int = 1000
    # logging in
    require_auth: bool = True
    allow_plaintext_auth: bool = False
    mechanisms: Sequence[str] = USUAL
    login_attempts: int = 3
    tls: Any = None
    #: What an account may send as: its own addresses in the envelope alone, or in From and Sender too.
    send_as: Literal["envelope", "header", "off"] = "envelope"
    #: Accounts that may send as anybody.
    send_as_any: frozenset[str] = frozenset()
    # who is believed
    relay: Networks = _NONE  #: may send anywhere through the port for other servers
    xclient: Networks = _NONE  #: may tell whose connection theirs is
    exempt: Networks = _NONE  #: whose mistakes are not counted from one connection to the next
    #: Whom VRFY tells who is here: nobody, or users and networks in `relay`.
    vrfy: Literal["never", "users"] = "never"
    # patience
    #: So many refused commands are answered at once, later ones after `error_delay` seconds; more than `hard_errors`
    #: end the connection.  A message taken forgives them (Postfix's smtpd_soft_error_limit and smtpd_hard_error_limit).
    soft_errors: int = 10
    hard_errors: int = 20
    error_delay: float = 1.0
    junk_commands: int = 100  # that do nothing, between two messages; Postfix's smtpd_junk_command_limit
    command_line: int = 2048  # octets with CRLF; RFC 5321 section 4.5.3.1.4
    timeout: float = 300.0  # RFC 5321 section 4.5.3.2.7
    minimum_rate: float = 500.0  # octets a second; Postfix's smtpd_min_data_rate
    greeting_delay: float = 0.0  # seconds before 220, in which a client that already speaks is refused
    #: End the connection of a client that sends more behind a command which must be the last of its group (RFC 2920
    #: section 3.1), as Postfix's smtpd_forbid_unauth_pipelining does.
    strict_pipelining: bool = False
    # extensions
    longest_hold: int = 30 * 86_400  # seconds that FUTURERELEASE may ask for; 0: it is not offered
    shortest_deliver_by: int = 0  # seconds that DELIVERBY must leave us at least
    priority_policy: str = ""  # the name that MT-PRIORITY announces
    no_soliciting: tuple[str, ...] = ()  # keywords of NO-SOLICITING that are refused
    software: str = "mailfw"


class EnvelopeIds:
    """
    Makes names for messages: short, in the order of time, unlike those of any other process.

    Microseconds since the epoch in thirteen hexadecimal digits, then five by chance for the process.
    """

    def __init__(self, now: Callable[[], int] = time.time_ns) -> None:
        self._now = now
        self._last = 0
        self._process = secrets.token_hex(3)[:5]

    def __call__(self) -> str:
        """Return a new id."""
        self._last = max(self._last + 1, self._now() // 1000)
        return f"{self._last:013x}{self._process}"
