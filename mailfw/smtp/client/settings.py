"""How patient a client is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait for each answer: RFC 5321 section 4.5.3.2, in its order."""

    greeting: float = 300.0  # RFC 5321 section 4.5.3.2.1
    command: float = 300.0  # EHLO, MAIL and RCPT: RFC 5321 sections 4.5.3.2.2 and 4.5.3.2.3
    data: float = 120.0  # RFC 5321 section 4.5.3.2.4
    block: float = 180.0  # RFC 5321 section 4.5.3.2.5
    final: float = 600.0  # RFC 5321 section 4.5.3.2.6
    goodbye: float = 5.0  # of no importance to anybody
