"""Which part stands behind which: where implementations meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailfw.accounts.attempts import AttemptLimits, LoginAttempts
from mailfw.accounts.names import default_domain
from mailfw.accounts.portal import build_portal
from mailfw.accounts.realm import MailRealm
from mailfw.accounts.secret import LastingSecret
from mailfw.allowance import Allowance
from mailfw.configuration import Configuration
from mailfw.configuration.choices import Choices
from mailfw.generations import Generations
from mailfw.http.site import Status, http_site
from mailfw.interfaces import IMailStore
from mailfw.network import Networks
from mailfw.policies.tally import OwnTally
from mailfw.pop3.locks import OwnLocks
from mailfw.service.judges import Judges, make_judges, site_of
from mailfw.service.post import DAY, Post, make_post, make_store
from mailfw.service.sessions import IMPLICIT_TLS, Parts, make_sessions, pop3_logins
from mailfw.service.sweeper import Sweeper
from mailfw.sharing import view_of
from mailfw.site import Site
from mailfw.smtp.factory import Load
from mailfw.tls.certificates import Certificates
from mailfw.wire.protocol import SessionFactory
from mailfw.wire.proxied import ProxiedFactory


@dataclass(frozen=True, slots=True)
class Assembly:
    """
    A server put together; nothing listens to it yet.

    `factories` are for the doors, by service, with TLS around those that need it; `sessions` are the same without.
    """

    checkers: Sequence[Any]
    store: IMailStore
    sweeper: Sweeper
    post: Post
    judges: Judges
    sessions: dict[str, SessionFactory]
    factories: dict[str, IProtocolFactory]

    async def start(self) -> None:
        """Look what the last process left, then begin to work through it."""
        await self.post.start()
        self.sweeper.start()

    async def stop(self) -> None:
        """Finish what is under way; the store is closed last."""
        await self.sweeper.stop()
        await self.post.stop()
        await self.store.close()

    def connections(self) -> dict[str, int]:
        """Return how many there are now, by service."""
        return {name: factory.connections for name, factory in self.sessions.items()}


def assemble(
    configuration: Configuration,
    choices: Choices,
    certificates: Certificates,
    reactor: Any,
    checkers: Sequence[Any],
    status: Status,
    processor: Callable[[], float] = time.thread_time,
    generations: Generations | None = None,
) -> Assembly:
    """
    Make every part, in the order in which they need each other.  Raises `PluginRefused`.

    `processor` tells the seconds that whoever takes mail in has worked.  With `generations` workers read the store.
    """
    site = site_of(configuration, reactor)
    judges = make_judges(configuration, choices, site, checkers)
    store = make_store(configuration, choices, site, generations)
    post = make_post(configuration, choices, site, judges, store, processor)
    secret = LastingSecret(site.data / "scram.secret", reactor)
    realm = MailRealm(store, partial(view_of, with_anyone=configuration.store.share_with_anyone))
    portal = build_portal(realm, judges.checkers, default_domain(site), judges.accounts, secret.value)
    limits = configuration.limits
    parts = Parts(
        configuration,
        certificates,
        portal,
        judges,
        post.intake,
        post.etrn,
        OwnLocks(),
        login_attempts(configuration, site),
        Load(limits.messages_in_flight, limits.octets_in_flight),
        Allowance(limits.errors_per_minute, 60.0, reactor.seconds),
        reactor,
        pop3_logins(configuration, OwnTally(reactor.seconds)),
    )
    sessions = make_sessions(parts)
    factories = {name: behind_tls(parts, name, factory) for name, factory in sessions.items()}
    factories["http"] = http_site(status)
    sweeper = Sweeper(store, configuration.store.retention * DAY, reactor)
    return Assembly(judges.checkers, store, sweeper, post, judges, sessions, factories)


def behind_tls(parts: Parts, name: str, factory: SessionFactory) -> IProtocolFactory:
    """Return what a door leads to: TLS where connections begin with it, behind a proxy's word on who is there."""
    inner: IProtocolFactory = factory
    if name in IMPLICIT_TLS:
        inner = TLSMemoryBIOFactory(parts.tls(name), False, factory, parts.reactor)
    proxies = parts.configuration.trust.proxy
    return ProxiedFactory(inner, Networks(proxies), parts.reactor) if proxies else inner


def login_attempts(configuration: Configuration, site: Site) -> LoginAttempts:
    """Return the count of failed logins that all services share."""
    limits = configuration.limits
    return LoginAttempts(
        site.reactor,
        AttemptLimits(
            limits.login_failures_per_address,
            limits.login_failures_per_account,
            limits.login_delay,
            limits.login_longest_delay,
            limits.login_refusal,
        ),
        default_domain(site),
    )
