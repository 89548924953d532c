"""How much mail is on its way in."""

from __future__ import annotations

#: Octets of one message that may be in memory; of longer ones the rest is on disk.
IN_MEMORY = 128 * 1024


class Load:
    """
    Counts the messages between their first octet and their answer, and what of them is in memory.

    All listeners share one, so that a server says 4yz long before its memory is used up.  0 sets no limit.
    """

    def __init__(self, messages: int = 0, octets: int = 0) -> None:
        self._max_messages = messages
        self._max_octets = octets
        self.messages = 0
        self.octets = 0

    @property
    def is_full(self) -> bool:
        """Whether no further message should begin."""
        return (0 < self._max_messages <= self.messages) or (0 < self._max_octets <= self.octets)

    def grow(self, octets: int) -> bool:
        """Count octets of a message that is under way, or refuse them and return False."""
        if 0 < self._max_octets < self.octets + octets:
            return False
        self.octets += octets
        return True
