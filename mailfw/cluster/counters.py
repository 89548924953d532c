"""
What all workers count together: connections, failed logins and mistakes of clients.

Each counts for itself at once, tells the keeper, and hears of the others a moment later: nobody waits for a count, and
a limit can be passed by what arrives in that moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from mailfw.allowance import Allowance
from mailfw.cluster.codec import Malformed
from mailfw.sasl.logins import Attempts

#: Connections to services by clients.
Connections = Counter[tuple[str, str]]
#: What is not a service: sessions of accounts, which are connections counted once more.
_ACCOUNTS = "accounts"
#: Connections that a worker may always have more than others.
_SLACK = 2
#: Sends news to the keeper.
Tell = Callable[..., None]


class ConnectionsElsewhere:
    """What the other workers count for one service."""

    def __init__(self, changed: Callable[[str, int], None]) -> None:
        self._clients: Counter[str] = Counter()
        self._changed = changed
        self.total = 0
        self.arrived: Callable[[str], object] = lambda client: None

    def of(self, client: str) -> int:
        """Return how many a client has."""
        return self._clients.get(client, 0)

    def changed(self, client: str, by: int) -> None:
        """Tell of one more, or one less, here."""
        self._changed(client, by)

    def hear(self, client: str, by: int) -> None:
        """Count what another worker counts."""
        self.total += by
        if client:
            self._clients[client] += by
            if not self._clients[client]:
                del self._clients[client]
            if by > 0:
                self.arrived(client)


class SharedAttempts:
    """Counts logins that failed here, and those that another worker tells of."""

    def __init__(self, attempts: Attempts, tell: Tell) -> None:
        self._attempts = attempts
        self._tell = tell

    def admits(self, address: str, account: str) -> bool:
        """Whether another attempt is judged."""
        return self._attempts.admits(address, account)

    def failed(self, address: str, account: str) -> float:
        """Count a failure, and return the pause it costs."""
        self._tell("counted", "failed", address, account)
        return self._attempts.failed(address, account)

    def succeeded(self, address: str, account: str) -> None:
        """Note a login that was right."""
        self._tell("counted", "succeeded", address, account)
        self._attempts.succeeded(address, account)

    def hear(self, what: str, address: str, account: str) -> None:
        """Count what another worker has counted."""
        if what == "failed":
            self._attempts.failed(address, account)
        else:
            self._attempts.succeeded(address, account)


class SharedAllowance(Allowance):
    """An allowance of which the other workers hear."""

    def __init__(self, limit: int, period: float, clock: Callable[[], float], tell: Tell) -> None:
        super().__init__(limit, period, clock)
        self._tell = tell

    def take(self, name: str) -> float:
        """Count one event."""
        if self:
            self._tell("counted", "mistake", name, "")
        return super().take(name)

    def hear(self, name: str) -> None:
        """Count one of another worker's."""
        super().take(name)


class Counters:
    """A worker's counts; `hear_connections` and `hear_counted` listen to the keeper's news."""

    def __init__(self, attempts: Attempts, mistakes: tuple[int, float], clock: Any, tell: Tell) -> None:
        self._tell = tell
        self.attempts = SharedAttempts(attempts, tell)
        self.mistakes = SharedAllowance(*mistakes, clock.seconds, tell)
        self._services: dict[str, ConnectionsElsewhere] = {}
        #: Connections here, and what is called when there is one more, or others have said how many they have.
        self.own = 0
        self.arrived: Callable[[], None] = lambda: None
        self.heard: Callable[[], None] = lambda: None

    def elsewhere(self, service: str) -> ConnectionsElsewhere:
        """Return what the others count for a service."""
        if service not in self._services:
            self._services[service] = ConnectionsElsewhere(partial(self._changed, service))
        return self._services[service]

    def _changed(self, service: str, client: str, by: int) -> None:
        self._tell("connections", service, client, by)
        if service == _ACCOUNTS:
            return
        self.own += by
        if by > 0:
            self.arrived()

    def has_more_than_others(self, others: int) -> bool:
        """Whether there are clearly more connections here than with the average of so many other workers."""
        elsewhere = sum(each.total for service, each in self._services.items() if service != _ACCOUNTS)
        return others > 0 and self.own > elsewhere / others * 1.1 + _SLACK

    def hear_connections(self, service: str, client: str, by: int) -> None:
        """Count connections of another worker."""
        self.elsewhere(service).hear(client, by)
        self.heard()

    def hear_counted(self, what: str, first: str, second: str) -> None:
        """Count something else of another worker."""
        if what == "mistake":
            self.mistakes.hear(first)
        else:
            self.attempts.hear(what, first, second)


class Register:
    """The keeper's part: passes on what one worker counts to all others, and takes back what a dead one counted."""

    def __init__(self) -> None:
        self._members: dict[object, tuple[Tell, Connections]] = {}

    def join(self, member: object, tell: Tell) -> None:
        """Add a worker, and tell it what is counted."""
        for _, counted in self._members.values():
            for (service, client), count in counted.items():
                tell("connections", service, client, count)
        self._members[member] = tell, Counter()

    def leave(self, member: object) -> None:
        """Forget a worker; its connections are gone."""
        _, counted = self._members.pop(member, (None, Connections()))
        for (service, client), count in counted.items():
            self.tell_others(member, "connections", service, client, -count)

    def connections(self, member: object, service: str, client: str, by: int) -> None:
        """Hear what a worker counts."""
        if not (isinstance(service, str) and isinstance(client, str) and isinstance(by, int)):
            raise Malformed("connections of a client expected")
        _, counted = self._members[member]
        counted[service, client] += by
        if not counted[service, client]:
            del counted[service, client]
        self.tell_others(member, "connections", service, client, by)

    def counted(self, member: object, what: str, first: str, second: str) -> None:
        """Hear something else that a worker counts."""
        self.tell_others(member, "counted", what, first, second)

    def tell_others(self, member: object, *said: Any) -> None:
        """Tell all but one."""
        for other, (tell, _) in self._members.items():
            if other is not member:
                tell(*said)

    def totals(self) -> dict[str, int]:
        """Return how many connections there are, by service."""
        totals: Counter[str] = Counter()
        for _, counted in self._members.values():
            for (service, _), count in counted.items():
                if service != _ACCOUNTS:
                    totals[service] += count
        return dict(totals)
