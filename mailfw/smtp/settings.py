"""What a listener is told, and what all its sessions share."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.cred.portal import Portal

from mailfw.interfaces import IDeliveryPolicy, IDirectory, IIntake, IRouter
from mailfw.mail.envelope import Service
from mailfw.mail.reply import Reply
from mailfw.sasl import CREDENTIALS, MECHANISMS
from mailfw.smtp.extensions import Offer, announce

#: Messages up to this many octets are taken unless the configuration says otherwise.
MAX_SIZE = 50 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SMTPSettings:
    """
    How one listener behaves.

    `require_auth` concerns submission alone; without it whoever reaches the listener may send anywhere.  `tls` is
    the context factory for STARTTLS, None where it is not offered; implicit TLS needs none here, the stream
    knows.  More than `soft_errors` refused commands are answered slowly, more than `hard_errors` end the
    connection; a message taken forgives them (Postfix's smtpd_soft_error_limit and smtpd_hard_error_limit).
    """

    hostname: str
    service: Service
    max_size: int = MAX_SIZE
    max_recipients: int = 1000  # RFC 5321 section 4.5.3.1.8 asks for 100 at least
    require_auth: bool = True
    allow_plaintext_auth: bool = False
    tls: Any = None
    soft_errors: int = 10
    hard_errors: int = 20
    error_delay: float = 1.0
    login_attempts: int = 3
    timeout: float = 300.0  # RFC 5321 section 4.5.3.2.7
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


@dataclass(frozen=True, slots=True)
class Reception:
    """What the sessions of one listener share; `policies` never raises."""

    settings: SMTPSettings
    intake: IIntake
    directory: IDirectory
    router: IRouter
    policies: IDeliveryPolicy
    portal: Portal | None
    clock: Any
    next_id: Callable[[], str] = field(default_factory=EnvelopeIds)

    def mechanisms(self, secure: bool) -> tuple[str, ...]:
        """Return the SASL mechanisms that can be used now: on submission, those whose credentials the portal takes."""
        settings = self.settings
        if settings.service is not Service.SUBMISSION or self.portal is None:
            return ()
        if not secure and not settings.allow_plaintext_auth:
            return ()
        accepted = self.portal.listCredentialsInterfaces()
        return tuple(name for name in MECHANISMS if CREDENTIALS[name] in accepted)

    def greeting(self) -> Reply:
        """Return what is said first (RFC 5321 section 4.2, RFC 2033 section 4.1)."""
        protocol = "LMTP" if self.settings.service is Service.LMTP else "ESMTP"
        return Reply(220, "", f"{self.settings.hostname} {protocol} {self.settings.software}")

    def announcement(self, secure: bool) -> Reply:
        """Return the answer to EHLO and LHLO."""
        settings = self.settings
        offer = Offer(settings.max_size, settings.tls is not None and not secure, self.mechanisms(secure))
        return Reply(250, "", "\n".join((settings.hostname, *announce(offer))))
