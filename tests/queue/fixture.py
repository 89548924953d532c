"""A site with accounts, couriers that do what they are told, and a queue in memory; time is pretended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred as TwistedDeferred
from zope.interface import implementer

from mailfw.interfaces import IContent, ICourier, IDeliveryPolicy, IDirectory, IMailStore, IRouter, ISpool
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.mailbox import Want
from mailfw.mail.outcome import Delivered, Outcome
from mailfw.mail.queued import Queued
from mailfw.mail.resolution import Expansion, LocalAccount, NoSuchRecipient, NotLocal, Resolution
from mailfw.mail.route import Route, Unroutable
from mailfw.policies.pipeline import Link, Pipeline
from mailfw.queue.bounds import Bounds
from mailfw.queue.custody import SpoolCustody
from mailfw.queue.intake import Intake
from mailfw.queue.planning import Planner
from mailfw.queue.rates import Rates
from mailfw.queue.rewriting import ReturningDirectory, SenderRewriting
from mailfw.queue.runner import QueueRunner
from mailfw.queue.schedule import Schedule
from mailfw.site import Site
from mailfw.spools.memory import MemorySpool
from tests.accounts.pretend import PretendReactor

ANN, BOB = Address("ann", "example.org"), Address("bob", "example.org")
POSTMASTER = Address("postmaster", "example.org")
NOBODY = Address("nobody", "example.org")
CAROL = Address("carol", "example.net")
CLIENT = Client(Service.SMTP, "192.0.2.7", 4000, "client.example.net", extended=True)
MESSAGE = b"From: carol@example.net\r\nSubject: Lunch\r\n\r\nShall we?\r\n"
#: When tests begin, in seconds since the epoch.
START = 1_000_000.0
DAY = 86_400.0


@implementer(IDirectory)
class PretendDirectory:
    """Two accounts with details, and what else it is told."""

    def __init__(self, aliases: Mapping[str, Sequence[Address]] | None = None) -> None:
        self.accounts = {"ann@example.org", "bob@example.org", "postmaster@example.org"}
        self.aliases = dict(aliases or {})
        self.fault: Exception | None = None

    async def resolve(self, address: Address) -> Resolution:
        if self.fault is not None:
            raise self.fault
        if address.domain != "example.org":
            return NotLocal()
        if str(address) in self.aliases:
            return Expansion(tuple(self.aliases[str(address)]))
        local, _, detail = address.local.lower().partition("+")
        name = f"{local}@{address.domain}"
        return LocalAccount(name, detail) if name in self.accounts else NoSuchRecipient()


@implementer(IRouter)
class PretendRouter:
    """Sends what is ours to the mailboxes, all else by MX, and what it is told elsewhere."""

    def __init__(self) -> None:
        self.ways: dict[Address, Route | Unroutable | Exception] = {}

    async def route(self, sender: Address | None, recipient: Address) -> Route | Unroutable:
        usual = Route("mailbox") if recipient.domain == "example.org" else Route("relay", recipient.domain)
        way = self.ways.get(recipient, usual)
        if isinstance(way, Exception):
            raise way
        return way


@implementer(ICourier)
class PretendCourier:
    """Gives the outcomes it is told, by recipient or domain; remembers what it was given, and who got it."""

    def __init__(self) -> None:
        self.outcomes: dict[Address | str, Outcome | Exception | TwistedDeferred[Any]] = {}
        self.calls: list[tuple[Envelope, bytes, bool]] = []
        self.destinations: list[str] = []
        self.times: list[float] = []
        self.got: dict[Address, list[bytes]] = {}
        self.clock: Any = None

    async def deliver(self, destination: str, envelope: Envelope, content: IContent, junk: bool) -> list[Outcome]:
        octets = await content.read(0, content.size)
        self.calls.append((envelope, octets, junk))
        self.destinations.append(destination)
        self.times.append(self.clock.seconds() if self.clock else 0.0)
        outcomes: list[Outcome] = []
        for recipient in envelope.recipients:
            outcome = self.outcomes.get(recipient, self.outcomes.get(recipient.domain, Delivered()))
            if isinstance(outcome, TwistedDeferred):
                outcome = await wait_too(outcome)
            if isinstance(outcome, Exception):
                raise outcome
            if isinstance(outcome, Delivered):
                self.got.setdefault(recipient, []).append(octets)
            outcomes.append(outcome)
        return outcomes

    async def close(self) -> None:
        """Do nothing."""

    def messages(self, recipient: Address) -> list[bytes]:
        """Return what a recipient has got."""
        return self.got.get(recipient, [])

    def tried(self) -> list[tuple[Address, ...]]:
        """Return the recipients of each call."""
        return [envelope.recipients for envelope, _, _ in self.calls]


def wait_too(awaited: TwistedDeferred[Any]) -> TwistedDeferred[Any]:
    """Return a Deferred of one's own for something that several wait for."""
    own: TwistedDeferred[Any] = TwistedDeferred()

    def tell(result: Any) -> Any:
        own.callback(result)
        return result

    awaited.addCallback(tell)
    return own


class PretendHistory:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def note(self, name: str, event: str, /, **facts: object) -> None:
        self.events.append((name, event, facts))

    def of(self, name: str) -> list[str]:
        """Return the kinds of events of one message."""
        return [event for each, event, _ in self.events if each == name]


class House:
    """Everything between a client and two mailboxes."""

    def __init__(
        self,
        data: Path,
        *,
        courier: PretendCourier | None = None,
        policies: Sequence[IDeliveryPolicy] = (),
        reactor: Any = None,
        spool: ISpool | None = None,
        directory: PretendDirectory | None = None,
        couriers: Mapping[str, ICourier] | None = None,
        schedule: Schedule | None = None,
        bounds: Bounds | None = None,
        rates: Rates | None = None,
    ) -> None:
        if reactor is None:
            reactor = PretendReactor()
            reactor.advance(START)
        self.reactor = reactor
        self.site = Site("mx.example.org", frozenset({"example.org"}), data, self.reactor)
        self.directory = directory or PretendDirectory()
        self.rewriting = SenderRewriting(self.site)
        self.known = ReturningDirectory(self.directory, self.rewriting)
        self.router = PretendRouter()
        self.spool: Any = spool or MemorySpool()
        self.courier = courier or PretendCourier()
        self.courier.clock = self.reactor
        self.history = PretendHistory()
        planner = Planner(site=self.site, directory=self.known, router=self.router, rewriting=self.rewriting)
        self.runner = QueueRunner(
            site=self.site,
            spool=self.spool,
            planner=planner,
            couriers=couriers or {"mailbox": self.courier, "relay": self.courier},
            schedule=schedule,
            bounds=bounds,
            rates=rates,
            history=self.history,
            chance=lambda: 0.5,
        )
        self.intake = Intake(
            site=self.site,
            planner=planner,
            policies=Pipeline([Link(type(policy).__name__, policy) for policy in policies], self.reactor),
            custody=SpoolCustody(spool=self.spool, runner=self.runner, history=self.history, clock=self.reactor),
            clock=self.runner.seconds,
            pause=self.runner.schedule.pause(1, 0.5),
        )

    async def send(
        self,
        *recipients: Address,
        octets: bytes = MESSAGE,
        sender: Address | None = CAROL,
        client: Client = CLIENT,
        name: str = "1a2b",
        **more: Any,
    ) -> list[Outcome]:
        """Hand a message in, as a session does."""
        draft = await self.intake.open_draft(len(octets))
        await draft.write(octets)
        try:
            return await self.intake.accept(client, Envelope(name, sender, recipients, **more), draft)
        finally:
            await draft.close()

    async def queued(self) -> dict[str, Queued]:
        """Return what is in the spool, by id."""
        return {one.id: one for one in await self.spool.scan("", 1_000_000)}

    def advance(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass, in steps, and then what is to be done at once."""
        for _ in range(int(seconds / step)):
            self.reactor.advance(step)
        self.settle()

    def settle(self) -> None:
        """Let the reactor turn until nothing is to be done now."""
        while any(call.getTime() <= self.reactor.seconds() for call in self.reactor.getDelayedCalls()):
            self.reactor.advance(0)


async def read_mailbox(store: IMailStore, account: str, path: tuple[str, ...]) -> list[bytes]:
    """Return the octets of every message in a mailbox."""
    await store.open_account(account)
    [mailbox] = [mailbox for mailbox in await store.mailboxes(account) if mailbox.path == path]
    found: list[bytes] = []
    snapshot = await store.snapshot(account, mailbox.id, 0)
    async for rows in store.rows(account, mailbox.id, snapshot.uids, Want.NOTHING):
        for row in rows:
            content = await store.content(account, mailbox.id, row.uid)
            assert content is not None
            found.append(await content.read(0, content.size))
            await content.close()
    return found
