"""Connecting to one host: what is demanded of its TLS, and what earlier calls have taught."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from twisted.logger import Logger

from mailfw.couriers.settings import DeliverySettings
from mailfw.mail.hop import Hop, TLSLevel
from mailfw.mail.reply import Reply
from mailfw.smtp.client.fitting import Means
from mailfw.smtp.client.session import Session, Unusable
from mailfw.tls.client import ClientTLS, Handshake
from mailfw.wire.client import Dialer, NotConnected

log = Logger()

#: Seconds for which what a host cannot do is remembered.
LESSON_TIME = 3600.0
#: Hosts of which that is remembered.
_MOST_LESSONS = 1000


class Lessons:
    """What some hosts have promised and could not do; it is forgotten after a while."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until: dict[Hop, float] = {}

    def learn(self, hop: Hop) -> None:
        """Remember a host, and forget the one that has been known for longest where there are too many."""
        self._until.pop(hop, None)
        if len(self._until) >= _MOST_LESSONS:
            del self._until[next(iter(self._until))]
        self._until[hop] = self._now() + LESSON_TIME

    def __contains__(self, hop: Hop) -> bool:
        return self._until.get(hop, 0.0) > self._now()


@dataclass(slots=True)
class Surroundings:
    """
    What all hosts' connections share.

    `useless` hears of hosts that cannot be reached.  `without_tls` are those whose handshake fails, `without_chunks`
    those that announce CHUNKING and do not know it.  `idle` counts the connections that wait for a message.
    """

    dialer: Dialer
    hostname: str
    settings: DeliverySettings
    tls: ClientTLS
    means: Means
    note_tls: Callable[[str, Hop, str], None]
    useless: Callable[[Hop, Reply], None]
    without_tls: Lessons
    without_chunks: Lessons
    wall_time: Callable[[], float] = time.time
    idle: int = 0


class Caller:
    """Makes sessions with one host."""

    def __init__(self, hop: Hop, surroundings: Surroundings) -> None:
        self._hop = hop
        self._around = surroundings

    def _now(self) -> float:
        now: float = self._around.dialer.clock.seconds()
        return now

    async def call(self, destination: str) -> Session:
        """Return a session that is open; raises `Unusable`."""
        hop = self._hop
        if hop.tls.level is TLSLevel.NONE and not hop.tls.implicit:
            return await self._open(None)
        if hop in self._around.without_tls:
            return await self._open(None)
        try:
            session = await self._open(self._handshake)
        except Unusable as reason:
            if reason.tls:
                self._note_tls(destination, reason.tls)
            if not reason.in_clear:
                raise
            # RFC 7435 section 3: where encryption was a bonus, its failure is no reason not to deliver
            self._around.without_tls.learn(hop)
            return await self._open(None)
        self._note_tls(destination, session.flaw if session.tls else "starttls-not-supported")
        return session

    async def _open(self, tls: Callable[[], Handshake] | None) -> Session:
        hop, around = self._hop, self._around
        try:
            stream = await around.dialer.dial(hop.address, hop.port, around.settings.connect_timeout)
        except NotConnected as reason:
            raise Unusable(Reply(451, "4.4.1", f"Cannot connect to {hop.host} [{hop.address}]: {reason}"))
        session = Session(stream, hop, around.settings.patience, self._now)
        await session.open(around.hostname, tls, around.means.compute)
        if hop in around.without_chunks:
            session.offered = replace(session.offered, chunking=False, binary=False)
        return session

    def _handshake(self) -> Handshake:
        hop, tls = self._hop, self._around.tls
        if hop.tls.tlsa:
            return tls.with_pinned(hop.host, hop.tls.names, hop.tls.tlsa)
        if hop.tls.level is TLSLevel.VERIFY:
            return tls.with_named(hop.host, hop.tls.names)
        if hop.tls.is_test:
            return tls.with_watched(hop.host, hop.tls.names)
        return tls.with_anybody(hop.host, hop.tls.level is TLSLevel.ENCRYPT)

    def _note_tls(self, destination: str, result: str) -> None:
        try:
            self._around.note_tls(destination, self._hop, result)
        except Exception:
            log.failure("A TLS result could not be noted")
