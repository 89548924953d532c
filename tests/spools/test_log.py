"""The spool of log and backlog keeps the contract, with real threads and a real disk."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailfw.disk import Disk
from mailfw.interfaces import ISpool
from mailfw.spools.log import LogSpool
from mailfw.testing.spool import DurableSpoolContract


class LogSpoolTests(DurableSpoolContract, TestCase):
    segment = 1_000_000

    def make_spool(self) -> LogSpool:
        self.directory = Path(self.mktemp())
        return self.another()

    def another(self) -> LogSpool:
        return LogSpool(directory=self.directory, disk=Disk(reactor), clock=reactor, segment=self.segment)

    async def reopen_spool(self, spool: ISpool) -> LogSpool:
        await spool.close()
        return self.another()


class SmallSegmentTests(LogSpoolTests):
    """Every few messages there is another segment, so that the oldest has to be left."""

    segment = 1500
