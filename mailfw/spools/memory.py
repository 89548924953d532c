"""The spool of a server that forgets: for tests, and to try mailfw out."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection

from zope.interface import implementer

from mailfw.interfaces import IContent, IDraft, ISpool
from mailfw.mail.queued import Queued
from mailfw.site import Site
from mailfw.spools.contents import Octets


@implementer(IDraft)
class MemoryDraft:
    """A message that arrives in memory, whatever its size."""

    __slots__ = ("_octets",)

    def __init__(self) -> None:
        self._octets = bytearray()

    @property
    def size(self) -> int:
        """Octets."""
        return len(self._octets)

    async def write(self, octets: bytes) -> None:
        """Append."""
        self._octets += octets

    async def read(self, offset: int, length: int) -> bytes:
        """Return a slice."""
        return bytes(self._octets[offset : offset + length])

    async def close(self) -> None:
        """Forget the message."""
        self._octets = bytearray()


@implementer(ISpool)
class MemorySpool:
    """Keeps messages until the process ends: what it promises, it promises for that long."""

    def __init__(self, *, site: Site | None = None) -> None:
        self._states: dict[str, Queued] = {}
        self._contents: dict[str, bytes] = {}
        self._out: set[str] = set()

    async def open(self) -> None:
        """Let what was out be in again, for tests that start anew on the same spool."""
        self._out.clear()

    async def open_draft(self, size_hint: int) -> IDraft:
        """Return an empty draft."""
        return MemoryDraft()

    async def put(self, queued: Queued, content: IContent) -> None:
        """Keep a message, unless it is here."""
        if queued.id not in self._states:
            octets = await content.read(0, content.size)
            if len(octets) < content.size:
                raise OSError("The message ends too early")
            self._states.setdefault(queued.id, queued)
            self._contents.setdefault(queued.id, octets)
        self._out.add(queued.id)

    async def record(self, queued: Queued) -> None:
        """Remember a state."""
        if queued.id in self._states:
            self._states[queued.id] = queued

    async def give_back(self, queued: Queued) -> None:
        """Remember a state, and let the message wait."""
        await self.record(queued)
        self._out.discard(queued.id)

    async def remove(self, name: str) -> None:
        """Forget a message."""
        self._states.pop(name, None)
        self._contents.pop(name, None)
        self._out.discard(name)

    async def take(self, now: float, limit: int, each: int, passing_over: Collection[str]) -> list[Queued]:
        """Choose among all that are due."""
        taken: list[Queued] = []
        there: Counter[str] = Counter()
        due = [queued for queued in self._waiting() if queued.due is not None and queued.due <= now]
        for queued in sorted(due, key=lambda one: (-one.envelope.priority, one.due, one.id)):
            routes = {str(leg.route) for leg in queued.legs if leg.due <= now}
            passed = not queued.owed and routes.issubset(passing_over)
            if len(taken) < limit and not passed and all(there[route] < each for route in routes):
                there.update(routes)
                taken.append(queued)
        self._out.update(queued.id for queued in taken)
        return taken

    async def next_due(self, passing_over: Collection[str]) -> float | None:
        """Look at every leg."""
        times = [0.0 for queued in self._waiting() if queued.owed]
        times += [leg.due for queued in self._waiting() for leg in queued.legs if str(leg.route) not in passing_over]
        return min(times, default=None)

    def _waiting(self) -> list[Queued]:
        return [queued for name, queued in self._states.items() if name not in self._out and not queued.held]

    async def seize(self, name: str) -> Queued | None:
        """Take one message out."""
        if name in self._out or name not in self._states:
            return None
        self._out.add(name)
        return self._states[name]

    async def get(self, name: str) -> Queued | None:
        """Return a state."""
        return self._states.get(name)

    async def content(self, name: str) -> IContent | None:
        """Open a message."""
        octets = self._contents.get(name)
        return None if octets is None else Octets(octets)

    async def scan(self, after: str, limit: int) -> list[Queued]:
        """Return states by id."""
        names = heapq.nsmallest(limit, (name for name in self._states if name > after))
        return [self._states[name] for name in names]

    async def count(self) -> int:
        """Return how many there are."""
        return len(self._states)

    async def close(self) -> None:
        """Do nothing."""
