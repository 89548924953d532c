"""What an administrator can choose about the IMAP server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mailfw.sasl.mechanisms import USUAL


@dataclass(frozen=True, slots=True)
class IMAPSettings:
    """
    Choices that all sessions of a listener share.

    `tls` is a context factory for STARTTLS, None where it is not offered.  `allow_plaintext_auth` permits
    passwords in the clear.  `mechanisms` are those of SASL that may be used.  `append_limit` is the largest message
    APPEND takes, in octets.  `switched_off` names capabilities that no client is offered.  `software` and
    `version` are what ID tells.
    """

    hostname: str
    tls: Any | None = None
    allow_plaintext_auth: bool = False
    mechanisms: Sequence[str] = USUAL
    append_limit: int = 50 * 1024 * 1024
    switched_off: frozenset[bytes] = frozenset()
    software: str = "mailfw"
    version: str = ""
