"""What became of one recipient when a courier took a message there."""

from __future__ import annotations

from dataclasses import dataclass

from mailfw.mail.reply import Reply


@dataclass(frozen=True, slots=True)
class Delivered:
    """The message is on stable storage at its destination, or the next host has taken responsibility."""

    reply: Reply = Reply(250, "2.0.0", "OK")


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now; `reply` is 4yz and says why."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Failed:
    """Never; `reply` is 5yz and says why."""

    reply: Reply


Outcome = Delivered | Deferred | Failed
