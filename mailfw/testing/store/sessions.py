"""Cases of the store's contract: sessions that work on one account, and what each of them has been told."""

from __future__ import annotations

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from mailfw.testing.store.fixture import StoreFixture


class SessionCases(StoreFixture):
    """Several sessions at once: what each has been told is the truth."""

    async def test_several_sessions(self) -> None:
        """Changes from several sessions, at once or not, with notices lost or doubled: each knows what there is."""
        try:
            from mailfw.testing.store.machine import run_machine
        except ImportError:
            raise SkipTest("Hypothesis is not installed: pip install hypothesis")
        from twisted.internet import reactor  # trial has no other reactor than the installed one

        failed = await deferToThread(run_machine, self, reactor)
        if failed is not None:
            self.fail(failed)
