"""
Workers and the keeper are killed under load, at moments nobody chose.

Who is served by others notices nothing; what was acknowledged is there, once and whole.  `MAILFW_KILLS` says how
often, e.g. ``40,10``: of workers, and of the keeper.
"""

from __future__ import annotations

import imaplib
import os
import random
import re
import signal
import smtplib
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.interop.server import DOMAIN, PASSWORD, RunningServer
from tests.running import until

DEATHS, KEEPER_DEATHS = map(int, os.environ.get("MAILFW_KILLS", "5,2").split(","))
WORKERS = 2
PATIENCE = 60.0
BODY = b"0123456789abcdef" * 4 + b"\r\n"
#: What a client sees of a connection that broke.
BROKEN = (OSError, smtplib.SMTPException, imaplib.IMAP4.error)


def message(name: str) -> bytes:
    """Make a message whose end says that it is whole."""
    return f"Subject: {name}\r\n\r\n".encode() + BODY * 20 + f"end of {name}\r\n".encode()


class Client(threading.Thread):
    """Does its step again and again, on one connection while that lasts; `ports` are those of its broken ones."""

    def __init__(self, load: Load, number: int) -> None:
        super().__init__(daemon=True)
        self.load = load
        self.number = number
        self.steps = 0
        self.broken: list[int] = []

    def run(self) -> None:
        while not self.load.is_over:
            try:
                client = self.connect()
            except BROKEN:
                time.sleep(0.05)
                continue
            connection = client.sock
            port = connection.getsockname()[1]
            try:
                while not self.load.is_over:
                    self.step(client)
                    self.steps += 1
                    time.sleep(0.01)
            except BROKEN:
                self.broken.append(port)
            finally:
                connection.close()  # smtplib forgets its own

    def connect(self) -> Any:
        raise NotImplementedError

    def step(self, client: Any) -> None:
        raise NotImplementedError

    def imap(self) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.load.server.ports["imap"], timeout=PATIENCE)
        client.login(f"ann@{DOMAIN}", PASSWORD)
        client.select("INBOX")
        return client


class Sender(Client):
    """Sends by SMTP."""

    def connect(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.load.server.ports["smtp"], timeout=PATIENCE)

    def step(self, client: smtplib.SMTP) -> None:
        name = self.load.attempt(f"smtp-{self.number}")
        client.sendmail("x@elsewhere.example", [f"ann@{DOMAIN}"], message(name))
        self.load.acknowledged.append(name)


class Appender(Client):
    """Stores by APPEND."""

    def connect(self) -> imaplib.IMAP4:
        return self.imap()

    def step(self, client: imaplib.IMAP4) -> None:
        name = self.load.attempt(f"imap-{self.number}")
        said = client.append("INBOX", "", None, message(name))
        if said[0] != "OK":
            self.load.faults.append(f"APPEND: {said}")
            return
        self.load.acknowledged.append(name)


class Reader(Client):
    """Reads what came last, and that what was there stays."""

    count = 0

    def connect(self) -> imaplib.IMAP4:
        self.count = 0
        return self.imap()

    def step(self, client: imaplib.IMAP4) -> None:
        client.noop()
        count = int(client.response("EXISTS")[1][-1] or 0) or self.count
        if count < self.count:
            self.load.faults.append(f"{self.count - count} messages have gone")
        self.count = count
        if count:
            found = client.fetch(str(count), "BODY.PEEK[]")[1]
            if not any(isinstance(each, tuple) and b"end of " in each[1] for each in found):
                self.load.faults.append(f"message {count} cannot be read: {found!r:.200}")


class Load:
    """All clients, and what they were told."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.is_over = False
        self.attempted: set[str] = set()
        self.acknowledged: list[str] = []
        self.faults: list[str] = []
        self._number = 0
        kinds = [Sender] * 4 + [Appender] * 2 + [Reader] * 2
        self.clients = [kind(self, number) for number, kind in enumerate(kinds)]
        for client in self.clients:
            client.start()

    def attempt(self, prefix: str) -> str:
        """Return a name that nobody has used; what nobody answered for is not sent again."""
        self._number += 1
        name = f"{prefix}-{self._number}-{random.randrange(10**9)}"
        self.attempted.add(name)
        return name

    def all_go_on(self) -> None:
        """Wait until every client has been served twice from now on."""
        before = [client.steps for client in self.clients]
        until(
            lambda: all(client.steps > steps + 1 for client, steps in zip(self.clients, before, strict=True)),
            "all clients are served",
        )

    def broken(self) -> set[int]:
        return {port for client in self.clients for port in client.broken}

    def end(self) -> None:
        self.is_over = True
        for client in self.clients:
            client.join(PATIENCE)


class KilledTests(SynchronousTestCase):
    timeout = 3600

    def setUp(self) -> None:
        if not Path("/proc/net/tcp").exists():
            raise SkipTest("only Linux tells which process has which connection")
        self.server = RunningServer("ann", arguments=(f"--workers={WORKERS}",))
        self.addCleanup(self.server.remove)
        self.load = Load(self.server)
        self.addCleanup(self.load.end)

    def workers(self) -> list[int]:
        assert self.server.process is not None
        pid = self.server.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def served_by(self, pid: int) -> set[int]:
        """Return the clients' ports of a process's connections."""
        sockets = set()
        for each in Path(f"/proc/{pid}/fd").iterdir():
            sockets.add(str(each.readlink()).removeprefix("socket:[").removesuffix("]"))
        ours = set(self.server.ports.values())
        ports = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, *rest = line.split()
            if int(local.partition(":")[2], 16) in ours and rest[6] in sockets:
                ports.add(int(remote.partition(":")[2], 16))
        return ports

    def kill_a_worker(self) -> None:
        victim = random.choice(self.workers())
        os.kill(victim, signal.SIGSTOP)  # so that what it serves is what it dies with
        served, before = self.served_by(victim), self.load.broken()
        os.kill(victim, signal.SIGKILL)
        self.load.all_go_on()
        until(lambda: len(self.workers()) == WORKERS and victim not in self.workers(), "another takes its place")
        self.assertEqual(self.load.broken() - before - served, set(), "connections of other workers have broken")

    def kill_the_keeper(self) -> None:
        workers = self.workers()
        self.server.kill()
        until(lambda: not any(Path(f"/proc/{each}").exists() for each in workers), "workers end with their keeper")
        self.server.start()
        self.load.all_go_on()

    def test_nothing_acknowledged_is_lost_or_doubled_and_others_are_served(self) -> None:
        deaths = [self.kill_a_worker] * DEATHS + [self.kill_the_keeper] * KEEPER_DEATHS
        random.shuffle(deaths)
        self.load.all_go_on()
        for die in deaths:
            time.sleep(random.uniform(0.05, 1.0))
            die()
        self.load.end()
        self.assertEqual(self.load.faults, [])
        self.assertGreater(len(self.load.acknowledged), 20 * len(deaths), "Too little happened for this to prove much")
        found = self.found()
        self.assertEqual([name for name, count in found.items() if count != 1], [], "doubled")
        self.assertEqual(found.keys() - self.load.attempted, set())
        Path("figures").write_text(
            f"{DEATHS} workers and {KEEPER_DEATHS} keepers died; of {len(self.load.attempted)} messages "
            f"{len(self.load.acknowledged)} were acknowledged, {len(found)} are there\n"
        )

    def found(self) -> Counter[str]:
        """Return how often each message is there, once the queue has emptied."""
        client = self.load.clients[0].imap()
        found: Counter[str] = Counter()

        def has_all() -> bool:
            client.noop()
            found.clear()
            for item in client.fetch("1:*", "(BODY.PEEK[])")[1]:
                if isinstance(item, tuple):
                    name = re.match(rb"(?:.*\r\n)*?Subject: (\S+)\r\n", item[1])
                    assert name is not None
                    found[name[1].decode()] += 1
                    self.assertTrue(item[1].endswith(message(name[1].decode())), "a message is not whole")
            return set(self.load.acknowledged) <= found.keys()

        until(has_all, "what was acknowledged is there")
        time.sleep(0.5)  # a copy too many may be on its way
        has_all()
        client.shutdown()
        return found
