"""
SMTP beside Postfix: 2 KB messages delivered to maildirs, durable when 250 is said.

Run ``python -m bench.smtp [--rounds 3]`` as root, with Debian's postfix installed.  The load comes from one
process on the same machine, so both servers are measured with the same handicap.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from pathlib import Path

from bench.measure import Results
from bench.peers import DOMAIN, USERS, Peer, mailfw, postfix

LINE = b"The quick brown fox jumps over the lazy dog, and the dog does not mind at all.\r\n"
BODY = LINE * 24


#: Seconds from the end of the data to 250, one for each message.
Latencies = list[float]


async def _expect(reader: asyncio.StreamReader, code: bytes) -> bytes:
    while True:
        line = await reader.readline()
        if not line.startswith(code):
            raise RuntimeError(f"Expected {code!r}, heard {line!r}")
        if line[3:4] == b" ":
            return line


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, users: int) -> float:
    recipients = [f"{USERS[(number + n) % len(USERS)]}@{DOMAIN}".encode() for n in range(users)]
    writer.write(
        b"MAIL FROM:<load@sender.example>\r\n"
        + b"".join(b"RCPT TO:<%s>\r\n" % recipient for recipient in recipients)
        + b"DATA\r\n"
    )
    for _ in range(users + 1):
        await _expect(reader, b"250")
    await _expect(reader, b"354")
    head = b"From: load@sender.example\r\nTo: %s\r\nSubject: number %d\r\nMessage-ID: <%d.%f@sender.example>\r\n\r\n"
    began = time.perf_counter()
    writer.write(head % (recipients[0], number, number, began) + BODY + b".\r\n")
    await _expect(reader, b"250")
    return time.perf_counter() - began


async def _connection(port: int, numbers: list[int], per_connection: int, users: int, latencies: Latencies) -> None:
    while numbers:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await _expect(reader, b"220")
        writer.write(b"EHLO load.example\r\n")
        await _expect(reader, b"250")
        for _ in range(per_connection):
            if not numbers:
                break
            latencies.append(await _send(reader, writer, numbers.pop(), users))
        writer.write(b"QUIT\r\n")
        await reader.read()
        writer.close()


async def load(
    port: int, messages: int, connections: int, per_connection: int, users: int = 1
) -> tuple[float, Latencies]:
    """Send `messages` over `connections` at once; return the seconds it took and each latency."""
    numbers = list(range(messages))
    latencies: Latencies = []
    began = time.perf_counter()
    await asyncio.gather(*(_connection(port, numbers, per_connection, users, latencies) for _ in range(connections)))
    return time.perf_counter() - began, latencies


WORK = [
    # name, messages, connections, messages a connection, recipients
    ("one at a time, many a connection", 400, 1, 400, 1),
    ("20 connections, many a connection", 2000, 20, 100, 1),
    ("20 connections, one a connection", 1000, 20, 1, 1),
    ("20 recipients each, 5 connections", 100, 5, 20, 20),
]


def _files(peer: Peer) -> int:
    assert peer.maildirs is not None
    return sum(1 for folder in peer.maildirs.glob("*/new") for _ in folder.iterdir()) + sum(
        1 for folder in peer.maildirs.glob("*/cur") for _ in folder.iterdir()
    )


def _emptied(peer: Peer, expected: int, began: float) -> float:
    while _files(peer) < expected and time.perf_counter() - began < 120:
        time.sleep(0.01)
    return time.perf_counter() - began


def run(results: Results, peer: Peer) -> None:
    """Do all the work once and note what it took."""
    for name, messages, connections, per_connection, users in WORK:
        before, cpu = _files(peer), peer.cpu_seconds()
        began = time.perf_counter()
        seconds, latencies = asyncio.run(load(peer.ports["smtp"], messages, connections, per_connection, users))
        whole = _emptied(peer, before + messages * users, began)
        latencies.sort()
        results.note(f"{name}: accepted", peer.name, messages / seconds, "messages/s")
        results.note(f"{name}: in the mailbox", peer.name, messages / whole, "messages/s")
        results.note(f"{name}: p50 latency", peer.name, latencies[len(latencies) // 2] * 1000, "ms", "less")
        results.note(f"{name}: CPU", peer.name, (peer.cpu_seconds() - cpu) / messages * 1e6, "µs/message", "less")


def main() -> None:
    """Interleave the peers, round by round, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds: int = parser.parse_args().rounds
    results = Results()
    home = Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    home.chmod(0o755)
    try:
        with mailfw(home / "mailfw") as ours, postfix(home / "postfix") as theirs:
            for _ in range(rounds):
                for peer in (theirs, ours):
                    run(results, peer)
    finally:
        shutil.rmtree(home)
    print(results.table("mailfw", "Postfix"))


if __name__ == "__main__":
    main()
