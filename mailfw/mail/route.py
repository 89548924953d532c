"""Where mail for an address goes next."""

from __future__ import annotations

from dataclasses import dataclass

from mailfw.mail.reply import Reply


@dataclass(frozen=True, slots=True)
class Route:
    """
    A courier, by name, and the next hop in its words: what the queue keeps apart and counts.

    `destination` is ``""`` for our own mailboxes, a domain whose MX records are to be followed (``example.net``, in
    U-labels), or a fixed host as a URL: ``smtp://``, ``smtps://`` or ``lmtp://``, then ``user@`` where we log in there,
    then ``host:port``; ``lmtp:///path`` is a UNIX socket.  No URL has a password in it.
    """

    courier: str
    destination: str = ""

    def __str__(self) -> str:
        return f"{self.courier}:{self.destination}" if self.destination else self.courier


@dataclass(frozen=True, slots=True)
class Unroutable:
    """There is no way there, for good (5yz) or now (4yz); `reply` is what the sender hears."""

    reply: Reply
