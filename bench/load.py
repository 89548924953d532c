"""The load: Debian's smtp-source and smtp-sink, and a probe that sends a message now and then and times it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.peers import DOMAIN, Peer

SENDER = "load@sender.example"
#: Whom smtp-source names when it is told to write to ``user`` and up to fifty of them.
BOXES = ["user", *(f"{number}user" for number in range(2, 51))]
#: Whom the probe writes to, who is not counted.
PROBE = "probe"
#: Seconds between two messages of the probe.
PROBED_EVERY = 0.05


@dataclass(frozen=True)
class Work:
    """
    What smtp-source is to do: `processes` of it with `sessions` each, together `messages`.

    Each process writes to a mailbox of its own, or with `recipients` above one to that many of them.
    """

    name: str
    messages: int
    processes: int
    sessions: int
    octets: int = 2048
    recipients: int = 1
    stays: bool = True
    domain: str = DOMAIN

    def command(self, number: int, port: int) -> list[str]:
        """Return the command line of one process."""
        target = BOXES[0] if self.recipients > 1 else BOXES[number % len(BOXES)]
        return [
            "/usr/sbin/smtp-source",
            *("-s", str(self.sessions), "-m", str(self.messages // self.processes), "-l", str(self.octets)),
            *(["-d"] if self.stays else []),
            *(["-r", str(self.recipients)] if self.recipients > 1 else []),
            *("-f", SENDER, "-t", f"{target}@{self.domain}", f"127.0.0.1:{port}"),
        ]

    def copies(self) -> dict[str, int]:
        """Return how many messages each mailbox gets."""
        if self.recipients > 1:
            return dict.fromkeys(BOXES[: self.recipients], self.messages)
        counts = dict.fromkeys(BOXES, 0)
        for number in range(self.processes):
            counts[BOXES[number % len(BOXES)]] += self.messages // self.processes
        return {box: count for box, count in counts.items() if count}


def send(work: Work, port: int) -> float:
    """Do the work; return when the last message had been accepted."""
    running = [subprocess.Popen(work.command(number, port)) for number in range(work.processes)]
    failed = [process.args for process in running if process.wait(600)]
    if failed:
        raise RuntimeError(f"smtp-source failed: {failed[0]!r}")
    return time.perf_counter()


# ---------------------------------------------------------------- who gets it


class Mailboxes:
    """Counts the messages in a peer's maildirs."""

    def __init__(self, peer: Peer) -> None:
        assert peer.maildirs is not None
        self._root = peer.maildirs

    def count(self, box: str) -> int:
        """Return how many a mailbox has."""
        found = 0
        for folder in ("new", "cur"):
            with contextlib.suppress(FileNotFoundError):
                found += len(os.listdir(self._root / box / folder))  # noqa: PTH208 -- the names alone
        return found

    def wait(self, expected: dict[str, int], patience: float = 300.0) -> float:
        """Wait until each mailbox has so many, and all that is written is on stable storage; return when that was."""
        until = time.perf_counter() + patience
        for box, count in expected.items():
            while (found := self.count(box)) < count:
                if time.perf_counter() > until:
                    raise RuntimeError(f"{box} has {found} of {count} messages after {patience:.0f} s")
                time.sleep(0.01)
        os.sync()
        return time.perf_counter()


@contextlib.contextmanager
def sink(port: int, messages: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run smtp-sink, which ends when it has got so many messages."""
    command = ["/usr/sbin/smtp-sink", "-u", "nobody", "-M", str(messages), f"127.0.0.1:{port}", "1000"]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


# ---------------------------------------------------------------- how long a message takes


@dataclass
class Probe:
    """Sends a message of 2 KB every now and then, on a connection each, while others load the server."""

    port: int
    milliseconds: list[float] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send while the body of the ``with`` lasts."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _run(self) -> None:
        while not self._ended.wait(PROBED_EVERY):
            self.milliseconds.append(self._send() * 1000)

    def _send(self) -> float:
        """Return the seconds from MAIL to the 250 for the message."""
        with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
            file = connection.makefile("rb")
            self._ask(connection, file.readline, b"")
            self._ask(connection, file.readline, b"HELO probe.example\r\n")
            began = time.perf_counter()
            body = b"Subject: probe\r\n\r\n" + b"x" * 70 + b"\r\n"
            for words in (
                b"MAIL FROM:<%b>\r\n" % SENDER.encode(),
                b"RCPT TO:<%b@%b>\r\n" % (PROBE.encode(), DOMAIN.encode()),
                b"DATA\r\n",
                body * 20 + b".\r\n",
            ):
                self._ask(connection, file.readline, words)
            took = time.perf_counter() - began
            self._ask(connection, file.readline, b"QUIT\r\n")
            return took

    @staticmethod
    def _ask(connection: socket.socket, readline: object, words: bytes) -> None:
        assert callable(readline)
        if words:
            connection.sendall(words)
        while True:
            line: bytes = readline()
            if line[:1] not in (b"2", b"3"):
                raise RuntimeError(f"The probe said {words[:40]!r} and heard {line!r}")
            if line[3:4] == b" ":
                return


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
