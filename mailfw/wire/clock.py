"""What time it is, and what to do later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """The part of a reactor that a stream needs."""

    def seconds(self) -> float:
        """Return the monotonic time."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> object:  # noqa: A002, N802
        """Call a function later; Twisted names it."""
