"""The server is killed in the middle of deliveries, APPENDs, flag changes and moves, at moments nobody chose."""

from __future__ import annotations

import os
import random
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.deeds import Deeds
from tests.interop.server import RunningServer

#: Kills for each store; fifty by `MAILFW_KILLS=50`.
ROUNDS = int(os.environ.get("MAILFW_KILLS", "8"))
#: Messages that are looked at after each kill; when there are more, all go.
MANY = 3000


class KilledTests(SynchronousTestCase):
    """What was acknowledged is there once and whole, with the UID and the flag that were told."""

    def test_maildir(self) -> None:
        self.go_through("maildir")

    def test_sqlite(self) -> None:
        self.go_through("sqlite")

    def go_through(self, plugin: str) -> None:
        server = RunningServer("ann", settings=(f'store.plugin="{plugin}"',))
        self.addCleanup(server.remove)
        deeds = Deeds(server)
        chance, count, flagged, moved = random.Random(plugin), 0, 0, 0
        for number in range(ROUNDS):
            deeds.begin()
            deeds.wait_for(30, moved=3)
            time.sleep(0.2 + chance.random())
            server.kill()
            deeds.end()
            server.start()
            faults = deeds.faults()
            self.assertEqual(faults[:20], [], f"{len(faults)} faults after {number + 1} kills:\n{server.log()}")
            if len(deeds.acknowledged) > MANY or number == ROUNDS - 1:
                count += len(deeds.acknowledged)
                flagged += deeds.flagged
                moved += deeds.moved
                deeds.clear()
        self.assertGreater(min(count, 10 * flagged, 10 * moved), 20 * ROUNDS, "Too little happened to prove anything")
