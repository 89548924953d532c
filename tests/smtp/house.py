"""A small house around a session: everything it asks, answered from memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from mailfw.interfaces import IAccount, IDeliveryPolicy, IDirectory, IDraft, IIntake, IRouter
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.outcome import Delivered, Outcome
from mailfw.mail.reply import Reply
from mailfw.mail.resolution import Expansion, LocalAccount, NoSuchRecipient, NotLocal, Resolution
from mailfw.mail.route import Route, Unroutable
from mailfw.mail.verdict import Verdict
from mailfw.smtp.factory import smtp_factory
from mailfw.smtp.settings import SMTPSettings
from mailfw.wire.protocol import SessionFactory

LOCAL = "here.example"
NAME, PASSWORD = b"ann@here.example", b"a correct horse"


@implementer(IDraft)
class Draft:
    """Keeps pieces; `fails` is raised by the write after so many octets."""

    def __init__(self, fails: Exception | None = None, after: int = 0) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self.closed = 0
        self._fails, self._after = fails, after

    async def write(self, octets: bytes) -> None:
        assert type(octets) is bytes and octets
        if self._fails is not None and self.size + len(octets) > self._after:
            raise self._fails
        self.pieces.append(octets)
        self.size += len(octets)

    async def read(self, offset: int, length: int) -> bytes:
        return b"".join(self.pieces)[offset : offset + length]

    async def close(self) -> None:
        self.closed += 1


@implementer(IIntake)
class Intake:
    """Keeps what it is given; `answer` says what becomes of it."""

    def __init__(self) -> None:
        self.taken: list[tuple[Client, Envelope, bytes]] = []
        self.drafts: list[Draft] = []
        self.hints: list[int] = []
        self.make: Callable[[], Draft] = Draft
        self.no_room: Exception | None = None
        self.answer: Callable[[Envelope], list[Outcome]] = lambda envelope: [Delivered() for _ in envelope.recipients]
        self.waits: Deferred[None] | None = None

    async def open_draft(self, size_hint: int) -> Draft:
        if self.no_room is not None:
            raise self.no_room
        self.hints.append(size_hint)
        self.drafts.append(self.make())
        return self.drafts[-1]

    async def accept(self, client: Client, envelope: Envelope, draft: IDraft) -> list[Outcome]:
        assert isinstance(draft, Draft) and not draft.closed
        if self.waits is not None:
            await self.waits
        self.taken.append((client, envelope, b"".join(draft.pieces)))
        return self.answer(envelope)


@implementer(IDirectory)
class Directory:
    """Ann and Bob live here; the postmaster is an alias; `fails` is raised for everybody."""

    fails: Exception | None = None

    async def resolve(self, address: Address) -> Resolution:
        if self.fails is not None:
            raise self.fails
        if address.local.lower() == "postmaster" and address.domain in ("", LOCAL):
            return Expansion((Address("ann", LOCAL),))
        if address.domain not in (LOCAL, "bücher.example"):
            return NotLocal()
        known = address.local.lower() in ("ann", "bob", "ärger", "o'neil")
        return LocalAccount(f"{address.local}@{LOCAL}") if known else NoSuchRecipient()


@implementer(IRouter)
class Router:
    """
    Knows a way to anywhere but ``nowhere.example``; ``later.example`` is not there yet.

    What is ours is in mailboxes, but for the gateway, which another server of the house knows.
    """

    async def route(self, sender: Address | None, recipient: Address) -> Route | Unroutable:
        if recipient.domain in (LOCAL, "bücher.example") and recipient.local != "gateway":
            return Route("mailbox")
        if recipient.domain == "nowhere.example":
            return Unroutable(Reply(550, "5.4.4", "No route to that domain"))
        if recipient.domain == "later.example":
            return Unroutable(Reply(421, "4.4.4", "Nobody can say\r\nhow"))
        return Route("relay", recipient.domain)


@implementer(IDeliveryPolicy)
class Policies:
    """Says what the test wants, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.connect: Verdict | None = None
        self.helo: Verdict | None = None
        self.sender: Verdict | None = None
        self.recipients: dict[str, Verdict] = {}
        self.waits: Deferred[None] | None = None

    async def on_connect(self, client: Client) -> Verdict | None:
        self.asked.append(("connect", client))
        return self.connect

    async def on_helo(self, client: Client) -> Verdict | None:
        self.asked.append(("helo", client))
        return self.helo

    async def on_sender(self, client: Client, sender: Address | None) -> Verdict | None:
        self.asked.append(("sender", client, sender))
        if self.waits is not None:
            await self.waits
        return self.sender

    async def on_recipient(self, client: Client, sender: Address | None, recipient: Address) -> Verdict | None:
        self.asked.append(("recipient", client, sender, recipient))
        return self.recipients.get(str(recipient))

    async def on_message(self, client: Client, envelope: Envelope, content: object) -> Verdict | None:
        raise AssertionError("The intake asks this, not the session")


@implementer(IAccount)
class Account:
    """Whoever has proved to be Ann."""

    store: Any = None

    def __init__(self, name: str) -> None:
        self.name = name


class Cred(Portal):
    """A portal for Ann alone; `fails` is raised in place of an answer."""

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # no realm is asked
        self.fails: Exception | None = None
        self.waits: Deferred[None] | None = None
        self.left = 0
        self.credentials: list[Any] = [IUsernamePassword]

    def listCredentialsInterfaces(self) -> list[Any]:
        return self.credentials

    def login(self, credentials: Any, mind: object, *interfaces: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._login(credentials, interfaces))

    async def _login(self, credentials: Any, interfaces: tuple[Any, ...]) -> Any:
        assert interfaces == (IAccount,)
        if self.waits is not None:
            await self.waits
        if self.fails is not None:
            raise self.fails
        if credentials.username != NAME or not credentials.checkPassword(PASSWORD):
            raise UnauthorizedLogin
        return IAccount, Account(NAME.decode()), self._leave

    def _leave(self) -> None:
        self.left += 1


class House:
    """All of the above, and the factory of one listener."""

    def __init__(self, service: Service = Service.SMTP, **settings: Any) -> None:
        self.settings = SMTPSettings("mail.here.example", service, **settings)
        self.clock = Clock()
        self.intake, self.directory, self.router = Intake(), Directory(), Router()
        self.policies, self.portal = Policies(), Cred()

    def factory(self, **options: Any) -> SessionFactory:
        return smtp_factory(
            self.settings,
            intake=self.intake,
            directory=self.directory,
            router=self.router,
            policies=self.policies,
            portal=self.portal,
            clock=self.clock,
            **options,
        )
