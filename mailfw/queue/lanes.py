"""
Whose turn it is: one lane for each destination, served in rotation, so that none delays another.

A lane begins with few deliveries at a time, gets more while they succeed, and fewer when its destination cannot be
reached.  Where it cannot be reached at all the lane is blocked for a while; then one delivery tries whether it is open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mailfw.mail.outcome import Deferred
from mailfw.mail.route import Route
from mailfw.queue.active import Entry
from mailfw.queue.bounds import Bounds
from mailfw.queue.rates import Limiter
from mailfw.queue.schedule import Schedule
from mailfw.queue.statistics import LaneState

#: Idle lanes whose state is remembered.
_REMEMBERED = 1000


class Lane:
    """The messages that go to one destination."""

    __slots__ = (
        "blocked_until",
        "destination",
        "failures",
        "in_flight",
        "is_full",
        "is_limited",
        "is_listed",
        "last_success",
        "limit",
        "name",
        "not_before",
        "reason",
        "size",
        "waiting",
        "window",
    )

    def __init__(self, name: str, destination: str, window: int, limit: int, is_limited: bool) -> None:
        self.name = name
        self.destination = destination
        self.window = float(min(window, limit))
        self.limit = limit
        self.is_limited = is_limited
        self.waiting: dict[int, deque[Entry]] = {}
        self.size = 0
        self.in_flight = 0
        self.failures = 0
        self.blocked_until = 0.0
        self.not_before = 0.0
        self.last_success = float("-inf")
        self.reason: Deferred | None = None
        self.is_listed = False
        self.is_full = False

    def push(self, entry: Entry) -> None:
        """Let an entry wait behind all of its priority (RFC 6710 section 4.2)."""
        priority = entry.active.queued.envelope.priority
        line = self.waiting.get(priority)
        if line is None:
            line = self.waiting[priority] = deque()
        line.append(entry)
        self.size += 1

    def pop(self) -> Entry:
        """Take the first of the highest priority."""
        priority = max(self.waiting) if len(self.waiting) > 1 else next(iter(self.waiting))
        line = self.waiting[priority]
        entry = line.popleft()
        if not line:
            del self.waiting[priority]
        self.size -= 1
        return entry

    def withdraw(self, entry: Entry) -> None:
        """Take an entry out, wherever it stands."""
        priority = entry.active.queued.envelope.priority
        self.waiting[priority].remove(entry)
        if not self.waiting[priority]:
            del self.waiting[priority]
        self.size -= 1

    @property
    def is_local(self) -> bool:
        """Whether it ends in our own mailboxes."""
        return not self.destination

    @property
    def room(self) -> int:
        """How many more deliveries may begin; one alone where it is not known whether the destination is back."""
        return (1 if self.failures else int(self.window + 0.001)) - self.in_flight  # what sums of fractions lose

    def succeeded(self, now: float, initial: int) -> None:
        """Note that the destination took what was brought."""
        if self.failures:
            self.failures = 0
            self.reason = None
            self.window = float(min(initial, self.limit))
        self.last_success = now
        self.window = min(float(self.limit), self.window + 1.0 / int(self.window))

    def state(self, now: float) -> LaneState:
        """Return what can be shown of it."""
        until = self.blocked_until if self.blocked_until > now else 0.0
        reason = f"{self.reason.reply.code} {self.reason.reply.status} {self.reason.reply.text}" if self.reason else ""
        return LaneState(self.name, self.size, self.in_flight, int(self.window), until, reason)


class Lanes:
    """All lanes; `total` tells how many messages are in memory, in all lanes together."""

    def __init__(
        self,
        bounds: Bounds,
        schedule: Schedule,
        limiter: Limiter,
        chance: Callable[[], float],
        total: Callable[[], int],
    ) -> None:
        self._bounds = bounds
        self._schedule = schedule
        self._limiter = limiter
        self._chance = chance
        self._total = total
        self._lanes: dict[str, Lane] = {}
        self._local: deque[Lane] = deque()
        self._remote: deque[Lane] = deque()
        self._limited: dict[str, Lane] = {}
        self._blocked: dict[str, Lane] = {}
        self._full: dict[str, Lane] = {}
        self.in_flight = 0
        self._in_flight_elsewhere = 0

    # ------------------------------------------------------------ in

    def of(self, route: Route) -> Lane:
        """Return a destination's lane."""
        name = str(route)
        lane = self._lanes.get(name)
        if lane is None:
            if len(self._lanes) >= _REMEMBERED:
                self._forget()
            lane = self._lanes[name] = self._make(name, route.destination)
        return lane

    def _make(self, name: str, destination: str) -> Lane:
        bounds = self._bounds
        if not destination:
            return Lane(name, "", bounds.local_concurrency, bounds.local_concurrency, False)
        limited = self._limiter.is_limited(destination)
        return Lane(name, destination, bounds.concurrency_initial, bounds.concurrency, limited)

    def _forget(self) -> None:
        """Drop lanes with nothing in them and nothing to remember."""
        self._lanes = {
            name: lane
            for name, lane in self._lanes.items()
            if lane.size
            or lane.in_flight
            or lane.failures
            or lane.name in self._limited
            or lane.is_listed
            or lane.is_full
        }

    def is_crowded(self, lane: Lane) -> bool:
        """
        Whether a lane has enough in memory: as much as half of what is left for all.

        So one lane alone can fill a third of the memory, two a half, and there is always room for one more.
        """
        if lane.size < lane.limit or lane.size < (self._bounds.active - self._total()) // 2:
            return False
        lane.is_full = True
        self._full[lane.name] = lane
        return True

    def has_drained(self, lane: Lane) -> bool:
        """Whether a lane that had enough has room again: for half of that."""
        if not lane.is_full or lane.size > max(lane.limit, (self._bounds.active - self._total()) // 2) // 2:
            return False
        lane.is_full = False
        self._full.pop(lane.name, None)
        return True

    def enter(self, entry: Entry) -> None:
        """Let an entry wait for its turn."""
        entry.active.entries.append(entry)
        entry.lane.push(entry)
        self.is_crowded(entry.lane)
        self._list(entry.lane)

    def withdraw(self, entry: Entry) -> None:
        """Take an entry out again that has not begun."""
        entry.active.entries.remove(entry)
        entry.lane.withdraw(entry)

    def _list(self, lane: Lane) -> None:
        if not lane.is_listed:
            lane.is_listed = True
            (self._local if lane.is_local else self._remote).append(lane)

    # ------------------------------------------------------------ out

    @property
    def has_local(self) -> bool:
        """Whether something may wait for a place in our own mailboxes."""
        return bool(self._local)

    @property
    def local_in_flight(self) -> int:
        """How many deliveries into them are under way."""
        return self.in_flight - self._in_flight_elsewhere

    def next(self, now: float, local: bool = True) -> Entry | None:
        """Return what begins now, into our own mailboxes where that may be; its lane counts it until `ended`."""
        for name in [name for name, lane in self._limited.items() if lane.not_before <= now]:
            self._list(self._limited.pop(name))
        lane = self._turn(self._local, now) if local else None
        if lane is None and self._in_flight_elsewhere < self._bounds.deliveries:
            lane = self._turn(self._remote, now)
        if lane is None:
            return None
        entry = lane.pop()
        entry.active.entries.remove(entry)
        entry.active.in_flight += 1
        entry.begun = now
        lane.in_flight += 1
        self.in_flight += 1
        self._in_flight_elsewhere += not lane.is_local
        return entry

    def _turn(self, rotation: deque[Lane], now: float) -> Lane | None:
        """Return the next lane that may begin something; those that may not are listed again when they may."""
        while rotation:
            lane = rotation.popleft()
            lane.is_listed = False
            if not lane.size or lane.room <= 0 or lane.blocked_until > now or lane.not_before > now:
                continue
            wait = self._limiter.wait_for(lane.destination) if lane.is_limited else 0.0
            if wait:
                lane.not_before = now + wait
                self._limited[lane.name] = lane
                continue
            if lane.size > 1:
                self._list(lane)
            return lane
        return None

    def unbegin(self, entry: Entry) -> None:
        """Take back what `next` gave, because nothing was delivered after all."""
        self._leave(entry)

    def ended(self, entry: Entry, unreachable: Deferred | None, achieved: bool, now: float) -> list[Entry]:
        """
        Note what a delivery has shown of its destination, and return the entries that need not be tried now.

        `achieved` says that something was delivered.
        """
        lane = entry.lane
        self._leave(entry)
        if unreachable is not None:
            return self._unreachable(lane, entry, unreachable, now)
        self._blocked.pop(lane.name, None)
        lane.blocked_until = 0.0
        if achieved:
            lane.succeeded(now, self._bounds.concurrency_initial if lane.destination else lane.limit)
        elif lane.failures:
            lane.failures = 0
            lane.reason = None
        return []

    def _leave(self, entry: Entry) -> None:
        lane = entry.lane
        entry.active.in_flight -= 1
        lane.in_flight -= 1
        self.in_flight -= 1
        self._in_flight_elsewhere -= not lane.is_local
        if lane.size:
            self._list(lane)

    def _unreachable(self, lane: Lane, entry: Entry, reason: Deferred, now: float) -> list[Entry]:
        lane.window = max(1.0, lane.window / 2)
        if lane.last_success >= entry.begun and lane.last_success > float("-inf"):
            return []  # others get through: it was one connection too many
        lane.reason = reason
        if lane.blocked_until > now:
            return []  # one that began before the lane was blocked
        lane.failures += 1
        lane.blocked_until = now + self._schedule.pause(lane.failures, self._chance())
        self._blocked[lane.name] = lane
        waiting = [each for line in lane.waiting.values() for each in line]
        for each in waiting:
            each.active.entries.remove(each)
        lane.waiting.clear()
        lane.size = 0
        return waiting

    # ------------------------------------------------------------ what is not wanted now

    def unblock(self, name: str) -> None:
        """Let one delivery try at once whether a destination is back."""
        lane = self._blocked.pop(name, None)
        if lane is not None:
            lane.blocked_until = 0.0

    def blocked(self, now: float) -> set[str]:
        """Return the lanes that are waited for."""
        for name in [name for name, lane in self._blocked.items() if lane.blocked_until <= now]:
            del self._blocked[name]
        return set(self._blocked)

    def full(self) -> set[str]:
        """Return the lanes that have enough in memory."""
        for lane in list(self._full.values()):
            self.has_drained(lane)
        return set(self._full)

    def next_reopening(self) -> float | None:
        """Return when a lane is tried again that is blocked."""
        return min((lane.blocked_until for lane in self._blocked.values()), default=None)

    def next_token(self) -> float | None:
        """Return when a lane at the limit of its rate may begin the next delivery."""
        return min((lane.not_before for lane in self._limited.values()), default=None)

    def states(self, now: float) -> tuple[LaneState, ...]:
        """Return what can be shown of all."""
        return tuple(lane.state(now) for lane in self._lanes.values())
