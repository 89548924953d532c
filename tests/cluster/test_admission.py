"""Connections are shared out among workers, and one that has hung keeps none of them waiting for long."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.cluster.admission import PATIENCE, Admission, OneATime
from mailfw.cluster.counters import Counters, Register
from mailfw.imap.allowances import BY_ACCOUNT, SessionCount
from tests.cluster.counting import attempts


class Port:
    """Listens or does not."""

    def __init__(self) -> None:
        self.socket: Any = socket.create_server(("127.0.0.1", 0))
        self.fileno = self.socket.fileno
        self.listens = True

    def stopReading(self) -> None:
        self.listens = False

    def startReading(self) -> None:
        self.listens = True


class AdmissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.port = Port()
        self.addCleanup(lambda: self.port.socket.close())
        self.counters = Counters(attempts(self.clock), (0, 60.0), self.clock, lambda *said: None)
        self.admission = Admission([self.port], self.counters, 1, self.clock)

    def arrive(self, count: int) -> None:
        for _ in range(count):
            self.counters.elsewhere("smtp").changed("192.0.2.1", 1)

    def test_who_has_more_leaves_the_next_to_others_until_they_have_them(self) -> None:
        self.arrive(2)
        self.assertTrue(self.port.listens)
        self.arrive(1)
        self.assertFalse(self.port.listens)
        self.counters.hear_connections("smtp", "192.0.2.1", 1)
        self.assertTrue(self.port.listens)

    def test_others_that_do_not_come_are_not_waited_for_again(self) -> None:
        self.arrive(3)
        self.clock.advance(PATIENCE)
        self.assertTrue(self.port.listens)
        self.arrive(100)
        self.assertTrue(self.port.listens)
        self.counters.hear_connections("smtp", "192.0.2.1", 1)
        self.arrive(1)
        self.assertFalse(self.port.listens)

    def test_after_the_end_nothing_listens(self) -> None:
        self.arrive(3)
        self.admission.stop()
        self.clock.advance(2 * PATIENCE)
        self.counters.hear_connections("smtp", "192.0.2.1", 9)
        self.assertFalse(self.port.listens)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_turn_takes_one(self) -> None:
        self.assertIsInstance(self.port.socket, OneATime)
        address = self.port.socket.getsockname()
        clients = [socket.create_connection(address) for _ in range(2)]
        for _ in clients:
            self.port.socket.accept()[0].close()
            self.assertRaises(BlockingIOError, self.port.socket.accept)
        self.assertRaises(BlockingIOError, self.port.socket.accept)
        clients.append(socket.create_connection(address))
        self.port.socket.accept()[0].close()
        for client in clients:
            client.close()


class SessionTests(SynchronousTestCase):
    """The sessions of an account are counted over all workers, and are no connections."""

    def worker(self) -> Counters:
        clock, member = Clock(), object()
        counters = Counters(
            attempts(clock), (0, 60.0), clock, lambda _, *said: self.register.connections(member, *said)
        )
        self.register.join(member, lambda _, *said: counters.hear_connections(*said))
        self.members.append(member)
        return counters

    def setUp(self) -> None:
        self.register, self.members = Register(), list[object]()
        self.here, self.there = self.worker(), self.worker()
        self.counts = [SessionCount(each.elsewhere(BY_ACCOUNT)) for each in (self.here, self.there)]

    def test_a_limit_for_all_workers_together(self) -> None:
        here, there = self.counts
        self.assertTrue(here.admit("ann", 2))
        self.assertTrue(there.admit("ann", 2))
        self.assertFalse(here.admit("ann", 2))
        self.assertFalse(there.admit("ann", 2))
        self.assertTrue(there.admit("bob", 2))
        here.release("ann")
        self.assertTrue(there.admit("ann", 2))
        self.assertFalse(SessionCount(self.worker().elsewhere(BY_ACCOUNT)).admit("ann", 2), "who comes later is told")

    def test_those_of_a_worker_that_dies_count_no_more(self) -> None:
        here, there = self.counts
        self.assertTrue(there.admit("ann", 1))
        self.assertFalse(here.admit("ann", 1))
        self.register.leave(self.members[1])
        self.assertTrue(here.admit("ann", 1))

    def test_they_are_no_connections(self) -> None:
        for _ in range(10):
            self.counts[0].admit("ann", 0)
        self.assertFalse(self.here.has_more_than_others(1))
        self.assertEqual(self.register.totals(), {})
