"""
The embedded spool: a log for what is under way, a backlog for what waits.

=========================  ===================================================================================
``segments/NUMBER-SEED``   the log: records of messages, of their states, and of their ends (`records`)
``backlog.sqlite``         messages that have to wait, and where they go (`tables`)
``large/ID.eml``           the octets of a message above 64 KiB; its record or row has what comes before them
``drafts/``                messages that arrive; nobody's
``kept/``                  what could not be used: it stays until the postmaster has looked
``ballast``                nothing: room that is given up when the disk is so full that the spool cannot be opened
=========================  ===================================================================================

The states a message can be found in.  Whatever a crash leaves is one of them, and `recovery` looks at nothing else:

====  =========================================  =============================================================
S0    nothing                                    not ours, or done
S1    a record, not synced                       not ours yet: all, some or none of it is there after a power failure
S2    a record, synced, without an end           ours; its state is the last that the log has of it
S3    such a record, and a row in the backlog    ours; the row counts
S4    a row                                      ours
S5    a record and its end                       done; S0 when its segment goes
====  =========================================  =============================================================

- *put*, S0 → S1 → S2: write the record, with those of all that wait, and sync the segment once.  Only then is it ours.
- *record*, S2 → S2, S4 → S4: write a state to the log, or commit it to the backlog.
- *remove*, S2 → S5 → S0, S4 → S0: write an end to the log, or commit its deletion.
- *give back*, S2 → S3 → S5 with S4: commit a row, then write the end.  What keeps the oldest segment moves alike.
- *take*, *seize*, S4 → S4: note in the backlog that it is out; when the process dies that note means nothing.
- *open*, S2 → S3 → S4: every message that is left in the log gets a row, then the segments go.

What makes each step safe wherever it is cut off:

1. A large message's file is synced, and then its name, before its record is written; a segment's name before its first.
2. Its end is synced, or its row's deletion committed, before the file goes.  A file without record or row is nobody's.
3. A row is committed before the log has the message's end.
4. Nothing is committed to the backlog before all that was written to the log earlier is synced.  So both have one
   order, and an end in the log is on the disk before the row goes for whose sake it was written.
5. Segments go one by one, the oldest first, each for good: a younger one says what is done of what is in an older one.
6. A sync that failed is believed never again: the segment is left, states and ends that it may have lost are written to
   the next, and so is the end of each message that was refused with it.  What was half written is cut off.
7. Records carry a checksum.  An end of the last segment that is no record is S1, and dropped; any other such octets are
   set aside in ``kept/``, and reading goes on behind them.

A commit of SQLite's, in WAL mode with ``synchronous = FULL``, counts as one step that has happened or not.
"""

from __future__ import annotations

from mailfw.disk import Disk
from mailfw.site import Site
from mailfw.spools.log.drafts import RESERVE
from mailfw.spools.log.spool import SEGMENT, LogSpool

__all__ = ["LogSpool", "log_spool"]


def log_spool(*, site: Site, reserve: int = RESERVE, segment: int = SEGMENT) -> LogSpool:
    """Return the spool in the site's data directory; `reserve` octets stay free, a log file has about `segment`."""
    return LogSpool(
        directory=site.data / "spool", disk=Disk(site.reactor), clock=site.reactor, reserve=reserve, segment=segment
    )
