"""
The spool: how many messages it takes, and what a million that wait cost.

::

    python -m bench.spool puts [CALLERS ...]
    python -m bench.spool backlog [MESSAGES]

Everything lies in a directory that is removed afterwards; ``--at DIRECTORY`` says on which disk.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, gatherResults

from mailfw.disk import Disk
from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope
from mailfw.mail.queued import Leg, Pending, Queued
from mailfw.mail.route import Route
from mailfw.spools.log import LogSpool
from mailfw.spools.log.tables import Stored, Tables

T = TypeVar("T")

NOW = 1_800_000_000.0
#: What most messages in a queue are made of.
OCTETS = b"Subject: Lunch\r\n\r\n" + b"Shall we meet at the usual place?\r\n" * 56
#: Destinations with a million messages, or nearly.
BUSY = ("a.example", "b.example", "c.example")


def message(name: str, destination: str, due: float) -> Queued:
    """Return a message for one recipient."""
    recipient = Address("bob", destination)
    envelope = Envelope(name, Address("ann", "example.org"), (recipient,))
    return Queued(envelope, NOW, (Leg(Route("relay", destination), (Pending(recipient, recipient),), due),), size=2000)


def make_spool(directory: Path) -> LogSpool:
    """Return the spool as a server has it."""
    return LogSpool(directory=directory, disk=Disk(reactor), clock=reactor)


# ---------------------------------------------------------------- puts


async def puts(directory: Path, callers: int, seconds: float = 5.0) -> None:
    """Let callers put messages, each the next one when the last is on stable storage, and take them away again."""
    spool = make_spool(directory)
    await spool.open()
    began, used = time.perf_counter(), time.process_time()
    numbers = [0] * callers

    async def call(caller: int) -> None:
        while time.perf_counter() - began < seconds:
            name = f"{caller:x}-{numbers[caller]:x}"
            draft = await spool.open_draft(len(OCTETS))
            await draft.write(OCTETS)
            await spool.put(message(name, "example.net", NOW), draft)
            await draft.close()
            Deferred.fromCoroutine(spool.remove(name))
            numbers[caller] += 1

    await gatherResults([Deferred.fromCoroutine(call(caller)) for caller in range(callers)])
    took, cpu, done = time.perf_counter() - began, time.process_time() - used, sum(numbers)
    await spool.close()
    print(f"{callers:4} callers: {done / took:8.0f} messages/s put and removed, {cpu / done * 1000:.3f} ms CPU each")


# ---------------------------------------------------------------- a million


def fill(directory: Path, count: int) -> None:
    """Write the backlog as it is when so many messages wait, nine of ten for `BUSY`."""
    directory.mkdir()
    tables = Tables(Disk(None), directory / "backlog.sqlite")
    for first in range(0, count, 20_000):
        tables.change(lambda numbers=range(first, first + 20_000): add(tables, numbers))  # type: ignore[misc]
    tables.close()


def add(tables: Tables, numbers: range) -> None:
    """Keep some messages."""
    for number in numbers:
        waits = number % 10
        destination = BUSY[number % len(BUSY)] if waits else f"{number // 10 % 10_000}.example"
        due = NOW - number % 1000 if waits else NOW + number / 1000
        tables.add(message(f"{number:07}", destination, due), Stored(OCTETS), is_out=False)


async def timed(what: str, work: Callable[[], Awaitable[T]], times: int = 1) -> T:
    """Do something and say how long it took."""
    began = time.perf_counter()
    for _ in range(times):
        result = await work()
    print(f"{what:64} {(time.perf_counter() - began) / times * 1000:10.2f} ms")
    return result


async def backlog(directory: Path, count: int) -> None:
    """Look at a full backlog as a new process does."""
    before = memory()
    spool = make_spool(directory)
    await timed(f"open with {count} messages", spool.open)
    print(f"{'memory taken by it':64} {memory() - before:10.1f} MiB")
    passed = [f"relay:{name}" for name in BUSY]
    late = NOW + count
    await timed("next_due, passing over nine of ten", lambda: spool.next_due(passed), 100)
    await timed("take 100, passing over nine of ten", lambda: spool.take(late, 100, 10, passed), 20)
    await timed("take 100, passing over nothing", lambda: spool.take(late, 100, 50, ()), 20)
    await timed("next_due, passing over nothing", lambda: spool.next_due(()), 100)
    taken = await spool.take(late, 1000, 1000, passed)
    later = [replace(one, legs=tuple(replace(leg, due=late) for leg in one.legs)) for one in taken]

    async def give_back() -> None:
        await gatherResults([Deferred.fromCoroutine(spool.give_back(one)) for one in later])

    await timed(f"give back {len(later)} at once", give_back)
    await timed("scan 100 in the middle", lambda: spool.scan(f"{count // 2:07}", 100), 20)
    await timed("count", spool.count, 100)
    names = [one.id for one in later]

    async def remove() -> None:
        await gatherResults([Deferred.fromCoroutine(spool.remove(name)) for name in names])

    await timed(f"remove {len(later)} at once", remove)
    print(f"{'memory taken in the end':64} {memory() - before:10.1f} MiB")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'most memory the process ever took':64} {most:10.1f} MiB")
    await timed("close", spool.close)


def memory() -> float:
    """Return the memory this process takes, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


def main(arguments: Sequence[str]) -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("puts", "backlog", "look"))
    parser.add_argument("numbers", nargs="*", type=int)
    parser.add_argument("--at", default=None)
    given = parser.parse_args(arguments)
    if given.what == "look":  # in a process of its own, which has not filled anything
        task.react(lambda _: Deferred.fromCoroutine(backlog(Path(given.at), given.numbers[0])))
    with tempfile.TemporaryDirectory(dir=given.at) as temporary:
        directory = Path(temporary) / "spool"
        if given.what == "puts":
            run(lambda: all_puts(Path(temporary), given.numbers or [1, 20, 200]))
        count = (given.numbers or [1_000_000])[0]
        began = time.perf_counter()
        fill(directory, count)
        size = (directory / "backlog.sqlite").stat().st_size / 1024 / 1024
        print(f"filled with {count} messages in {time.perf_counter() - began:.0f} s, {size:.0f} MiB")
        subprocess.run([sys.executable, "-m", "bench.spool", "look", str(count), "--at", str(directory)], check=True)


async def all_puts(directory: Path, callers: Sequence[int]) -> None:
    """Measure one number of callers after the other."""
    for number in callers:
        await puts(directory / str(number), number)


def run(work: Callable[[], Any]) -> None:
    """Run the reactor until it is done, and end the process."""
    task.react(lambda _: Deferred.fromCoroutine(work()))


if __name__ == "__main__":
    main(sys.argv[1:])
