"""
One process beside two workers, where the processor is the limit: FETCH, and SMTP with policies.

Run ``python -m bench.workers [--rounds 3]``, with Debian's postfix installed for smtp-source.  The clients take their
share of the same cores, so on a machine of two cores no ratio can be two.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path

from bench.imap import Connection
from bench.load import BOXES, Mailboxes, Work, send
from bench.measure import Results
from bench.peers import Peer, mailfw
from bench.smtp import POLICIES

SESSIONS = 4
MESSAGES = 500
METADATA = "FETCH 1:* (FLAGS UID ENVELOPE BODYSTRUCTURE)"
BODIES = "FETCH 1:* (BODY.PEEK[])"
SMTP = Work("SMTP with policies, 20 sessions", 2000, 20, 1, stays=True)


def fetch(port: int, user: str, command: str, times: int) -> float:
    """Have some sessions ask the same at once; return messages a second."""

    def ask() -> None:
        connection = Connection(port, user)
        connection.command("SELECT INBOX")
        ready.wait()
        for _ in range(times):
            connection.command(command)
        connection.socket.close()

    ready = threading.Barrier(SESSIONS + 1)
    threads = [threading.Thread(target=ask) for _ in range(SESSIONS)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return SESSIONS * times * MESSAGES / (time.perf_counter() - began)


def fill(peer: Peer, user: str) -> None:
    """Put messages into a mailbox."""
    connection = Connection(peer.ports["imap"], user)
    text = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: x\r\n\r\n" + b"line of text\r\n" * 150
    for _ in range(MESSAGES):
        tag = connection.send(f"APPEND INBOX {{{len(text)}+}}", text + b"\r\n")
        connection.finish(tag)
    connection.socket.close()


def run(results: Results, peer: Peer, name: str, user: str) -> None:
    """Measure everything once."""
    for what, command, times in (("FETCH of metadata", METADATA, 6), ("FETCH of bodies", BODIES, 4)):
        used = peer.cpu_seconds()
        results.note(what, name, fetch(peer.ports["imap"], user, command, times), "messages/s")
        used = (peer.cpu_seconds() - used) / (SESSIONS * times * MESSAGES) * 1000
        results.note(f"{what}: CPU", name, used, "s/1,000 messages", "less")
    used, began = peer.cpu_seconds(), time.perf_counter()
    mailboxes = Mailboxes(peer)
    expected = {box: mailboxes.count(box) + count for box, count in SMTP.copies().items()}
    accepted = send(SMTP, peer.ports["smtp"])
    results.note(SMTP.name, name, SMTP.messages / (accepted - began), "messages/s")
    mailboxes.wait(expected)
    results.note(f"{SMTP.name}: CPU", name, (peer.cpu_seconds() - used) / SMTP.messages * 1000, "s/1,000", "less")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    results, home = Results(), Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    reader = "reader"
    try:
        with (
            mailfw(home / "one", *POLICIES, users=[*BOXES, reader]) as one,
            mailfw(home / "two", *POLICIES, users=[*BOXES, reader], workers=2) as two,
        ):
            for peer in (one, two):
                fill(peer, reader)
            for _ in range(rounds):
                run(results, one, "one process", reader)
                run(results, two, "two workers", reader)
    finally:
        shutil.rmtree(home)
    print(results.table("two workers", "one process"))


if __name__ == "__main__":
    main()
