"""
Handing mail on: to Postfix's smtp-sink, which takes all and keeps nothing.

Run ``python -m bench.relay [--rounds 3]`` as root with Debian's postfix installed.  It measures the courier by itself,
with connections that are used again and without; `bench.smtp` has the whole way through the queue.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import time
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList

from bench.measure import Results
from bench.peers import DOMAIN
from mailfw.couriers.relay import RelayCourier
from mailfw.couriers.settings import DeliverySettings
from mailfw.interfaces import IDraft
from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope
from mailfw.mail.hop import Hop, TLSDemand, TLSLevel
from mailfw.mail.outcome import Delivered
from mailfw.site import Site
from mailfw.testing.contents import MemoryContent
from tests.running import free_port

SENDER, RECIPIENT = Address("load", "sender.example"), Address("sink", DOMAIN)
HEADER = b"From: load@sender.example\r\nTo: sink@bench.example\r\nSubject: relay\r\n\r\n"
LINE = b"The quick brown fox jumps over the lazy dog, and the dog does not mind at all.\r\n"
SIZES = {"2 KB": 2_000, "1 MB": 1_000_000}
SESSIONS = 20


@contextlib.contextmanager
def sink(*options: str) -> Iterator[int]:
    """Run smtp-sink, and yield its port."""
    port = free_port()
    process = subprocess.Popen(["/usr/sbin/smtp-sink", *options, "-u", "nobody", f"127.0.0.1:{port}", "500"])
    try:
        time.sleep(0.3)
        yield port
    finally:
        process.terminate()
        process.wait()


# ---------------------------------------------------------------- the courier by itself


class _Sink:
    """The hops of every destination: the sink."""

    def __init__(self, port: int) -> None:
        self._hop = Hop("localhost", "127.0.0.1", port, tls=TLSDemand(TLSLevel.NONE))

    async def find(self, destination: str, require_tls: bool, tls_optional: bool) -> Sequence[Hop]:
        return [self._hop]

    def note_tls(self, destination: str, hop: Hop, result: str) -> None:
        pass


async def _no_draft(size_hint: int) -> IDraft:
    raise NotADirectoryError("nothing is converted here")


async def hand_over(port: int, count: int, octets: bytes, messages: int) -> tuple[float, float]:
    """Return messages a second and microseconds of CPU for each, with so many `messages` on one connection."""
    site = Site(f"mail.{DOMAIN}", frozenset(), Path(), reactor)
    hops: Any = _Sink(port)
    courier = RelayCourier(
        site=site, hops=hops, open_draft=_no_draft, delivery=DeliverySettings(connection_messages=messages)
    )
    numbers = list(range(count))

    async def sender() -> None:
        while numbers:
            envelope = Envelope(str(numbers.pop()), SENDER, (RECIPIENT,))
            [outcome] = await courier.deliver(DOMAIN, envelope, MemoryContent(octets), False)
            if not isinstance(outcome, Delivered):
                raise RuntimeError(outcome)

    began, cpu = time.perf_counter(), time.process_time()
    await DeferredList([Deferred.fromCoroutine(sender()) for _ in range(SESSIONS)], fireOnOneErrback=True)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    await courier.close()
    return count / took, cpu / count * 1e6


async def reuse(rounds: int, results: Results) -> None:
    """Compare connections that are used for many messages with one for each."""
    with sink() as port:
        for _ in range(rounds):
            for name, size in SIZES.items():
                octets = HEADER + LINE * (size // len(LINE))
                count = 3000 if size < 100_000 else 100
                for who, messages in (("reused", 200), ("one each", 1)):
                    rate, cpu = await hand_over(port, count, octets, messages)
                    results.note(f"{name}, {SESSIONS} at once", who, rate, "messages/s")
                    results.note(f"{name}, CPU", who, cpu, "µs a message", "less")


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on the reactor, to its end."""
    failures: list[Any] = []
    loop: Any = reactor

    def begin() -> None:
        Deferred.fromCoroutine(work).addErrback(failures.append).addBoth(lambda _: loop.stop())

    loop.callWhenRunning(begin)
    loop.run()
    for failure in failures:
        failure.raiseException()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    results = Results()
    run(reuse(options.rounds, results))
    print(results.table("reused", "one each"))


if __name__ == "__main__":
    main()
