"""
SMTP with no worker, with one and with two.

Run ``python -m bench.workers [--rounds 3]``: with the policies that a site is most likely to have, and with one more
that works for a millisecond on each message.  The client pipelines and costs some 0.03 ms a message of the same cores,
so on a machine of two no ratio can be two.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import flood
from bench.load import BOXES, Mailboxes
from bench.measure import Results
from bench.peers import DOMAIN, Peer, mailfw
from bench.smtp import POLICIES

SESSIONS, OCTETS = 20, 2048
THOROUGH = f'policy.{len(POLICIES)}={{plugin="python:bench.thorough.Thorough"}}'
#: What is done, with which policies, and how many messages it takes.
WORK = {"cheap policies": (POLICIES, 3000), "a policy of 1 ms": ((*POLICIES, THOROUGH), 1500)}
#: What the processes are called, by the number of workers.
NAMES = {0: "one process", 1: "one worker", 2: "two workers"}
TARGETS = BOXES[:SESSIONS]


def run(results: Results, work: str, peer: Peer, name: str, messages: int) -> None:
    """Send everything once, and wait until it is in the mailboxes."""
    mailboxes, used = Mailboxes(peer), peer.cpu_seconds()
    expected = {box: mailboxes.count(box) + messages // SESSIONS for box in TARGETS}
    addresses = [f"{box}@{DOMAIN}" for box in TARGETS]
    began = time.perf_counter()
    flood.run(peer.ports["smtp"], messages, SESSIONS, OCTETS, addresses)
    accepted = time.perf_counter()
    emptied = mailboxes.wait(expected)
    results.note(f"{work}: accepted", name, messages / (accepted - began), "messages/s")
    results.note(f"{work}: emptied", name, messages / (emptied - began), "messages/s")
    results.note(f"{work}: CPU", name, (peer.cpu_seconds() - used) / messages * 1000, "s/1,000 messages", "less")


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", nargs="*", default=[""], help="what has one of these words in its name")
    asked = parser.parse_args()
    results, home = Results(), Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    try:
        for number, (work, (policies, messages)) in enumerate(WORK.items()):
            if not any(word in work for word in asked.work):
                continue
            with ExitStack() as running:
                peers = {
                    name: running.enter_context(
                        mailfw(home / f"{number}-{count}", *policies, users=TARGETS, workers=count)
                    )
                    for count, name in NAMES.items()
                }
                for peer in peers.values():
                    run(Results(), work, peer, "", messages // 10)
                for _ in range(asked.rounds):
                    for name, peer in peers.items():
                        run(results, work, peer, name, messages)
    finally:
        shutil.rmtree(home)
    print(results.table(NAMES[2], NAMES[0]))
    print()
    print(results.table(NAMES[2], NAMES[1]))


if __name__ == "__main__":
    main()
