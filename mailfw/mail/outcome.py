"""What became of one recipient when a courier took a message there."""

from __future__ import annotations

from dataclasses import dataclass

from mailfw.mail.reply import Reply


@dataclass(frozen=True, slots=True)
class Delivered:
    """
    The message is on stable storage at its destination, or the next host has taken responsibility.

    `relayed` says the latter; `reports` that this host has promised to tell the sender what becomes of it
    (RFC 3461 section 5.2.2), so we do not.  `host` is the remote host's name, ``""`` for ourselves.
    """

    reply: Reply = Reply(250, "2.0.0", "OK")
    host: str = ""
    relayed: bool = False
    reports: bool = False


@dataclass(frozen=True, slots=True)
class Deferred:
    """
    Not now; `reply` is 4yz and says why.

    `unreachable` says that it was the destination as a whole that could not be reached, or wanted no mail of us, not
    this message: whatever else goes there may as well wait.
    """

    reply: Reply
    host: str = ""
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """Never; `reply` is 5yz and says why."""

    reply: Reply
    host: str = ""


Outcome = Delivered | Deferred | Failed
