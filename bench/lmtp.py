"""
LMTP beside Dovecot: how many messages a second are in their mailboxes, durably, when they are acknowledged.

::

    python -m bench.lmtp [--rounds 3] [--messages 1500] [--connections 1 20 100]

As root, with Debian's dovecot-lmtpd.  Each connection sends one message after the other to the next of 20 accounts, 2
to 4 KB each, the envelope of the next behind the data of the last (RFC 2920); both servers answer when a message is in
its mailbox and synced, and both run with their own defaults.  Dovecot keeps maildirs, and sdbox; mailfw maildirs, and
SQLite.  The generator has the same cores.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.measure import Results
from bench.peers import DOMAIN, USERS, Peer, dovecot, mailfw
from tests.running import free_port

SENDER = "load@sender.example"


def bodies() -> list[bytes]:
    """Make messages of 2 to 4 KB, ended as DATA ends."""
    chance, line = random.Random(1), b"The quick brown fox jumps over the lazy dog, and nobody minds it at all.\r\n"
    header = b"From: Ann <ann@sender.example>\r\nTo: you@bench.example\r\nSubject: No. %d\r\nMessage-ID: <%d@x>\r\n\r\n"
    return [header % (n, n) + line * chance.randrange(26, 52) + b".\r\n" for n in range(100)]


class Sender(threading.Thread):
    """One connection: sends `count` messages and remembers how long each took, or why it could not go on."""

    def __init__(self, port: int, number: int, count: int, octets: Sequence[bytes]) -> None:
        super().__init__()
        self._number = number
        self._count = count
        self._octets = octets
        self.milliseconds: list[float] = []
        self.failure: Exception | None = None
        self._wire = socket.create_connection(("127.0.0.1", port), 60)
        self._wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._wire.makefile("rb")
        self._hear(b"220")
        self._wire.sendall(b"LHLO load.example\r\n")
        self._hear(b"250")

    def _hear(self, code: bytes) -> None:
        while True:
            line = self._file.readline()
            if line[:3] != code:
                raise RuntimeError(f"heard {line!r}, not {code!r}")
            if line[3:4] == b" ":
                return

    def run(self) -> None:
        """Send."""
        try:
            self._send()
        except Exception as failure:
            self.failure = failure

    def _send(self) -> None:
        self._wire.sendall(self._envelope(0))
        for number in range(self._count):
            began = time.perf_counter()
            self._hear(b"250")
            self._hear(b"250")
            self._hear(b"354")
            body = self._octets[(self._number + number) % len(self._octets)]
            self._wire.sendall(body + (self._envelope(number + 1) if number + 1 < self._count else b""))
            self._hear(b"250")
            self.milliseconds.append((time.perf_counter() - began) * 1000)

    def _envelope(self, number: int) -> bytes:
        user = USERS[(self._number + number) % len(USERS)]
        return f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{user}@{DOMAIN}>\r\nDATA\r\n".encode()

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self._wire.close()


def run(results: Results, peer: Peer, connections: int, messages: int, octets: Sequence[bytes]) -> None:
    """Send once, and note what it took."""
    cpu = peer.cpu_seconds()
    senders = [Sender(peer.ports["lmtp"], number, messages // connections, octets) for number in range(connections)]
    began = time.perf_counter()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    took = time.perf_counter() - began
    used = peer.cpu_seconds() - cpu
    for sender in senders:
        sender.close()
        if sender.failure is not None:
            raise sender.failure
    count = len(senders) * (messages // connections)
    times = sorted(each for sender in senders for each in sender.milliseconds)
    name = f"{connections} connection{'s' if connections > 1 else ''}"
    results.note(f"{name}: delivered", peer.name, count / took, "messages/s")
    results.note(f"{name}: CPU", peer.name, used / count * 1000, "s/1,000 messages", "less")
    results.note(f"{name}: p99", peer.name, times[int(0.99 * (len(times) - 1))], "ms", "less")


@contextlib.contextmanager
def ours(home: Path, plugin: str, *settings: str) -> Iterator[Peer]:
    """Run mailfw with a store."""
    port = free_port()
    listen = f'listen.lmtp=["tcp:{port}:interface=127.0.0.1"]'
    with mailfw(home, f'store.plugin="{plugin}"', listen, *settings) as peer:
        peer.name, peer.ports["lmtp"] = f"mailfw, {plugin}", port
        yield peer


@contextlib.contextmanager
def theirs(home: Path, location: str) -> Iterator[Peer]:
    """Run Dovecot with a mailbox format."""
    with dovecot(home, location, lmtp=True) as peer:
        peer.name = f"Dovecot, {location}"
        yield peer


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=1500)
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 20, 100])
    parser.add_argument("--bounded", action="store_true", help="mailfw alone: quotas and retention on, against off")
    asked = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    home.chmod(0o755)
    results, octets = Results(), bodies()
    bounds = ("quota.octets=100000000000", "quota.messages=10000000")
    try:
        with contextlib.ExitStack() as stack:
            if asked.bounded:
                pairs = []
                for plugin in ("maildir", "sqlite"):
                    with_bounds = stack.enter_context(ours(home / f"{plugin}-1", plugin, *bounds))
                    without = stack.enter_context(ours(home / f"{plugin}-0", plugin, "store.retention=0"))
                    with_bounds.name, without.name = f"{plugin}, quotas and retention", plugin
                    pairs.append((with_bounds, without))
            else:
                pairs = [
                    (stack.enter_context(ours(home / one, one)), stack.enter_context(theirs(home / other, other)))
                    for one, other in (("maildir", "maildir:~/Maildir"), ("sqlite", "sdbox:~/sdbox"))
                ]
            for turn in range(asked.rounds):
                for connections in asked.connections:
                    messages = max(connections, asked.messages // (3 if connections == 1 else 1))
                    peers = [peer for pair in pairs for peer in pair]
                    for peer in peers if turn % 2 else reversed(peers):
                        run(results, peer, connections, messages, octets)
    finally:
        shutil.rmtree(home)
    for one, other in pairs:
        print(results.table(one.name, other.name), end="\n\n")


if __name__ == "__main__":
    main()
