"""Connections to other hosts, and the messages that share them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from mailfw.couriers.caller import Lessons, Surroundings
from mailfw.couriers.errand import STOPPING, Errand
from mailfw.couriers.line import Line
from mailfw.couriers.settings import DeliverySettings
from mailfw.couriers.threads import in_threads
from mailfw.mail.hop import Hop
from mailfw.mail.reply import Reply
from mailfw.smtp.client.fitting import Means
from mailfw.smtp.client.session import Unusable
from mailfw.tls.client import ClientTLS
from mailfw.wire.client import Dialer

log = Logger()

#: Hosts that are remembered to have been of no use, before those whose time is up are forgotten.
_REMEMBERED = 1000
#: Seconds that messages under way get when the server stops.
GRACE = 20.0


class Pool:
    """
    Hands messages over, by a connection that is there and free or by a new one.

    Connections are shared between messages to equal hops: the same address, TLS and login.  A host that cannot be used
    is not tried again for a while, whatever has to go there.
    """

    def __init__(
        self,
        *,
        reactor: Any,
        hostname: str,
        settings: DeliverySettings,
        open_draft: Callable[[int], Any],
        note_tls: Callable[[str, Hop, str], None],
    ) -> None:
        """Begin without connections; `note_tls` hears of each one as `IHops.note_tls` does."""
        self._reactor = reactor
        self._settings = settings
        self._lines: dict[Hop, Line] = {}
        self._useless: dict[Hop, tuple[float, Reply]] = {}
        self._closing: Deferred[None] | None = None
        self._surroundings = Surroundings(
            Dialer(reactor),
            hostname,
            settings,
            ClientTLS(settings.authorities),
            Means(open_draft, in_threads(reactor)),
            note_tls,
            self._is_useless,
            Lessons(reactor.seconds),
            Lessons(reactor.seconds),
        )

    async def send(self, hop: Hop, errand: Errand) -> None:
        """
        Hand a message to one host, and note in the errand what has become of it.

        Raises `Unusable` where nothing could be asked of the host; some recipients may have had their outcome before.
        """
        if self._closing is not None:
            raise Unusable(STOPPING)
        errand.begin()
        line = self._lines.get(hop)
        if line is None:
            self._check(hop)
            line = self._lines[hop] = Line(hop, self._surroundings, self._ended)
        line.add(errand)
        try:
            await errand.done
        except CancelledError:
            line.withdraw(errand)
            raise

    def _check(self, hop: Hop) -> None:
        """Raise what was raised for a host a short time ago."""
        known = self._useless.get(hop)
        if known is None:
            return
        if self._reactor.seconds() < known[0]:
            raise Unusable(known[1])
        del self._useless[hop]

    def _is_useless(self, hop: Hop, reason: Reply) -> None:
        now = self._reactor.seconds()
        if len(self._useless) >= _REMEMBERED:
            self._useless = {each: known for each, known in self._useless.items() if known[0] > now}
        self._useless[hop] = (now + self._settings.avoid_time, reason)

    def _ended(self, line: Line) -> None:
        """Forget a host to which there is nothing any more."""
        if self._lines.get(line.hop) is line:
            del self._lines[line.hop]
        if self._closing is not None and not self._lines and not self._closing.called:
            self._closing.callback(None)

    @property
    def connections(self) -> int:
        """How many connections there are now, and are being made."""
        return sum(line.connections for line in self._lines.values())

    async def close(self) -> None:
        """Take no more messages, finish those under way and close the connections; the impatient cut them."""
        if self._closing is not None:
            return
        self._closing = Deferred()
        for line in list(self._lines.values()):
            line.close()
        if self._lines:
            overdue = self._reactor.callLater(GRACE, self._cut)
            await self._closing
            if overdue.active():
                overdue.cancel()

    def _cut(self) -> None:
        for line in list(self._lines.values()):
            line.cut()
