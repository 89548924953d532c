"""Hosts that a courier in memory calls: each connection is played like a dialogue, without reactor or network."""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailfw.couriers.relay import RelayCourier
from mailfw.couriers.settings import DeliverySettings
from mailfw.interfaces import IDraft, IHops
from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope
from mailfw.mail.hop import Hop, TLSDemand, TLSLevel
from mailfw.mail.outcome import Deferred as DeferredOutcome
from mailfw.mail.outcome import Failed, Outcome
from mailfw.site import Site
from mailfw.testing.contents import MemoryContent
from mailfw.testing.dialogue import PretendTransport
from mailfw.wire.client import ClientProtocol

ANN = Address("ann", "example.org")
BOB, CAROL, DAVE = (Address(name, "example.net") for name in ("bob", "carol", "dave"))
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"
IN_CLEAR = TLSDemand(TLSLevel.NONE)
MX = Hop("mx.example.net", "192.0.2.1", 25, tls=IN_CLEAR)
MX2 = Hop("mx2.example.net", "192.0.2.2", 25, tls=IN_CLEAR)


@implementer(IHops)
class PretendHops:
    """Finds what it was given; keeps what it is told of TLS."""

    def __init__(self, hops: Sequence[Hop] | DeferredOutcome | Failed) -> None:
        self.hops = hops
        self.asked: list[tuple[str, bool]] = []
        self.optional: list[bool] = []
        self.tls: list[tuple[str, str, str]] = []

    async def find(
        self, destination: str, require_tls: bool, tls_optional: bool = False
    ) -> Sequence[Hop] | DeferredOutcome | Failed:
        self.asked.append((destination, require_tls))
        self.optional.append(tls_optional)
        return self.hops

    def note_tls(self, destination: str, hop: Hop, result: str) -> None:
        self.tls.append((destination, hop.host, result))


class PoollessReactor(MemoryReactorClock):
    """Runs what is for a thread at once."""

    def getThreadPool(self) -> Any:
        return self

    def callInThreadWithCallback(self, done: Callable[..., None], function: Callable[..., Any], *args: Any) -> None:
        try:
            result = function(*args)
        except Exception:
            done(False, Failure())
        else:
            done(True, result)

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        function(*args)


class Host:
    """One connection that the courier has made."""

    def __init__(self, case: SynchronousTestCase, factory: Any) -> None:
        self._case = case
        self.transport = PretendTransport("192.0.2.1", 25)
        self.protocol: ClientProtocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def say(self, octets: bytes) -> None:
        self.protocol.dataReceived(octets)

    def hear(self) -> bytes:
        heard: bytes = self.transport.value()
        self.transport.clear()
        return heard

    def leave(self) -> None:
        self.protocol.connectionLost(None)

    def finish_handshake(self) -> None:
        self._case.assertTrue(self.transport.tls_started)
        self.protocol.handshakeCompleted()

    @property
    def closed(self) -> bool:
        return bool(self.transport.disconnecting)

    def play(self, script: str) -> Host:
        """Say the ``S:`` lines, a group in one segment, and compare what is answered with the ``C:`` lines."""
        said = b""
        expected: list[str] = []
        for line in [*textwrap.dedent(script).strip().splitlines(), "S:"]:
            if line.startswith("C:"):
                if said:
                    self.say(said)
                    said = b""
                expected.append(line[3:])
            elif line.startswith("S:"):
                if expected:
                    self._case.assertEqual(self.hear().decode().split("\r\n"), [*expected, ""])
                    expected = []
                said += line[3:].encode() + b"\r\n" if line[3:] else b""
            else:
                raise ValueError(line)
        if said:
            self.say(said)
        return self


class CourierCase(SynchronousTestCase):
    """A relay courier whose hosts are played by the test."""

    def begin(
        self,
        *hops: Hop,
        found: Any = None,
        open_draft: Callable[[int], Awaitable[IDraft]] | None = None,
        **settings: Any,
    ) -> None:
        self.reactor = PoollessReactor()
        self.hops = PretendHops(found if found is not None else hops or [MX])
        self.drafts: list[MemoryContent] = []
        self.hosts: list[Host] = []
        self.addCleanup(self.leave, self.hosts)
        site = Site("mail.example.org", frozenset(), Path("var"), self.reactor)
        self.courier = RelayCourier(
            site=site, hops=self.hops, open_draft=open_draft or self.open_draft, delivery=DeliverySettings(**settings)
        )
        self.dialled = 0

    async def open_draft(self, size_hint: int) -> IDraft:
        draft = MemoryContent()
        self.drafts.append(draft)
        return draft

    def deliver(
        self, *recipients: Address, octets: bytes = MESSAGE, content: Any = None, **more: Any
    ) -> Deferred[list[Outcome]]:
        more.setdefault("sender", ANN)
        envelope = Envelope("1a", recipients=recipients or (BOB,), **more)
        content = content or MemoryContent(octets)
        return Deferred.fromCoroutine(self.courier.deliver("example.net", envelope, content, False))

    def accept(self) -> Host:
        """Take the next connection that the courier makes."""
        factory = self.reactor.tcpClients[self.dialled][2]
        self.dialled += 1
        self.hosts.append(Host(self, factory))
        return self.hosts[-1]

    @staticmethod
    def leave(hosts: Sequence[Host]) -> None:
        """End every connection, so that no coroutine is left in the middle of one."""
        for host in hosts:
            host.leave()

    def refuse(self, reason: Exception | None = None) -> None:
        """Refuse the next connection."""
        factory: Any = self.reactor.tcpClients[self.dialled][2]
        self.dialled += 1
        factory.clientConnectionFailed(None, Failure(reason or Refused(111, "Connection refused")))

    def waits(self) -> bool:
        """Whether a connection is being made."""
        return len(self.reactor.tcpClients) > self.dialled

    def outcomes(self, delivery: Deferred[list[Outcome]]) -> list[Outcome]:
        outcomes: list[Outcome] = self.successResultOf(delivery)
        return outcomes

    def codes(self, delivery: Deferred[list[Outcome]]) -> list[str]:
        """Return the outcomes in short: class, code and status."""
        return [
            f"{type(each).__name__} {each.reply.code} {each.reply.status}".strip() for each in self.outcomes(delivery)
        ]

    def open(self, *extensions: str) -> Host:
        """Take the next connection, and play it up to the answer to EHLO."""
        host = self.accept()
        lines = ["mx.example.net", *extensions]
        host.play("S: 220 mx.example.net ESMTP\nC: EHLO mail.example.org")
        host.say(
            "".join(f"250{' ' if n == len(lines) - 1 else '-'}{each}\r\n" for n, each in enumerate(lines)).encode()
        )
        return host
