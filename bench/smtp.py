"""
SMTP beside Postfix: how fast mail is accepted, and how fast it is where it belongs, durably.

::

    python -m bench.smtp [--rounds 3] [--policies] [--work WORDS ...]

As root, with Debian's postfix installed, whose smtp-source and smtp-sink are the load: it has the same cores, so
both servers are measured with the same handicap.  Each piece of work has several smtp-source processes, as one of them
writes to one address; Postfix delivers to maildirs with virtual(8).  ``emptied`` lasts until every copy is in its
maildir, or in smtp-sink, and all that was written is synced.  ``--policies`` switches on the policies that a site is
most likely to have.  The times are those of a single message, sent every now and then while the load is on.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.load import BOXES, PROBE, Mailboxes, Probe, Work, percentile, send, sink
from bench.measure import Results
from bench.peers import Peer, mailfw, postfix
from tests.running import free_port

WORK = [
    Work("2 KB, one a connection, 20 sessions", 2000, 20, 1, stays=False),
    Work("2 KB, many a connection, 20 sessions", 3000, 20, 1),
    Work("2 KB, many a connection, 200 sessions", 3000, 50, 4),
    Work("1 MB, 8 sessions", 240, 8, 1, octets=2**20),
    Work("2 KB to 50 local recipients, 20 sessions", 200, 1, 20, recipients=50),
    Work("relay, 2 KB, 20 sessions", 2000, 20, 1, domain="relay.example"),
]

POLICIES = (
    'policy.0={plugin="clients", refuse=["192.0.2.0/24"]}',
    'policy.1={plugin="senders", refuse=["@spam.example"]}',
    'policy.2={plugin="recipients", refuse=["nobody@bench.example"]}',
    'policy.3={plugin="rate", client_messages=10000000, client_recipients=10000000}',
    'policy.4={plugin="size", octets=50000000}',
)


def run(results: Results, peer: Peer, work: Work, sink_port: int) -> None:
    """Do a piece of work once and note what it took."""
    cpu, probe = peer.cpu_seconds(), Probe(peer.ports["smtp"])
    if work.domain == "relay.example":
        with sink(sink_port, work.messages) as receiving, probe.running():
            began = time.perf_counter()
            accepted = send(work, peer.ports["smtp"])
            receiving.wait(600)
            emptied = time.perf_counter()
    else:
        mailboxes = Mailboxes(peer)
        expected = {box: mailboxes.count(box) + count for box, count in work.copies().items()}
        with probe.running():
            began = time.perf_counter()
            accepted = send(work, peer.ports["smtp"])
        emptied = mailboxes.wait(expected)
    results.note(f"{work.name}: accepted", peer.name, work.messages / (accepted - began), "messages/s")
    results.note(f"{work.name}: emptied", peer.name, work.messages / (emptied - began), "messages/s")
    sent = work.messages + len(probe.milliseconds)
    used = (peer.cpu_seconds() - cpu) / sent * 1000
    results.note(f"{work.name}: CPU", peer.name, used, "s/1,000 messages", "less")
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        if probe.milliseconds:
            results.note(f"{work.name}: {name}", peer.name, percentile(probe.milliseconds, share), "ms", "less")


def measure(chosen: Sequence[Work], rounds: int, settings: Sequence[str]) -> Results:
    """Interleave the peers, round by round, and piece by piece."""
    results, sink_port = Results(), free_port()
    home = Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    home.chmod(0o755)
    boxes = [*BOXES, PROBE]
    relay = (f'relay="smtp://127.0.0.1:{sink_port}"', 'trust.relay=["127.0.0.0/8"]')
    try:
        with (
            mailfw(home / "mailfw", *relay, *settings, users=boxes) as ours,
            postfix(home / "postfix", f"relayhost = [127.0.0.1]:{sink_port}\n", users=boxes) as theirs,
        ):
            for turn in range(rounds):
                for work in chosen:
                    for peer in (theirs, ours) if turn % 2 else (ours, theirs):
                        run(results, peer, work, sink_port)
    finally:
        shutil.rmtree(home)
    return results


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--policies", action="store_true", help="with policies")
    parser.add_argument("--work", nargs="*", default=[""], help="what has one of these words in its name")
    asked = parser.parse_args()
    chosen = [work for work in WORK if any(word in work.name for word in asked.work)]
    print(measure(chosen, asked.rounds, POLICIES if asked.policies else ()).table("mailfw", "Postfix"))


if __name__ == "__main__":
    main()
