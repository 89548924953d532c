"""Which part stands behind which: the one place where implementations meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailfw import __version__
from mailfw.accounts.names import default_domain
from mailfw.accounts.portal import account_list, build_portal
from mailfw.accounts.realm import MailRealm
from mailfw.configuration import Configuration
from mailfw.configuration.choices import Choices
from mailfw.http.site import Status, http_site
from mailfw.imap.factory import IMAPSettings, imap_factory
from mailfw.interfaces import IDeliveryPolicy, IDirectory, IMailStore, IMessageSource, IRouter
from mailfw.mail.envelope import Service
from mailfw.plugins import PluginRefused, Recipe
from mailfw.policies.pipeline import Link, Pipeline
from mailfw.pop3.factory import POP3Settings, pop3_factory
from mailfw.queue.disk import Disk
from mailfw.queue.drafts import DraftRoom
from mailfw.queue.intake import Intake
from mailfw.queue.runner import QueueRunner
from mailfw.queue.schedule import Schedule
from mailfw.queue.spool import Spool
from mailfw.site import Site
from mailfw.smtp.factory import SMTPSettings, smtp_factory
from mailfw.stores.indexed import indexed
from mailfw.tls.certificates import Certificates
from mailfw.wire.limits import ConnectionLimits
from mailfw.wire.protocol import SessionFactory


def site_of(configuration: Configuration, reactor: Any) -> Site:
    """Return what plug-ins may know."""
    return Site(configuration.hostname, frozenset(configuration.domains), configuration.data, reactor)


@dataclass(frozen=True, slots=True)
class Assembly:
    """
    A server put together; nothing listens to it yet.

    `factories` are for the doors, by service, with TLS around those that need it; `sessions` are the same without.
    """

    checkers: Sequence[Any]
    store: IMailStore
    queue: QueueRunner
    sessions: dict[str, SessionFactory]
    factories: dict[str, IProtocolFactory]

    async def start(self) -> None:
        """Begin to work through the queue."""
        self.queue.startService()

    async def stop(self) -> None:
        """Finish what is under way; the store is closed last."""
        await self.queue.stopService()
        await self.store.close()

    def connections(self) -> dict[str, int]:
        """Return how many there are now, by service."""
        return {name: factory.connections for name, factory in self.sessions.items()}


@dataclass(frozen=True, slots=True)
class Parts:
    """What the sessions work with."""

    configuration: Configuration
    certificates: Certificates
    portal: Portal
    directory: IDirectory
    router: IRouter
    policies: IDeliveryPolicy
    intake: Intake
    reactor: Any

    def limits(self) -> ConnectionLimits:
        """Return the bounds of one service."""
        limits = self.configuration.limits
        return ConnectionLimits(limits.connections, limits.connections_per_address)


def assemble(
    configuration: Configuration,
    choices: Choices,
    certificates: Certificates,
    reactor: Any,
    checkers: Sequence[Any],
    status: Status,
) -> Assembly:
    """Make every part, in the order in which they need each other.  Raises `PluginRefused`."""
    site = site_of(configuration, reactor)
    judges = make_judges(choices, site, checkers)
    directory, router, policies = judges.directory, judges.router, judges.policies
    store = make_store(choices.store, site)
    couriers = {each.name: each.make(site=site, directory=directory, store=store) for each in choices.courier}
    disk = Disk(reactor)
    spool = Spool(directory=site.data / "spool", disk=disk)
    schedule = Schedule(
        configuration.queue.first_pause, configuration.queue.longest_pause, configuration.queue.lifetime
    )
    intake = Intake(
        site=site,
        directory=directory,
        router=router,
        couriers=couriers,
        policies=policies,
        spool=spool,
        drafts=DraftRoom(directory=site.data / "spool" / "drafts", disk=disk, clock=reactor),
        schedule=schedule,
    )
    queue = QueueRunner(site=site, spool=spool, delivery=intake.delivery, schedule=schedule)
    portal = build_portal(MailRealm(store), judges.checkers, default_domain(site))
    sessions = make_sessions(Parts(configuration, certificates, portal, directory, router, policies, intake, reactor))
    factories: dict[str, IProtocolFactory] = {
        name: TLSMemoryBIOFactory(certificates, False, factory, reactor) if name in IMPLICIT_TLS else factory
        for name, factory in sessions.items()
    }
    factories["http"] = http_site(status)
    return Assembly(judges.checkers, store, queue, sessions, factories)


@dataclass(frozen=True, slots=True)
class Judges:
    """The plug-ins that answer questions; those that keep mail are not among them."""

    checkers: Sequence[Any]
    directory: IDirectory
    router: IRouter
    policies: IDeliveryPolicy


def make_judges(choices: Choices, site: Site, checkers: Sequence[Any] = ()) -> Judges:
    """Make them; nothing is written by it, so that a configuration can be tried.  Raises `PluginRefused`."""
    checkers = checkers or [recipe.make(site=site) for recipe in choices.auth]
    domain = default_domain(site)
    accounts = [found for each in checkers if (found := account_list(each, site.reactor, domain)) is not None]
    directory = choices.directory.make(site=site, accounts=accounts)
    router = choices.router.make(site=site, directory=directory)
    links = [
        Link(each.plugin, recipe.make(site=site), each.timeout, each.on_failure) for each, recipe in choices.policy
    ]
    return Judges(checkers, directory, router, Pipeline(links, site.reactor))


def make_store(recipe: Recipe, site: Site) -> IMailStore:
    """Make the store; what is only a message source is indexed by us."""
    product = recipe.make(site=site)
    store: IMailStore
    if IMailStore.providedBy(product):
        store = product
        return store
    if not IMessageSource.providedBy(product):
        raise PluginRefused(f"store plug-in {recipe.name!r} makes neither an IMailStore nor an IMessageSource")
    store = indexed(product, site)
    return store


# ---------------------------------------------------------------- sessions

#: Services whose connections begin with a TLS handshake.
IMPLICIT_TLS = frozenset({"submissions", "imaps", "pop3s"})
#: Services of mail being handed to us, and what the protocol calls them.
RECEIVING = {
    "smtp": Service.SMTP,
    "submission": Service.SUBMISSION,
    "submissions": Service.SUBMISSION,
    "lmtp": Service.LMTP,
}


def make_sessions(parts: Parts) -> dict[str, SessionFactory]:
    """Return a factory for each service that speaks a mail protocol; one that nobody listens with costs nothing."""
    locked: set[str] = set()  # POP3 locks a maildrop, whichever port the other session came in by
    sessions = {name: _smtp(parts, name) for name in RECEIVING}
    sessions |= {name: _imap(parts, name) for name in ("imap", "imaps")}
    sessions |= {name: _pop3(parts, name, locked) for name in ("pop3", "pop3s")}
    return sessions


def _start_tls(parts: Parts, name: str) -> Certificates | None:
    return None if name in IMPLICIT_TLS else parts.certificates


def _smtp(parts: Parts, name: str) -> SessionFactory:
    configuration = parts.configuration
    settings = SMTPSettings(
        configuration.hostname,
        RECEIVING[name],
        max_size=configuration.limits.message_size,
        max_recipients=configuration.limits.recipients,
        allow_plaintext_auth=configuration.allow_plaintext_auth,
        tls=_start_tls(parts, name),
        timeout=configuration.limits.smtp_timeout,
    )
    return smtp_factory(
        settings,
        intake=parts.intake,
        directory=parts.directory,
        router=parts.router,
        policies=parts.policies,
        portal=parts.portal,
        clock=parts.reactor,
        limits=parts.limits(),
    )


def _imap(parts: Parts, name: str) -> SessionFactory:
    settings = IMAPSettings(
        parts.configuration.hostname,
        tls=_start_tls(parts, name),
        allow_plaintext_auth=parts.configuration.allow_plaintext_auth,
        append_limit=parts.configuration.limits.message_size,
        version=__version__,
    )
    return imap_factory(
        settings, portal=parts.portal, open_draft=parts.intake.open_draft, clock=parts.reactor, limits=parts.limits()
    )


def _pop3(parts: Parts, name: str, locked: set[str]) -> SessionFactory:
    settings = POP3Settings(
        parts.configuration.hostname,
        allow_plaintext_auth=parts.configuration.allow_plaintext_auth,
        tls=_start_tls(parts, name),
        timeout=parts.configuration.limits.pop3_timeout,
    )
    return pop3_factory(settings, portal=parts.portal, clock=parts.reactor, limits=parts.limits(), in_use=locked)
