"""
The stores: how many messages a second they keep, each acknowledged when it is on stable storage.

::

    python -m bench.store [--rounds N] [--seconds S] [--sync-delay MS] [--at DIRECTORY] [STORE ...]

So many callers deliver messages of 2 KB through `IMailStore`, each the next one when the last is acknowledged, over 20
mailboxes of 20 accounts, with tokens as a queue has them; then they change flags.  The stores take turns, round by
round.  ``--sync-delay`` adds so many milliseconds to each sync, as a disk has them that does not lie on a cache.
Everything is in a directory that is removed afterwards; ``--at`` says on which disk.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median, quantiles

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, gatherResults

from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import INBOX, SEEN, FlagChange, NewMessage
from mailfw.stores.kept import KeptContent
from mailfw.testing.store.making import Maker, find

STORES = ("memory", "maildir", "sqlite")
CALLERS = (1, 20, 200)
ACCOUNTS = 20
OCTETS = b"From: ann@example.org\r\nSubject: Lunch\r\n\r\n" + b"Shall we meet at the usual place?\r\n" * 56

#: Wraps the calls that sync; what waits in two threads waits at the same time, as on a disk.
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static void late(void) { char *ms = getenv("SYNC_DELAY"); if (ms) usleep(1000 * atoi(ms)); }
#define WRAP(name) int name(int fd) { int (*real)(int) = dlsym(RTLD_NEXT, #name); late(); return real(fd); }
WRAP(fsync)
WRAP(fdatasync)
WRAP(syncfs)
"""


async def inboxes(store: IMailStore) -> list[tuple[str, str]]:
    """Make the accounts; return the inbox of each."""
    found = []
    for number in range(ACCOUNTS):
        name = f"user{number}@example.org"
        await store.open_account(name)
        found.append((name, next(info.id for info in await store.mailboxes(name) if info.path == INBOX)))
    return found


async def measure(callers: int, seconds: float, work: Callable[[int], Awaitable[object]]) -> tuple[float, str]:
    """Let callers work, each at its own number; return how often a second, and latencies and processor time as text."""
    took: list[float] = []
    began, used = time.perf_counter(), time.process_time()

    async def call(caller: int) -> None:
        while (start := time.perf_counter()) - began < seconds:
            await work(caller)
            took.append(time.perf_counter() - start)

    await gatherResults([Deferred.fromCoroutine(call(caller)) for caller in range(callers)])
    elapsed, cpu = time.perf_counter() - began, time.process_time() - used
    p99 = quantiles(took, n=100)[98] if len(took) > 1 else took[0]
    return len(
        took
    ) / elapsed, f"p50 {median(took) * 1000:.1f} p99 {p99 * 1000:.1f} ms, CPU {cpu / len(took) * 1e6:.0f} µs"


async def round_of(spec: str, callers: int, seconds: float, data: Path) -> dict[str, tuple[float, str]]:
    """Measure one store once, from empty."""
    store = Maker(find("store", spec), data, reactor).make_store()
    boxes = await inboxes(store)
    numbers = itertools.count()

    async def deliver(caller: int) -> None:
        name, inbox = boxes[caller % ACCOUNTS]
        await store.append(name, inbox, [NewMessage(KeptContent(OCTETS), token=str(next(numbers)))])

    async def flag(caller: int) -> None:
        name, inbox = boxes[caller % ACCOUNTS]
        change = FlagChange.REMOVE if next(numbers) % 2 else FlagChange.ADD
        await store.alter(name, inbox, [1 + caller // ACCOUNTS], change, frozenset({SEEN}))

    try:
        await measure(callers, 0.3, deliver)  # connections, files and threads are there then
        return {
            "deliveries": await measure(callers, seconds, deliver),
            "flag changes": await measure(callers, seconds / 2, flag),
        }
    finally:
        await store.close()


async def run(stores: Sequence[str], rounds: int, seconds: float, root: Path) -> None:
    """Measure all stores in turn, and print medians."""
    figures: dict[tuple[str, int, str], list[tuple[float, str]]] = {}
    for number, callers, spec in itertools.product(range(rounds), CALLERS, stores):
        data = root / f"{number}-{callers}-{stores.index(spec)}"
        for what, figure in (await round_of(spec, callers, seconds, data)).items():
            figures.setdefault((what, callers, spec), []).append(figure)
        shutil.rmtree(data)
    print("| work | callers | store | a second (least–most) | of the median round |\n|---|--:|---|--:|---|")
    for (what, callers, spec), found in sorted(figures.items()):
        found.sort()
        middle, text = found[len(found) // 2]
        print(f"| {what} | {callers} | {spec} | {middle:,.0f} ({found[0][0]:,.0f}–{found[-1][0]:,.0f}) | {text} |")


def slowed(milliseconds: int, root: Path) -> dict[str, str]:
    """Return an environment in which syncs take longer.  Needs a C compiler."""
    (root / "shim.c").write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", root / "shim.so", root / "shim.c", "-ldl"], check=True)
    return {**os.environ, "LD_PRELOAD": str(root / "shim.so"), "SYNC_DELAY": str(milliseconds)}


def main(arguments: Sequence[str]) -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="*", default=STORES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--sync-delay", type=int, default=0)
    parser.add_argument("--at", default=None)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=given.at, ignore_cleanup_errors=True) as root:
        if given.sync_delay:
            told = [*given.stores, f"--rounds={given.rounds}", f"--seconds={given.seconds}", f"--at={root}"]
            command = [sys.executable, "-m", "bench.store", *told]
            subprocess.run(command, env=slowed(given.sync_delay, Path(root)), check=True)
            return
        work = run(given.stores, given.rounds, given.seconds, Path(root))
        task.react(lambda _: Deferred.fromCoroutine(work))


if __name__ == "__main__":
    main(sys.argv[1:])
