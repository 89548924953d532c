"""
How soon a client that waits in IDLE hears of mail that another program puts into its maildir; what others feel of it.

``python -m bench.dropped [messages ...]`` prints, for mailboxes of so many messages, the milliseconds from the rename
into ``new/`` to the line ``EXISTS`` (p50 and the most of them), and those that a NOOP takes which another client asks
for every 5 ms all the while (p50, p99 and the most): what stops the reactor shows there.
"""

from __future__ import annotations

import imaplib
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from mailfw.mail.mailbox import INBOX
from tests.interop.server import DOMAIN, PASSWORD, RunningServer

#: Messages that are dropped one by one, and then at once.
DROPPED, BURST = 60, 500


def fill(root: Path, messages: int) -> None:
    """Write a maildir that nobody has looked at yet."""
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for number in range(messages):
        octets = f"From: a@b.example\nSubject: number {number}\n\nbody {number}\n".encode()
        path = root / "cur" / f"{1_600_000_000 + number}.M{number}P1.host,S={len(octets)}:2,S"
        path.write_bytes(octets)


def connect(port: int) -> imaplib.IMAP4:
    """Return a connection with the inbox selected."""
    client = imaplib.IMAP4("127.0.0.1", port, 300)
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.login(f"ann@{DOMAIN}", PASSWORD)
    client.select(INBOX[0])
    return client


def drop(root: Path, name: str) -> float:
    """Deliver a message; return when."""
    (root / "tmp" / name).write_bytes(b"From: c@d.example\nSubject: dropped\n\nhello\n" * 3)
    when = time.monotonic()
    (root / "tmp" / name).rename(root / "new" / name)
    return when


def wait(client: imaplib.IMAP4, count: int) -> float:
    """Wait until the client hears that there are so many messages; return when."""
    while True:
        words = client.readline().split()
        if words[2:3] == [b"EXISTS"] and int(words[1]) >= count:
            return time.monotonic()


def heartbeat(port: int, beats: list[float], over: threading.Event) -> None:
    """Ask for NOOP every 5 ms."""
    client = imaplib.IMAP4("127.0.0.1", port, 60)
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while not over.is_set():
        began = time.monotonic()
        client.noop()
        beats.append((time.monotonic() - began) * 1000)
        time.sleep(0.005)
    client.logout()


def measure(messages: int) -> None:
    """Measure one mailbox."""
    server = RunningServer("ann")
    try:
        root = server.home / "data/mail" / DOMAIN / "ann"
        fill(root, messages)
        port, began = server.ports["imap"], time.monotonic()
        client = connect(port)
        print(f"{messages} messages: seen for the first time in {time.monotonic() - began:.1f} s", flush=True)
        time.sleep(2)
        beats: list[float] = []
        over = threading.Event()
        other = threading.Thread(target=heartbeat, args=(port, beats, over))
        other.start()
        client.send(b"x IDLE\r\n")
        client.readline()
        notices = []
        for number in range(DROPPED):
            when = drop(root, f"1700000000.M{number}P{os.getpid()}.dropped")
            notices.append((wait(client, messages + number + 1) - when) * 1000)
            time.sleep(0.05 + 0.037 * (number % 11))
        when = drop(root, "1700000001.M1P1.burst")
        for number in range(1, BURST):
            drop(root, f"1700000001.M1P1Q{number}.burst")
        burst = wait(client, messages + DROPPED + BURST) - when
        over.set()
        other.join()
        beats.sort()
        print(
            f"  heard after {statistics.median(notices):.0f} ms, at most {max(notices):.0f} ms; "
            f"of {BURST} at once after {burst:.2f} s; NOOP meanwhile {statistics.median(beats):.1f} ms, "
            f"p99 {beats[int(len(beats) * 0.99)]:.1f} ms, at most {beats[-1]:.1f} ms",
            flush=True,
        )
    finally:
        server.remove()


if __name__ == "__main__":
    subprocess.run(["sync"], check=False)
    for given in sys.argv[1:] or ["500", "50000"]:
        measure(int(given))
