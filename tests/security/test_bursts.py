"""Hundreds who connect at the same moment, while the server is busy with something else."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.server import RunningServer

BURST = 300


class BurstTests(SynchronousTestCase):
    def test_nobody_has_to_knock_twice(self) -> None:
        server = RunningServer()
        self.addCleanup(server.remove)
        assert server.process is not None
        with ExitStack() as held:
            server.process.send_signal(signal.SIGSTOP)
            try:
                # Who finds no room in the line before the door hears nothing, and asks again after a second.
                them = [
                    held.enter_context(socket.create_connection(("127.0.0.1", server.ports["smtp"]), 0.9))
                    for _ in range(BURST)
                ]
            finally:
                server.process.send_signal(signal.SIGCONT)
            for each in them:
                each.settimeout(20)
                self.assertEqual(each.recv(4), b"220 ")
