"""
Counts that a policy keeps and all workers share.

While more than half of what somebody may have is left, a worker counts by itself, up to its share of a sixteenth, and
tells the keeper a moment later; the keeper tells all of whom less than half is left, and for these every event is asked
for.  So nobody waits for most events, and a limit is passed by an eighth at most, where all of it comes at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from mailfw.allowance import Allowance
from mailfw.cluster.procedures import ConnectionToKeeperLost
from mailfw.optional import ICount, ITally

log = Logger()

#: Seconds after which the keeper hears what a worker has counted.
MOMENT = 0.05
#: Names of which a worker remembers that each event has to be asked for; beyond that it is told again.
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Counted:
    """Which count: of the policy of this name the one with this number, and what it allows."""

    policy: str
    number: int
    limit: int
    period: float


class Ledger:
    """The keeper's part: every count as it is."""

    def __init__(self, clock: Callable[[], float], tell_others: Callable[..., None]) -> None:
        self._clock = clock
        self._tell_others = tell_others
        self._allowances: dict[Counted, Allowance] = {}

    def __len__(self) -> int:
        return len(self._allowances)

    def _of(self, counted: Counted) -> Allowance:
        found = self._allowances.get(counted)
        if found is None:
            for each in [each for each, allowance in self._allowances.items() if allowance.is_whole]:
                del self._allowances[each]  # of a configuration that was, perhaps
            found = self._allowances[counted] = Allowance(counted.limit, counted.period, self._clock)
        return found

    def take(self, member: object, counted: Counted, name: str) -> tuple[float, bool]:
        """Count one event, or return in how many seconds one could be; and whether less than half is left."""
        allowance = self._of(counted)
        was_low = allowance.is_low(name)
        wait, is_low = allowance.take(name), allowance.is_low(name)
        if is_low and not was_low:
            self._tell_low(member, counted, [name])
        return wait, is_low

    def charge(self, member: object, counted: Counted, events: Mapping[str, int]) -> list[str]:
        """Count events that a worker has counted, and return of whom less than half is left."""
        allowance = self._of(counted)
        before = {name for name in events if allowance.is_low(name)}
        for name, count in events.items():
            allowance.charge(name, count)
        lows = [name for name in events if allowance.is_low(name)]
        if fresh := [name for name in lows if name not in before]:
            self._tell_low(member, counted, fresh)
        return lows

    def _tell_low(self, member: object, counted: Counted, names: list[str]) -> None:
        self._tell_others(member, "low", counted.policy, counted.number, names)

    def join(self, tell: Callable[..., None]) -> None:
        """Tell a new worker of whom less than half is left."""
        for counted, allowance in self._allowances.items():
            if names := allowance.lows():
                tell("low", counted.policy, counted.number, names)


class Shares:
    """A worker's part; `hear_low` listens to the keeper's news, `workers` is how many there are."""

    def __init__(self, asking: Any, workers: int, clock: Any) -> None:
        self._asking = asking
        self._workers = workers
        self._clock = clock
        self._counts: dict[tuple[str, int], SharedCount] = {}
        self._early: dict[tuple[str, int], list[str]] = {}

    def tally(self, policy: str) -> ITally:
        """Return what a policy makes its counts with."""
        tally: ITally = SharedTally(partial(self._count, policy))
        return tally

    def _count(self, policy: str, number: int, limit: int, period: float) -> SharedCount:
        count = SharedCount(self._asking, Counted(policy, number, limit, period), self._workers, self._clock)
        self._counts[policy, number] = count
        count.hear_low(self._early.pop((policy, number), []))
        return count

    def hear_low(self, policy: str, number: int, names: list[str]) -> None:
        """Ask for every event of these from now on."""
        count = self._counts.get((policy, number))
        if count is None:
            self._early.setdefault((policy, number), []).extend(names)
        else:
            count.hear_low(names)


@implementer(ITally)
class SharedTally:
    """Makes the counts of one policy."""

    def __init__(self, make: Callable[[int, int, float], SharedCount]) -> None:
        self._make = make
        self._number = 0

    def allow(self, limit: int, period: float) -> ICount:
        """Return a new count."""
        self._number += 1
        count: ICount = self._make(self._number, limit, period)
        return count


@implementer(ICount)
class SharedCount:
    """One count, as a worker has it."""

    def __init__(self, asking: Any, counted: Counted, workers: int, clock: Any) -> None:
        self._asking = asking
        self._counted = counted
        self._clock = clock
        # Events of one name that the keeper has not confirmed.  When others begin to be asked for we may have had so
        # many confirmed a moment ago, and as many again by the time we hear of it: with all other workers, an eighth.
        self._most = counted.limit // 16 // workers
        self._ahead: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()
        self._lows: dict[str, None] = {}
        self._is_telling = False

    async def take(self, name: str) -> float:
        """Count one event, or return in how many seconds one could be."""
        if not self._counted.limit:
            return 0.0
        if name in self._lows or self._ahead[name] >= self._most:
            return await self._ask(name)
        self._ahead[name] += 1
        self._untold[name] += 1
        if not self._is_telling:
            self._is_telling = True
            self._clock.callLater(MOMENT, self._tell)
        return 0.0

    async def _ask(self, name: str) -> float:
        wait: float
        wait, is_low = await self._asking.call("take_allowance", self._counted, name)
        self._note(name, is_low)
        return wait

    def hear_low(self, names: list[str]) -> None:
        """Ask for every event of these from now on."""
        for name in names:
            self._note(name, True)

    def _note(self, name: str, is_low: bool) -> None:
        self._lows.pop(name, None)
        if is_low:
            self._lows[name] = None
            if len(self._lows) > REMEMBERED:
                del self._lows[next(iter(self._lows))]

    def _tell(self) -> None:
        events, self._untold = self._untold, Counter()
        Deferred.fromCoroutine(self._charge(events)).addErrback(self._failed)

    async def _charge(self, events: Counter[str]) -> None:
        """Have the keeper count; until it has, these are as many fewer that may be counted here."""
        lows: list[str] = await self._asking.call("charge", self._counted, events)
        self.hear_low(lows)
        self._ahead -= events  # keeps what is above 0 alone
        if self._untold:
            self._clock.callLater(MOMENT, self._tell)
        else:
            self._is_telling = False

    def _failed(self, why: Any) -> None:
        self._is_telling = False
        if why.check(ConnectionToKeeperLost) is None:
            log.failure("The keeper could not count", why)
