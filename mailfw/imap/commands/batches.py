"""UIDBATCHES: ranges of UIDs with so many messages each (RFC 10022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import grammar_results, responses, results
from mailfw.imap.lexer import Cursor
from mailfw.imap.responses import Completion

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: Messages that a batch has at least (section 3.1.3.2): smaller ones make more answers than they save.
_FEWEST = 500


async def uid_batches(session: Session, cursor: Cursor) -> Completion:
    """Tell the ranges from the last message to the first; together they have all UIDs up to the last one."""
    size, chosen = grammar_results.batches(cursor)
    if chosen is not None and chosen[0] > chosen[1]:
        return responses.bad("The first of the batches comes behind the last", b"CLIENTBUG")
    if size < _FEWEST:
        return responses.no(f"Batches have {_FEWEST} messages or more", b"TOOFEW")
    uids = session.selected.uids
    # Where batches end, going down.
    lows = [uids[max(end - size, 0)] for end in range(len(uids), 0, -size)]
    if lows:
        lows[-1] = 1
    highs = [uids[-1], *(low - 1 for low in lows)] if lows else []
    ranges = list(zip(highs, lows, strict=False))
    first, last = chosen or (1, len(ranges))
    session.stream.write(results.batches(session.tag, ranges[first - 1 : last]))
    return responses.ok("Done")
