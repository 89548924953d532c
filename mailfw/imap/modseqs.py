"""The modification sequences of a view's messages, in half the memory that they would take."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence

_LOWER = 2**32 - 1
#: Where the halves of a number of 64 bits stand in memory.
_LOW, _HIGH = (0, 1) if sys.byteorder == "little" else (1, 0)


class Modseqs:
    """
    Modification sequences by place.

    Those of one mailbox are nearly always the same in their upper 32 bits, and then only the lower ones are kept.
    """

    __slots__ = ("_kept", "_upper")

    def __init__(self, values: Sequence[int]) -> None:
        self._upper = 0
        self._kept = array("I")
        self.extend(values)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, place: int) -> int:
        return self._upper + self._kept[place]

    def __setitem__(self, place: int, value: int) -> None:
        if value & ~_LOWER != self._upper and self._kept.typecode == "I":
            self._widen()
        self._kept[place] = value - self._upper

    def extend(self, values: Sequence[int]) -> None:
        """Add those of new messages."""
        if not values:
            return
        wide = values if isinstance(values, array) and values.typecode == "Q" else array("Q", values)
        if not self._kept:
            self._upper, self._kept = wide[0] & ~_LOWER, array("I")
        if self._kept.typecode == "I" and wide[0] & ~_LOWER == self._upper:
            halves = memoryview(wide).cast("B").cast("I")
            high = halves[_HIGH::2].tobytes()
            if high == high[:4] * len(wide):
                self._kept.frombytes(halves[_LOW::2].tobytes())
                return
        if self._kept.typecode == "I":
            self._widen()
        self._kept.extend(wide)

    def at(self, places: Iterable[int]) -> list[int]:
        """Return those at these places."""
        upper, kept = self._upper, self._kept
        return [upper + kept[place] for place in places]

    def drop(self, place: int) -> None:
        """Close the gap of a message that is gone."""
        del self._kept[place]

    def keep(self, kept: Iterable[bool]) -> None:
        """Keep those for which `kept`, which runs parallel, is true."""
        pairs = zip(self._kept, kept, strict=True)
        self._kept = array(self._kept.typecode, [each for each, keep in pairs if keep])

    def _widen(self) -> None:
        self._kept = array("Q", [self._upper + each for each in self._kept])
        self._upper = 0
