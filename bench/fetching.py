"""
FETCH with no worker, with one and with two.

Run ``python -m bench.fetching [--rounds 3] [--store maildir|sqlite]``.  The client counts octets and does nothing else,
but it takes its share of the same cores, so on a machine of two no ratio can be two.
"""

from __future__ import annotations

import argparse
import random
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from bench.imap import METADATA, Connection
from bench.measure import Results
from bench.peers import Peer, mailfw

READERS = [f"reader{number}" for number in range(4)]
#: Connections of each reader.
EACH = 2
BODIES = "FETCH 1:* BODY.PEEK[]"
ONE = "UID FETCH {uid} (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)"
ONE_BODY = "UID FETCH {uid} (UID BODY.PEEK[])"
#: Messages of each mailbox, how often all are asked for, and how often one.
MESSAGES, TIMES, SINGLES = 1000, 2, 800
#: What the processes are called, by the number of workers.
NAMES = {0: "one process", 1: "one worker", 2: "two workers"}


def message(number: int, chance: random.Random) -> bytes:
    """Make a plain message of 4 to 8 KB."""
    new = EmailMessage(policy=SMTP)
    new["From"] = f"Sender {number % 97} <sender{number % 97}@peer.example>"
    new["To"] = "Reader <reader@bench.example>"
    new["Subject"] = f"Message {number:06}"
    new["Date"] = "Mon, 01 Jan 2024 10:00:00 +0000"
    new["Message-ID"] = f"<{number:06}@peer.example>"
    new.set_content("A line of a message that somebody wrote to somebody else.\n" * chance.randrange(64, 128))
    return new.as_bytes()


def make_maildir(root: Path) -> None:
    """Fill a maildir with seen messages."""
    chance = random.Random(1)
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)
    for number in range(MESSAGES):
        octets = message(number, chance)
        size = len(octets)
        (root / "cur" / f"{1_700_000_000 + number}.M{number}P1.peer,S={size},W={size}:2,S").write_bytes(octets)


class Client:
    """Some connections that ask again and again, each for the next thing when it has the answer to the last."""

    def __init__(self, port: int) -> None:
        self._connections: list[Connection] = []
        for reader in READERS * EACH:
            connection = Connection(port, reader)
            for _ in range(2):  # at the second time nothing is \Recent, so that all get the same answers
                connection.command("SELECT INBOX")
            self._connections.append(connection)
            time.sleep(0.05)  # so that workers hear of each other's connections

    def ask(self, commands: Sequence[str]) -> float:
        """Have each connection give all the commands; return the seconds that took."""
        sizes = {command: self._size(command) for command in dict.fromkeys(commands)}
        for connection in self._connections[1:]:  # nothing is measured cold
            connection.command(commands[0])
        return self._run([(_asking(command), sizes[command]) for command in commands])

    def _size(self, command: str) -> int:
        """Return the octets of an answer, which is the same each time."""
        sock = self._connections[0].socket
        sock.sendall(_asking(command))
        size, last = 0, b""
        while not (last.endswith(b"\r\n") and b"\nX OK" in b"\n" + last):
            octets = sock.recv(1 << 20)
            size += len(octets)
            last = (last + octets)[-400:]
        return size

    def _run(self, asked: Sequence[tuple[bytes, int]]) -> float:
        selector = selectors.DefaultSelector()
        buffer = bytearray(1 << 20)
        due: dict[socket.socket, tuple[int, int]] = {}
        began = time.perf_counter()
        for connection in self._connections:
            sock = connection.socket
            selector.register(sock, selectors.EVENT_READ)
            due[sock] = 0, asked[0][1]
            sock.sendall(asked[0][0])
        while due:
            for key, _ in selector.select():
                sock = key.fileobj  # type: ignore[assignment] # we have registered sockets alone
                place, left = due[sock]
                left -= sock.recv_into(buffer)
                if left < 0:
                    raise RuntimeError("an answer is longer than it was")
                if not left:
                    place += 1
                    if place == len(asked):
                        selector.unregister(sock)
                        del due[sock]
                        continue
                    left = asked[place][1]
                    sock.sendall(asked[place][0])
                due[sock] = place, left
        return time.perf_counter() - began

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections:
            connection.close()


def _asking(command: str) -> bytes:
    return b"X " + command.encode() + b"\r\n"


def sockets(pid: int) -> int:
    """Return how many sockets a process has open."""
    return sum(str(each.readlink()).startswith("socket:") for each in Path(f"/proc/{pid}/fd").iterdir())


def spread(peer: Peer) -> Client:
    """Connect so that workers have as many connections as each other; the system wakes whom it likes."""
    workers = peer.processes()[1:]
    for _ in range(10):
        before = [sockets(pid) for pid in workers]
        client = Client(peer.ports["imap"])
        counts = [sockets(pid) - had for pid, had in zip(workers, before, strict=True)]
        if not counts or max(counts) - min(counts) <= 1:
            return client
        client.close()
        time.sleep(0.5)
    raise RuntimeError("one worker always has more connections than another")


def run(results: Results, peer: Peer, name: str) -> None:
    """Measure everything once."""
    client = spread(peer)
    chance = random.Random(5)
    uids = [chance.randrange(1, MESSAGES) for _ in range(SINGLES)]
    works = {
        "FETCH 1:* of full metadata": ([METADATA] * TIMES * 6, MESSAGES),
        "FETCH 1:* BODY.PEEK[], 4 to 8 KB": ([BODIES] * TIMES, MESSAGES),
        "UID FETCH of one message's metadata": ([ONE.format(uid=uid) for uid in uids], 1),
        "UID FETCH of one message's body": ([ONE_BODY.format(uid=uid) for uid in uids[: SINGLES // 2]], 1),
    }
    for what, (commands, messages) in works.items():
        used = peer.cpu_seconds()
        seconds = client.ask(commands)
        total = len(commands) * messages * len(READERS) * EACH
        results.note(what, name, total / seconds, "messages/s")
        results.note(f"{what}: CPU", name, (peer.cpu_seconds() - used) / total * 1000, "s/1,000", "less")
    client.close()


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", default="maildir", choices=["maildir", "sqlite"])
    chosen = parser.parse_args()
    results, home = Results(), Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    home.chmod(0o755)
    try:
        make_maildir(home / "template")
        with ExitStack() as stack:
            peers = []
            for workers, name in NAMES.items():
                server = mailfw(home / name, f'store.plugin="{chosen.store}"', users=READERS, workers=workers)
                peer = stack.enter_context(server)
                peers.append((name, peer))
                if chosen.store == "maildir":
                    assert peer.maildirs is not None
                    peer.maildirs.mkdir(parents=True, exist_ok=True)
                    for reader in READERS:
                        subprocess.run(["cp", "-a", str(home / "template"), str(peer.maildirs / reader)], check=True)
                else:
                    fill(peer)
            for _, peer in peers:
                settle(peer)
            for _ in range(chosen.rounds):
                for name, peer in peers:
                    run(results, peer, name)
    finally:
        shutil.rmtree(home)
    for ours, theirs in (("one worker", "one process"), ("two workers", "one process"), ("two workers", "one worker")):
        print(results.table(ours, theirs), end="\n\n")


def settle(peer: Peer) -> None:
    """Take the mailboxes in, and wait until nothing is done with them in the background any more."""
    Client(peer.ports["imap"]).close()
    for _ in range(60):
        before = peer.cpu_seconds()
        time.sleep(0.5)
        if peer.cpu_seconds() - before < 0.03:
            return


def fill(peer: Peer) -> None:
    """Put the messages into mailboxes by APPEND."""
    for reader in READERS:
        chance = random.Random(1)
        connection = Connection(peer.ports["imap"], reader)
        for number in range(MESSAGES):
            octets = message(number, chance)
            connection.command(f"APPEND INBOX (\\Seen) {{{len(octets)}+}}", octets + b"\r\n")
        connection.close()


if __name__ == "__main__":
    main()
