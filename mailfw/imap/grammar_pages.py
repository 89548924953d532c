"""PARTIAL (RFC 9394): a range of a result, of FETCH as of searches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from mailfw.imap.lexer import BadSyntax, Cursor

T = TypeVar("T")

# partial-range-first = nz-number ":" nz-number
# partial-range-last  = "-" nz-number ":" "-" nz-number                RFC 9394 section 4
_PARTIAL = re.compile(rb"(-?)([1-9][0-9]{0,9}):(-?)([1-9][0-9]{0,9})(?![^ )])")
_NUMBER_LIMIT = 2**32


@dataclass(frozen=True, slots=True)
class Page:
    """A range of a result, counted from 1; with `from_end` from its last one backwards (RFC 9394 section 3.1)."""

    first: int
    last: int
    from_end: bool

    def of(self, found: Sequence[T]) -> Sequence[T]:
        """Return what is in the range, in the order of `found`."""
        if self.from_end:
            end = max(len(found) - self.first + 1, 0)
            return found[max(len(found) - self.last, 0) : end]
        return found[self.first - 1 : self.last]

    def encode(self) -> bytes:
        """Return the range as responses have it."""
        return (b"-%d:-%d" if self.from_end else b"%d:%d") % (self.first, self.last)


def partial(cursor: Cursor) -> Page:
    """Read ``partial-range``; its ends may come in either order."""
    found = cursor.match(_PARTIAL)
    if found is None or found[1] != found[3]:
        raise BadSyntax("Expected a range such as 1:100 or -1:-100")
    first, last = sorted((int(found[2]), int(found[4])))
    if last >= _NUMBER_LIMIT:
        raise BadSyntax("A number beyond 32 bits")
    return Page(first, last, bool(found[1]))
