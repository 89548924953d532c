"""A process without descriptors does not ask for connections all the time, and takes them when it has some again."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.wire.listening import PAUSE, Listening, ListeningSocket
from tests.cluster.test_admission import Port


class FullSocket(ListeningSocket):
    """Has no room for a connection while `is_full`."""

    is_full = False

    def _accept(self) -> Any:
        if self.is_full:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super()._accept()  # type: ignore[misc]  # the standard library's


class ListeningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.port = Port()
        self.addCleanup(lambda: self.port.socket.close())
        self.listening = Listening(self.port, self.clock, FullSocket)
        self.client = socket.create_connection(self.port.socket.getsockname())
        self.addCleanup(self.client.close)

    def run_short(self) -> None:
        self.port.socket.is_full = True
        with self.assertRaises(OSError) as raised:
            self.port.socket.accept()
        self.assertEqual(raised.exception.errno, errno.EMFILE)
        self.assertTrue(self.port.listens)
        self.assertRaises(BlockingIOError, self.port.socket.accept)
        self.assertFalse(self.port.listens)

    def test_asks_again_after_a_pause(self) -> None:
        self.run_short()
        for _ in range(3):
            self.clock.advance(PAUSE)
            self.assertTrue(self.port.listens)
            self.assertRaises(BlockingIOError, self.port.socket.accept)
            self.assertFalse(self.port.listens)
        self.port.socket.is_full = False
        self.clock.advance(PAUSE)
        self.port.socket.accept()[0].close()
        self.assertTrue(self.port.listens)

    def test_closes_what_room_is_found_for(self) -> None:
        """Twisted finds room for one, which it closes: the next shortage is a new one."""
        for _ in range(3):
            self.port.socket.is_full = True
            self.assertRaises(OSError, self.port.socket.accept)
            self.port.socket.is_full = False
            self.assertRaises(BlockingIOError, self.take_all)
        self.assertTrue(self.port.listens)

    def take_all(self) -> None:
        while True:
            self.port.socket.accept()[0].close()

    def test_stays_away_where_it_is_not_wanted(self) -> None:
        self.run_short()
        self.listening.want(False)
        self.clock.advance(PAUSE)
        self.assertFalse(self.port.listens)
        self.listening.want(True)
        self.assertTrue(self.port.listens)

    def test_wanted_again_during_the_pause(self) -> None:
        self.run_short()
        self.listening.want(False)
        self.listening.want(True)
        self.assertFalse(self.port.listens)
        self.clock.advance(PAUSE)
        self.assertTrue(self.port.listens)

    def test_end(self) -> None:
        self.run_short()
        self.listening.end()
        self.assertFalse(self.port.listens)
        self.assertEqual(self.clock.getDelayedCalls(), [])
