"""What the queue tells whoever writes down the lives of messages."""

from __future__ import annotations

from typing import Protocol


class Notes(Protocol):
    """Somebody who takes notes; it takes no time, and nothing goes wrong."""

    def note(self, name: str, event: str, /, **facts: object) -> None:
        """Write down what has happened to a message."""
