"""The lines that part a multipart: which one a line is, of all the multiparts that are open."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence


class Delimiters:
    """
    Knows the delimiters of the open multiparts, the innermost last; a boundary that is empty has none.

    A line that contains `needle` behind its line end may be one; no other can be.
    """

    __slots__ = ("_boundaries", "_known", "_openers", "_shorter", "needle")

    def __init__(self) -> None:
        self.needle = b""
        self._boundaries: list[bytes] = []
        self._known: dict[bytes, tuple[int, bool]] = {}
        self._openers: list[bytes] = []  # those that do not close, sorted
        self._shorter: list[int] = []  # of each, the place of the longest other one that it begins with

    def know(self, boundaries: Sequence[bytes]) -> None:
        """Prepare for these boundaries; of equal ones, the last counts."""
        known = list(boundaries)
        while known and not known[-1]:
            known.pop()  # most parts have none, and change nothing
        if known == self._boundaries:
            return
        self._boundaries = known
        self._known.clear()
        for depth, boundary in enumerate(known):
            if boundary:
                self._known[b"--" + boundary + b"--"] = (depth, True)
                self._known[b"--" + boundary] = (depth, False)
        self._openers = sorted({b"--" + boundary for boundary in known if boundary})
        self._shorter = _find_shorter(self._openers)
        # Whatever they have in common is worth searching for.
        self.needle = b"\n" + _common_start(self._openers) if self._openers else b""

    def find(self, line: bytes) -> tuple[int, bool] | None:
        """
        Return the place of the boundary whose delimiter a line is, and whether it closes; None if it is none.

        RFC 2046 section 5.1.1 asks to compare the beginning of a line; of several boundaries that are there, the
        longest counts.
        """
        known = self._known.get(line.rstrip(b" \t\r"))
        if known is not None:
            return known
        # What begins like the line, and is not after it, begins like all that is between.
        at = bisect_right(self._openers, line) - 1
        while at >= 0 and not line.startswith(self._openers[at]):
            at = self._shorter[at]
        if at < 0:
            return None
        opener = self._openers[at]
        return self._known[opener][0], line.startswith(b"--", len(opener))

    def forget(self) -> None:
        """Find none until others become known."""
        self.needle = b""


def _common_start(openers: list[bytes]) -> bytes:
    low, high = openers[0], openers[-1]
    differing = (at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b)
    return low[: next(differing, len(low))]


def _find_shorter(openers: list[bytes]) -> list[int]:
    """Return for each of these sorted strings where the longest other one is that it begins with, or -1."""
    found: list[int] = []
    for opener in openers:
        at = len(found) - 1
        while at >= 0 and not opener.startswith(openers[at]):
            at = found[at]
        found.append(at)
    return found
