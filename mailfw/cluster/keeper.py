"""The keeper's side: the desk of each worker, and what all share."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from twisted.internet.protocol import Factory
from twisted.logger import Logger, LogLevel

from mailfw.cluster.carried import Carried
from mailfw.cluster.channel import Answering
from mailfw.cluster.codec import Malformed
from mailfw.cluster.counters import Register
from mailfw.cluster.desk import StoreDesk
from mailfw.cluster.shares import Counted, Ledger
from mailfw.interfaces import IContent, IDeliveryPolicy, IDraft, IMailStore
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope
from mailfw.mail.outcome import Outcome
from mailfw.mail.queued import Pending, Queued
from mailfw.mail.route import Route
from mailfw.mail.verdict import Verdict
from mailfw.patience import within

log = Logger()


class Keeping(Protocol):
    """What becomes of messages; `mailfw.queue.custody` says more."""

    async def open_draft(self, size_hint: int) -> IDraft:
        """Make room for a message."""

    async def take(self, messages: Sequence[tuple[Queued, IContent]]) -> None:
        """Keep messages."""

    async def deliver(
        self, route: Route, envelope: Envelope, pendings: tuple[Pending, ...], content: IContent, junk: bool
    ) -> Mapping[Address, Outcome]:
        """Deliver a message now."""


@dataclass(frozen=True, slots=True)
class Counting:
    """A policy that counts, and the seconds that it may take for an answer."""

    policy: IDeliveryPolicy
    timeout: float = 10.0


class Keeper:
    """What workers ask for; `policies` are those that count, by the name that a worker asks for them by."""

    def __init__(
        self,
        *,
        store: IMailStore,
        custody: Keeping,
        etrn: Callable[[str], Awaitable[bool]],
        policies: dict[str, Counting],
        reactor: Any,
    ) -> None:
        self.store = store
        self.custody = custody
        self.etrn = etrn
        self.policies = policies
        self.register = Register()
        self.ledger = Ledger(reactor.seconds, self.register.tell_others)
        self.locked: set[str] = set()
        self.reactor = reactor

    def serve(self, descriptor: int, listeners: Mapping[str, Callable[..., None]]) -> Answering:
        """Answer a worker on a connected socket, which is duplicated; `listeners` hear its other news."""
        channel: list[Answering] = []

        def tell(*said: Any) -> None:
            channel[0].tell(*said)

        desk = WorkerDesk(self, tell)
        heard: dict[str, Callable[..., None]] = {
            **listeners,
            **desk.listeners(),
            "release_maildrop": desk.release_maildrop,
            "connections": partial(self.register.connections, desk),
            "counted": partial(self.register.counted, desk),
            "log": _log,
        }
        channel.append(Answering(desk, heard, desk.leave))
        factory: Any = Factory.forProtocol(lambda: channel[0])
        factory.noisy = False
        self.reactor.adoptStreamConnection(descriptor, socket.AF_UNIX, factory)
        self.register.join(desk, tell)
        self.ledger.join(tell)
        return channel[0]


class WorkerDesk(StoreDesk):
    """What one worker may ask."""

    def __init__(self, keeper: Keeper, tell: Callable[..., None]) -> None:
        super().__init__(keeper.store, keeper.custody.open_draft, tell)
        self._keeper = keeper
        self._locked: set[str] = set()

    def leave(self) -> None:
        """Undo whatever the worker cannot undo any more."""
        self._keeper.register.leave(self)
        for account in list(self._locked):
            self.release_maildrop(account)
        super().leave()

    async def take(self, messages: list[tuple[Queued, Carried]]) -> None:
        """Keep messages."""
        with ExitStack() as used:
            await self._keeper.custody.take([(queued, self._content(carried, used)) for queued, carried in messages])

    async def deliver(
        self, route: Route, envelope: Envelope, pendings: tuple[Pending, ...], content: Carried, junk: bool
    ) -> dict[Address, Outcome]:
        """Deliver a message now."""
        with ExitStack() as used:
            kept = self._content(content, used)
            return dict(await self._keeper.custody.deliver(route, envelope, pendings, kept, junk))

    async def etrn(self, domain: str) -> bool:
        """Try what waits for a domain."""
        return await self._keeper.etrn(domain)

    async def judge(
        self, policy: str, question: str, client: Client, sender: Address | None, recipient: Address | None
    ) -> Verdict | None:
        """Ask a policy that counts; one that never answers must not be waited for here when no worker does any more."""
        asked = self._keeper.policies.get(policy)
        if asked is None:
            raise Malformed(f"there is no policy {policy!r}")
        match question:
            case "on_connect":
                asking = asked.policy.on_connect(client)
            case "on_helo":
                asking = asked.policy.on_helo(client)
            case "on_sender":
                asking = asked.policy.on_sender(client, sender)
            case "on_recipient" if recipient is not None:
                asking = asked.policy.on_recipient(client, sender, recipient)
            case _:
                raise Malformed(f"there is no question {question!r}")
        return await within(self._keeper.reactor, asked.timeout, asking)

    async def take_allowance(self, counted: Counted, name: str) -> tuple[float, bool]:
        """Count an event of which not many are left."""
        return self._keeper.ledger.take(self, counted, name)

    async def charge(self, counted: Counted, events: Mapping[str, int]) -> list[str]:
        """Count what the worker has counted."""
        return self._keeper.ledger.charge(self, counted, events)

    async def lock_maildrop(self, account: str) -> bool:
        """Lock a maildrop; False where any worker has it."""
        if account in self._keeper.locked or not self._is_open:
            return False
        self._keeper.locked.add(account)
        self._locked.add(account)
        return True

    def release_maildrop(self, account: str) -> None:
        """Let the next session have it."""
        if account in self._locked:
            self._locked.discard(account)
            self._keeper.locked.discard(account)


_LOGGERS: dict[str, Logger] = {}


def _log(level: str, namespace: str, text: str) -> None:
    """Log what a worker logs."""
    logger = _LOGGERS.setdefault(namespace, Logger(namespace=namespace))
    logger.emit(LogLevel.levelWithName(level), "{text}", text=text)
