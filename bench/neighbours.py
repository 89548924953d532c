"""
What others notice of a session that works on thousands of messages: the time of a NOOP of theirs, meanwhile.

Run ``python -m bench.neighbours [--messages 10000] [--workers 0]`` as root.  There is no peer.  Each command is given
once; another session says NOOP every 5 ms until it is answered.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

from bench.corpus import make_maildir
from bench.finding import warm
from bench.imap import METADATA, Connection
from bench.peers import DOMAIN, Peer, mailfw

PAUSE = 0.005
COMMANDS = (
    METADATA,
    "FETCH 1:* BODY.PEEK[]",
    "UID FETCH 1:* (FLAGS)",
    "SEARCH TEXT garden",
    "SEARCH BODY letter-that-is-nowhere",
    "SEARCH FROM sender42@",
    "SORT (SUBJECT) UTF-8 ALL",
    "SORT (FROM REVERSE SIZE) UTF-8 ALL",
    "THREAD REFERENCES UTF-8 ALL",
    "THREAD REFS UTF-8 ALL",
    "STORE 1:* +FLAGS.SILENT (\\Flagged)",
    "COPY 1:1000 Copies",
)


def ask(port: int, is_over: Event, waits: Queue[list[float]]) -> None:
    """Say NOOP again and again, and hand over the seconds of each, in order of their length."""
    connection, heard = Connection(port, "user1"), []
    while not is_over.wait(PAUSE):
        began = time.perf_counter()
        connection.command("NOOP")
        heard.append(time.perf_counter() - began)
    waits.put(sorted(heard))
    connection.close()


def during(port: int, work: Callable[[], object]) -> tuple[float, list[float]]:
    """Return the seconds that some work takes, and how long each NOOP of a neighbour took meanwhile."""
    is_over: Event = multiprocessing.Event()
    waits: Queue[list[float]] = multiprocessing.Queue()
    neighbour = multiprocessing.Process(target=ask, args=(port, is_over, waits))  # a thread would wait for ours
    neighbour.start()
    time.sleep(0.5)
    began = time.perf_counter()
    try:
        work()
        seconds = time.perf_counter() - began
    finally:
        is_over.set()
    heard: list[float] = waits.get()
    neighbour.join()
    return seconds, heard


def run(peer: Peer) -> None:
    """Give each command, and print what came of it."""
    connection = Connection(peer.ports["imap"])
    with contextlib.suppress(RuntimeError):
        connection.command("CREATE Copies")
    print("| command | takes (s) | NOOP p50 (ms) | p99 | longest |\n|---|--:|--:|--:|--:|")
    connection.command("SELECT INBOX")
    works: dict[str, Callable[[], object]] = {each: partial(connection.command, each) for each in COMMANDS}
    works = {"nothing": partial(time.sleep, 1)} | works
    for name, work in works.items():
        seconds, waits = during(peer.ports["imap"], work)
        figures = [waits[int(len(waits) * share)] * 1000 for share in (0.5, 0.99)] if waits else [0.0, 0.0]
        print(f"| {name} | {seconds:.2f} | {figures[0]:.1f} | {figures[1]:.1f} | {max(waits, default=0) * 1000:.0f} |")
    connection.close()


def main() -> None:
    """Make a maildir, have it indexed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=0)
    chosen = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    home.chmod(0o755)
    try:
        target = home / "mailfw" / "data" / "mail" / DOMAIN
        target.mkdir(parents=True)
        make_maildir(target / "user0", chosen.messages)
        with mailfw(home / "mailfw", "imap.search_time=600.0", workers=chosen.workers) as peer:
            warm(peer, 600)
            run(peer)
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
