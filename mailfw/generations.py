"""Which accounts have changed: numbers in memory that all processes of a server share."""

from __future__ import annotations

import mmap
import os
import tempfile
import zlib

#: How many numbers there are; accounts that share one cause each other needless looks, and nothing worse.
COUNT = 2**16

_OCTETS = 8


class Generations:
    """
    A number for each account, which one process advances and others read.

    It is advanced when a change can be seen, and before anybody hears of it: whoever finds the number that he found
    before he looked last knows that nothing has changed since that anybody was told of.  Reading costs no call of the
    system.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._numbers = memoryview(mmap.mmap(descriptor, COUNT * _OCTETS)).cast("Q")

    @classmethod
    def new(cls) -> Generations:
        """Make the numbers; other processes get the descriptor, which is closed with the object's process."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("mailfw-generations")
        else:  # a file without a name, where the system has nothing better
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, COUNT * _OCTETS)
        return cls(descriptor)

    def of(self, account: str) -> int:
        """Return the number of an account."""
        return self._numbers[_place(account)]

    def advance(self, account: str) -> None:
        """Change the number of an account; only the one process that writes calls this, in one thread."""
        place = _place(account)
        self._numbers[place] = (self._numbers[place] + 1) % 2**64


def _place(account: str) -> int:
    return zlib.crc32(account.encode("utf-8", "surrogatepass")) % COUNT
