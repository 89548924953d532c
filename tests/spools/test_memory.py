"""The spool in memory keeps the contract, but for what survives a restart."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from mailfw.spools.memory import MemorySpool
from mailfw.testing.spool import SpoolContract


class MemorySpoolTests(SpoolContract, TestCase):
    def make_spool(self) -> MemorySpool:
        return MemorySpool()
