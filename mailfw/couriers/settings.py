"""How mail is handed to other hosts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mailfw.smtp.client.settings import Patience


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """
    The keys of ``[delivery]``; times are in seconds.

    `hosts` is how many addresses of one destination are tried, `sessions` with how many of them a message is that they
    defer (Postfix's smtp_mx_address_limit and smtp_mx_session_limit).  A host that could not be used is left alone for
    `avoid_time`.  With one of `connection_messages` no connection is used twice.
    """

    connect_timeout: float = 30.0  # Postfix's smtp_connect_timeout
    greeting_timeout: float = 300.0  # RFC 5321 section 4.5.3.2.1
    command_timeout: float = 300.0  # RFC 5321 sections 4.5.3.2.2 and 4.5.3.2.3
    data_timeout: float = 120.0  # RFC 5321 section 4.5.3.2.4
    block_timeout: float = 180.0  # RFC 5321 section 4.5.3.2.5
    final_timeout: float = 600.0  # RFC 5321 section 4.5.3.2.6
    hosts: int = 5
    sessions: int = 2
    host_connections: int = 10
    connection_messages: int = 200
    connection_time: float = 300.0  # Postfix's smtp_connection_reuse_time_limit
    idle_time: float = 10.0
    idle_connections: int = 100
    avoid_time: float = 30.0
    authorities: Path | None = None

    @property
    def patience(self) -> Patience:
        """Return how long to wait for each answer."""
        return Patience(
            self.greeting_timeout, self.command_timeout, self.data_timeout, self.block_timeout, self.final_timeout
        )
