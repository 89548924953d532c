"""A message that was expunged and is kept out of sight for a while."""

from __future__ import annotations

from dataclasses import dataclass

from mailfw.mail.mailbox import Flags, Path


@dataclass(frozen=True, slots=True)
class Retained:
    """
    An expunged message: `id` is opaque and unique in the account, `path` is where it was.

    `expunged` and `received` are seconds since the epoch; `flags` are what it had.
    """

    id: str
    path: Path
    expunged: float
    received: int
    size: int
    flags: Flags
