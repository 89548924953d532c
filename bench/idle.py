"""
What an idle IMAP connection costs beside Dovecot: memory of all processes, shared pages counted once.

Run ``python -m bench.idle [--connections 1000]`` as root, with Debian's dovecot-imapd installed.  Each account is
opened once before, so that what is counted is the connections alone.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from bench.imap import Connection
from bench.measure import Results
from bench.peers import Peer, dovecot, mailfw

ACCOUNTS = 10


def watch(peer: Peer, connections: int) -> list[Connection]:
    """Open connections that sit in IDLE."""
    watching = []
    for number in range(connections):
        session = Connection(peer.ports["imap"], f"user{number % ACCOUNTS}")
        session.command("SELECT INBOX")
        session.send("IDLE")
        session.line()
        watching.append(session)
    return watching


def run(results: Results, peer: Peer, connections: int) -> None:
    """Note the memory that grows with the connections, and how long it took to open them."""
    first = watch(peer, ACCOUNTS)
    before, began = peer.memory_kilobytes(), time.perf_counter()
    watching = watch(peer, connections)
    results.note("connect, LOGIN, SELECT, IDLE", peer.name, connections / (time.perf_counter() - began), "a second")
    time.sleep(1)
    grown = (peer.memory_kilobytes() - before) / connections
    results.note(f"memory of each of {connections} idle connections", peer.name, grown, "KB", "less")
    for session in first + watching:
        session.close()


def main() -> None:
    """Measure one peer after the other and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=1000)
    chosen = parser.parse_args()
    results = Results()
    home = Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    home.chmod(0o755)
    try:
        with mailfw(home / "mailfw") as ours:
            run(results, ours, chosen.connections)
        with dovecot(home / "dovecot") as theirs:
            run(results, theirs, chosen.connections)
    finally:
        shutil.rmtree(home)
    print(results.table("mailfw", "Dovecot"))


if __name__ == "__main__":
    main()
