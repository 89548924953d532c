"""What a listener is told, and what all its sessions share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mailfw.optional import ICount
from mailfw.pop3.locks import Locks, OwnLocks
from mailfw.pop3.responses import ok
from mailfw.sasl.logins import Logins
from mailfw.sasl.mechanisms import USUAL


@dataclass(frozen=True, slots=True)
class POP3Settings:
    """
    How one listener behaves.

    `tls` is the context factory for STLS, None where it is not offered; implicit TLS needs none here, the stream
    knows.  More than `hard_errors` refused commands end the connection.  After `expire` days mail may be gone, None
    means never, and with 0 what was retrieved goes at QUIT; `login_delay` is only told here, see `Access`.  `language`
    is what a client gets that leaves the choice to the site.
    """

    hostname: str
    allow_plaintext_auth: bool = False
    mechanisms: Sequence[str] = USUAL
    tls: Any = None
    hard_errors: int = 20
    login_attempts: int = 3
    timeout: float = 600.0  # RFC 1939 section 3: ten minutes at least
    software: str = "mailfw"
    expire: int | None = None
    login_delay: int = 0
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Access:
    """What the sessions share; `logins_counted` lets an account log in once in each login delay."""

    settings: POP3Settings
    logins: Logins
    locks: Locks = field(default_factory=OwnLocks)
    logins_counted: ICount | None = None

    def greeting(self) -> bytes:
        """Return what is said first; without the timestamp that would offer APOP (RFC 1939 section 7)."""
        return ok(f"{self.settings.hostname} POP3 {self.settings.software}").octets()
