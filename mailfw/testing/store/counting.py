"""What a call costs, counted: numbers that are the same on a slow machine, a busy one and a fast one."""

from __future__ import annotations

import sqlite3
import sys
import threading
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any
from unittest import mock

#: SQLite tells of so many instructions of its virtual machine at once.
STEPS = 10

#: What the kernel has counted for this process, on Linux.
SYSTEM = Path("/proc/self/io")
SYSTEM_COUNTS = ((b"syscr", b"syscw"), (b"rchar", b"wchar"))


@dataclass(frozen=True, slots=True)
class Cost:
    """
    What a call did: functions called (of Python and of C), instructions of SQLite, system calls that read or write and
    the octets these moved, and octets of memory at the same time.
    """

    calls: int
    instructions: int
    transfers: int
    octets: int
    memory: int

    def __and__(self, other: Cost) -> Cost:
        """Return the least of each."""
        return Cost(*map(min, astuple(self), astuple(other)))

    def beyond(self, other: Cost, factor: float, allowance: Cost) -> list[str]:
        """Say what is more than `factor` times that of another, and by more than an allowance."""
        names = [each.name for each in fields(self)]
        rows = zip(names, astuple(self), astuple(other), astuple(allowance), strict=True)
        return [
            f"{name}: {mine:,} where it was {its:,}" for name, mine, its, least in rows if mine > factor * its + least
        ]

    def __str__(self) -> str:
        return ", ".join(f"{each.name} {getattr(self, each.name):,}" for each in fields(self))


class Meter:
    """
    Counts in every thread that begins, and every SQLite connection that is opened, while `installed`.

    Threads of the reactor's pool begin anew; a store's own begin with the store.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._calls = 0
        self._instructions = 0
        self._connect = sqlite3.connect

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Count from here on; to be entered between two calls, not during one."""
        self._renew_pool()
        with mock.patch.object(sqlite3, "connect", self._open):
            threading.setprofile(self._note)
            sys.setprofile(self._note)
            try:
                yield
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
                self._renew_pool()

    async def measure(self, ask: Callable[[], Awaitable[object]]) -> Cost:
        """Return what asking costs."""
        before = self._now()
        tracemalloc.start()
        try:
            await ask()
            _, memory = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        after = self._now()
        calls, instructions, transfers, octets = (late - early for early, late in zip(before, after, strict=True))
        return Cost(calls, instructions, transfers, octets, memory)

    def _now(self) -> tuple[int, int, int, int]:
        try:
            told = dict(line.split(b": ") for line in SYSTEM.read_bytes().splitlines())
        except OSError:
            told = {}
        transfers, octets = (int(told.get(a, 0)) + int(told.get(b, 0)) for a, b in SYSTEM_COUNTS)
        return self._calls, self._instructions, transfers, octets

    def _note(self, frame: object, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            self._calls += 1

    def _open(self, *args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = self._connect(*args, **options)
        connection.set_progress_handler(self._step, STEPS)
        return connection

    def _step(self) -> int:
        self._instructions += STEPS
        return 0

    def _renew_pool(self) -> None:
        pool = self._reactor.getThreadPool()
        least, most = pool.min, pool.max
        pool.adjustPoolsize(0, 0)
        pool.adjustPoolsize(least, most)
