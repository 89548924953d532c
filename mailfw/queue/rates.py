"""How many messages may go in a time: to a destination, from a sender, from an account."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from mailfw.allowance import Allowance
from mailfw.mail.queued import Leg, Queued

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
# rate = 1*DIGIT "/" ("s" / "m" / "h" / "d"), ours
_RATE = re.compile(r"([0-9]{1,9})/([smhd])")
#: Names whose turn to come again is remembered.
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many messages in a time in seconds; all of them may come at once, and then no more for a while."""

    count: int
    period: float


@dataclass(frozen=True, slots=True)
class Rates:
    """The limits: `destinations` by name, with ``*`` for all others; `sender` and `account` for each of them."""

    destinations: Mapping[str, Rate] = field(default_factory=dict)
    sender: Rate | None = None
    account: Rate | None = None


def read_rate(text: str) -> Rate | None:
    """Read ``100/h`` (``s``, ``m``, ``h`` or ``d``); nothing is no limit.  Raises `ValueError`."""
    if not text:
        return None
    match = _RATE.fullmatch(text.replace(" ", ""))
    if match is None or int(match[1]) == 0:
        raise ValueError(f"not a rate: {text!r}; it is written 100/h, with s, m, h or d")
    return Rate(int(match[1]), _SECONDS[match[2]])


def read_rates(destinations: Iterable[str] = (), sender: str = "", account: str = "") -> Rates:
    """Read ``example.net=10/m`` for destinations, and two rates.  Raises `ValueError`."""
    limits: dict[str, Rate] = {}
    for entry in destinations:
        name, equals, text = entry.rpartition("=")
        rate = read_rate(text.strip())
        if not equals or rate is None:
            raise ValueError(f"not a destination's rate: {entry!r}; it is written example.net=10/m")
        limits[name.strip().lower()] = rate
    return Rates(limits, read_rate(sender), read_rate(account))


class Limiter:
    """Counts what goes; who has to wait is told a time of his own, so that they do not all come back together."""

    def __init__(self, rates: Rates, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rates = rates
        self._others = rates.destinations.get("*")
        self._destinations = {name: self._allowance(rate) for name, rate in rates.destinations.items()}
        self._senders = self._allowance(rates.sender)
        self._accounts = self._allowance(rates.account)
        self._promised: dict[tuple[int, str], float] = {}
        #: Whether messages have to be asked about at all.
        self.is_idle = rates.sender is None and rates.account is None

    def _allowance(self, rate: Rate | None) -> Allowance:
        return Allowance(rate.count, rate.period, self._clock) if rate is not None else Allowance(0, 1.0, self._clock)

    def is_limited(self, destination: str) -> bool:
        """Whether a destination has a limit; our own mailboxes (``""``) have none."""
        return bool(destination) and (destination in self._destinations or self._others is not None)

    def wait_for(self, destination: str) -> float:
        """Count a delivery: 0 where it may begin, else seconds until one may."""
        allowance = self._destinations.get(destination) or self._destinations["*"]
        return allowance.take(destination)

    def wait(self, queued: Queued, leg: Leg) -> float:
        """Count a leg that leaves the site for the first time: 0 where it may go, else seconds until it may."""
        if leg.attempts or not leg.route.destination:
            return 0.0
        concerned = []
        if queued.envelope.sender is not None and self._rates.sender is not None:
            concerned.append((self._senders, self._rates.sender, str(queued.envelope.sender)))
        if queued.account and self._rates.account is not None:
            concerned.append((self._accounts, self._rates.account, queued.account))
        for allowance, rate, name in concerned:
            if allowance.is_spent(name):
                return self._promise(allowance, rate, name)
        for allowance, _, name in concerned:
            allowance.take(name)
        return 0.0

    def _promise(self, allowance: Allowance, rate: Rate, name: str) -> float:
        """Return in how many seconds to come again: one interval after whoever was told so before."""
        now = self._clock()
        key = (id(allowance), name)
        first = now + allowance.take(name)
        when = max(first, self._promised.get(key, 0.0) + rate.period / rate.count)
        if len(self._promised) >= _REMEMBERED:
            self._promised = {each: time for each, time in self._promised.items() if time > now}
        self._promised[key] = when
        return when - now
