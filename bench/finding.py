"""
SEARCH, SORT and THREAD beside Dovecot, on copies of the same maildir.

Run ``python -m bench.finding [--rounds 3] [--messages 10000]`` as root, with Debian's dovecot-imapd installed.  First
means: the first of its kind in a session, in a mailbox of which everything is indexed; again is the same command once
more.  With ``--compare`` the answers are compared too, and those that differ are printed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from bench.corpus import make_maildir
from bench.imap import METADATA, Connection
from bench.measure import Results
from bench.peers import DOMAIN, Peer, dovecot, mailfw

COMMANDS = (
    "SEARCH FROM sender42@",
    "SEARCH SUBJECT budget UNSEEN",
    "SEARCH SINCE 1-Jan-2024",
    "SEARCH TEXT letter-that-is-nowhere",
    "SEARCH TEXT garden",
    "SORT (DATE) UTF-8 ALL",
    "SORT (REVERSE DATE) UTF-8 FROM sender42@",
    "SORT (SUBJECT) UTF-8 ALL",
    "SORT (FROM REVERSE SIZE) UTF-8 ALL",
    "THREAD REFERENCES UTF-8 ALL",
    "THREAD REFS UTF-8 ALL",
    "THREAD ORDEREDSUBJECT UTF-8 ALL",
)


def ask(connection: Connection, command: str) -> list[bytes]:
    """Return the untagged lines of the answer."""
    tag = connection.send(command) + b" "
    lines = []
    while not (line := connection.line()).startswith(tag):
        lines.append(line)
    if not line.startswith(tag + b"OK"):
        raise RuntimeError(line)
    return lines


def run(results: Results, peer: Peer) -> dict[str, list[bytes]]:
    """Give all commands twice, each time in a new session; return the answers."""
    answers = {}
    for command in COMMANDS:
        connection = Connection(peer.ports["imap"])
        connection.command("SELECT INBOX")
        for when in ("first", "again"):
            began = time.perf_counter()
            answers[command] = ask(connection, command)
            results.note(f"{command}, {when}", peer.name, (time.perf_counter() - began) * 1000, "ms", "less")
        connection.close()
    return answers


def warm(peer: Peer, patience: float) -> None:
    """Have everything indexed, and wait until all texts are there."""
    connection = Connection(peer.ports["imap"])
    connection.command("SELECT INBOX")
    connection.command(METADATA)
    until = time.monotonic() + patience
    while time.monotonic() < until:
        began = time.perf_counter()
        connection.command("SEARCH TEXT word-that-is-nowhere")
        if time.perf_counter() - began < 0.1:
            break
        time.sleep(1)
    connection.close()


def main() -> None:
    """Interleave the peers, round by round, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--compare", action="store_true")
    chosen = parser.parse_args()
    results = Results()
    home = Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    home.chmod(0o755)
    try:
        make_maildir(home / "template", chosen.messages)
        for target in (home / "mailfw" / "data" / "mail" / DOMAIN, home / "dovecot" / "mail"):
            target.mkdir(parents=True)
            subprocess.run(["cp", "-a", str(home / "template"), str(target / "user0")], check=True)
        with mailfw(home / "mailfw") as ours, dovecot(home / "dovecot") as theirs:
            warm(ours, 120)
            warm(theirs, 5)
            for _ in range(chosen.rounds):
                answers = [run(results, peer) for peer in (theirs, ours)]
            if chosen.compare:
                for command in COMMANDS:
                    here, there = answers[1][command], answers[0][command]
                    if here != there:
                        print(command, "\n ours:", here[:1], "\n theirs:", there[:1])
    finally:
        shutil.rmtree(home)
    print(results.table("mailfw", "Dovecot"))


if __name__ == "__main__":
    main()
