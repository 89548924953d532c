"""A site with two accounts in memory, and a disk that can break at any step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailfw.couriers.mailbox import MailboxCourier
from mailfw.interfaces import IContent, ICourier, IDeliveryPolicy, IDirectory, IMailStore
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.mailbox import Want
from mailfw.mail.outcome import Delivered, Outcome
from mailfw.mail.resolution import Expansion, LocalAccount, NoSuchRecipient, NotLocal, Resolution
from mailfw.policies.pipeline import Link, Pipeline
from mailfw.queue.disk import Disk
from mailfw.queue.drafts import DraftRoom
from mailfw.queue.intake import Intake
from mailfw.queue.runner import QueueRunner
from mailfw.queue.spool import Spool
from mailfw.routing.router import LocalRouter
from mailfw.site import Site
from mailfw.stores.memory import MemoryStore
from tests.accounts.pretend import PretendReactor

ANN, BOB = Address("ann", "example.org"), Address("bob", "example.org")
NOBODY = Address("nobody", "example.org")
CAROL = Address("carol", "example.net")
CLIENT = Client(Service.SMTP, "192.0.2.7", 4000, "client.example.net", extended=True)
MESSAGE = b"From: carol@example.net\r\nSubject: Lunch\r\n\r\nShall we?\r\n"


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


@implementer(ICourier)
class PretendCourier:
    """Gives the outcomes it is told, by recipient; remembers what it was given, and who got it."""

    def __init__(self) -> None:
        self.outcomes: dict[Address, Outcome | Exception] = {}
        self.calls: list[tuple[Envelope, bytes, bool]] = []
        self.got: dict[Address, list[bytes]] = {}
        self.disk: FaultyDisk | None = None

    async def deliver(self, envelope: Envelope, content: IContent, junk: bool) -> list[Outcome]:
        if self.disk is not None and self.disk.crashed:
            raise Crash
        octets = await content.read(0, content.size)
        self.calls.append((envelope, octets, junk))
        outcomes: list[Outcome] = []
        for recipient in envelope.recipients:
            outcome = self.outcomes.get(recipient, Delivered())
            if isinstance(outcome, Exception):
                raise outcome
            if isinstance(outcome, Delivered):
                self.got.setdefault(recipient, []).append(octets)
            outcomes.append(outcome)
        return outcomes

    def messages(self, recipient: Address) -> list[bytes]:
        """Return what a recipient has got."""
        return self.got.get(recipient, [])


class Crash(BaseException):
    """The machine stops: nothing after this happens, not even cleaning up."""


class FaultyDisk(Disk):
    """
    Breaks at the step `breaks_at`, counted from 0, as `with_error` says: an `OSError`, or a `Crash`.

    After a crash every further step crashes; `lose_unsynced` then makes of the directory what a disk may have
    kept: files without a sync are cut in half, names without a sync of their directory are as they were.
    """

    def __init__(self, reactor: Any, breaks_at: int | None = None, with_error: BaseException | None = None) -> None:
        super().__init__(reactor)
        self.breaks_at = breaks_at
        self.with_error = with_error
        self.steps: list[str] = []
        self.crashed = False
        self._dirty: dict[int, Path] = {}
        self._torn: set[Path] = set()
        self._undo: list[tuple[Path, Path, bytes | None]] = []

    def _step(self, name: str) -> None:
        if self.crashed:
            raise Crash
        self.steps.append(name)
        if self.breaks_at is not None and len(self.steps) > self.breaks_at:
            if isinstance(self.with_error, Crash):
                self.crashed = True
                raise self.with_error
            if len(self.steps) == self.breaks_at + 1:
                raise self.with_error or OSError(5, "broken")

    def create(self, path: Path) -> int:
        self._step("create")
        descriptor = super().create(path)
        self._dirty[descriptor] = path
        self._torn.add(path)
        return descriptor

    def write(self, descriptor: int, octets: bytes) -> None:
        self._step("write")
        super().write(descriptor, octets)

    def sync(self, descriptor: int) -> None:
        self._step("sync")
        super().sync(descriptor)
        if descriptor in self._dirty:
            self._torn.discard(self._dirty[descriptor])

    def rename(self, old: Path, new: Path) -> None:
        self._step("rename")
        self._undo.append((old, new, new.read_bytes() if new.exists() else None))
        if old in self._torn:
            self._torn.add(new)
        super().rename(old, new)

    def sync_directory(self, directory: Path) -> None:
        self._step("sync_directory")
        super().sync_directory(directory)
        self._undo.clear()

    def unlink(self, path: Path) -> None:
        self._step("unlink")
        super().unlink(path)

    def lose_unsynced(self, names: bool) -> None:
        """Make of the files what a crash may leave of them; `names` says that renames are lost too."""
        for path in self._torn:
            if path.exists():
                os.truncate(path, path.stat().st_size // 2)
        for old, new, before in reversed(self._undo if names else []):
            if new.exists():
                new.replace(old)
            if before is not None:
                new.write_bytes(before)


def fail_now(case: SynchronousTestCase, kind: type[Exception], coroutine: Any) -> None:
    """Expect a coroutine to raise, without waiting."""
    case.failureResultOf(Deferred.fromCoroutine(coroutine), kind)


class House:
    """Everything between a client and two mailboxes."""

    def __init__(
        self,
        data: Path,
        *,
        courier: ICourier | None = None,
        store: IMailStore | None = None,
        policies: Sequence[IDeliveryPolicy] = (),
        reactor: Any = None,
        disk: Disk | None = None,
        directory: PretendDirectory | None = None,
    ) -> None:
        self.reactor = reactor or PretendReactor()
        self.site = Site("mx.example.org", frozenset({"example.org"}), data, self.reactor)
        self.directory = directory or PretendDirectory()
        self.store = store or MemoryStore()
        self.disk = disk or Disk(self.reactor)
        self.spool = Spool(directory=data, disk=self.disk)
        links = [Link(type(policy).__name__, policy) for policy in policies]
        self.intake = Intake(
            site=self.site,
            directory=self.directory,
            router=LocalRouter(directory=self.directory),
            couriers={"mailbox": courier or MailboxCourier(directory=self.directory, store=self.store)},
            policies=Pipeline(links, self.reactor),
            spool=self.spool,
            drafts=DraftRoom(directory=data / "drafts", disk=Disk(self.reactor), clock=self.reactor),
        )
        self.runner = QueueRunner(site=self.site, spool=self.spool, delivery=self.intake.delivery, chance=lambda: 0.5)

    async def send(
        self,
        *recipients: Address,
        octets: bytes = MESSAGE,
        sender: Address | None = CAROL,
        client: Client = CLIENT,
        name: str = "1a2b",
        smtputf8: bool = False,
    ) -> list[Outcome]:
        """Hand a message in, as a session does."""
        draft = await self.intake.open_draft(len(octets))
        await draft.write(octets)
        try:
            return await self.intake.accept(client, Envelope(name, sender, recipients, smtputf8), draft)
        finally:
            await draft.close()

    async def mail(self, account: str, *path: str) -> list[bytes]:
        """Return the messages in a mailbox, by default the inbox."""
        return await read_mailbox(self.store, account, path or ("INBOX",))


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
