"""The embedded spool."""

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
