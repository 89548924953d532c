"""
A worker: ``python -m mailfw.service.worker REACTOR``, started by a server with a connection to it as descriptor 3.

It is told which configuration to read and where to listen, and speaks with clients; whatever is kept, the server keeps.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from twisted.cred.strcred import makeChecker
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import LogEvent, Logger, LogLevel, formatEvent, globalLogBeginner
from twisted.python.reflect import namedModule

from mailfw import __version__
from mailfw.accounts.names import default_domain
from mailfw.accounts.portal import build_portal
from mailfw.accounts.realm import MailRealm
from mailfw.accounts.secret import LastingSecret
from mailfw.cluster.admission import Admission
from mailfw.cluster.channel import Asking
from mailfw.cluster.counters import Counters
from mailfw.cluster.custody import RemoteCustody, RemoteLocks, RemotePolicy, questions_of
from mailfw.cluster.keeper import WorkerDesk
from mailfw.cluster.offers import lend
from mailfw.cluster.shares import Shares
from mailfw.cluster.store import RemoteStore, Watches
from mailfw.configuration import Configuration, ConfigurationRefused
from mailfw.configuration.choices import Choices, read
from mailfw.generations import Generations
from mailfw.interfaces import IDeliveryPolicy, IMailStore
from mailfw.plugins import PluginRefused, Recipe, with_octets
from mailfw.queue.steady import steady_from, steady_timers
from mailfw.service.assembly import behind_tls, login_attempts
from mailfw.service.collector import let_be
from mailfw.service.first_start import configured_certificates, own_pair
from mailfw.service.judges import make_judges, site_of
from mailfw.service.post import make_intake, make_reading_store
from mailfw.service.server import raise_file_limit
from mailfw.service.sessions import Parts, make_sessions, pop3_logins
from mailfw.service.stock import kind_of
from mailfw.sharing import view_of
from mailfw.site import Site
from mailfw.smtp.factory import Load
from mailfw.tls.certificates import CertificateRefused, Certificates
from mailfw.wire.listening import adopt
from mailfw.wire.protocol import SessionFactory

log = Logger()

#: The descriptor of the connection to the keeper.
KEEPER = 3
#: What the count of logins for POP3 is called among those of policies, whose names are other.
POP3_LOGINS = "logins to POP3"
#: Seconds between two looks whether a retired worker has connections left.
_LOOK = 0.5


@dataclass(frozen=True, slots=True)
class Orders:
    """
    What the keeper tells a new worker; `ports` are services, descriptors, address families and backlogs.

    `store` is what keeps the mail, `offers` what else it does (`mailfw.cluster.offers`), and `generations` the
    descriptor of what tells that it has changed.
    """

    version: str
    number: int
    count: int
    clock: float
    file: str | None
    settings: Sequence[str]
    auth: Sequence[str]
    ports: Sequence[tuple[str, int, int, int]]
    store: str
    offers: Sequence[str]
    generations: int


class CannotWork(Exception):
    """The orders cannot be followed; the text says why."""


class WorkerProcess:
    """One worker, from its first word to its end."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._thread = threading.get_ident()
        self._watches = Watches()
        self._counters: Counters | None = None
        self._sessions: dict[str, SessionFactory] = {}
        self._ports: list[Any] = []
        self._certificates: Certificates | None = None
        self._early: list[tuple[str, tuple[Any, ...]]] = []
        self._shares: Shares | None = None
        self._early_lows: list[tuple[str, int, list[str]]] = []
        self._look: LoopingCall | None = None
        self._admission: Admission | None = None
        self._is_over = False
        self._unlogged = 0
        self._store: IMailStore | None = None
        listeners: dict[str, Callable[..., None]] = {
            "orders": self._hear_orders,
            "retire": self._retire,
            "answer": lambda: self._asking.tell("alive"),
            "notice": self._watches.hear,
            "connections": partial(self._count, "connections"),
            "counted": partial(self._count, "counted"),
            "low": self._hear_low,
        }
        self._asking = Asking(WorkerDesk, listeners, self._keeper_lost)
        self.failed = False

    def run(self) -> int:
        """Work until asked to end; return the exit code."""
        observer: Any = self._observe
        globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
        for each in (signal.SIGHUP, signal.SIGINT):  # which the keeper hears, whoever else does
            signal.signal(each, signal.SIG_IGN)
        self._reactor.callWhenRunning(signal.signal, signal.SIGTERM, lambda *_: self._reactor.callFromThread(self._end))
        factory: Any = Factory.forProtocol(lambda: self._asking)
        factory.noisy = False
        self._reactor.adoptStreamConnection(KEEPER, socket.AF_UNIX, factory)
        os.close(KEEPER)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._close)
        self._reactor.run()
        return int(self.failed)

    def _observe(self, event: LogEvent) -> None:
        """Have the keeper log what we log."""
        text = formatEvent(event)
        if "log_failure" in event:
            text += "\n" + event["log_failure"].getTraceback()
        level: Any = event.get("log_level", LogLevel.info)
        if not text or event.get("log_namespace") == "log_legacy":
            return
        said = level.name, str(event.get("log_namespace", "-")), text
        if threading.get_ident() == self._thread:
            self._tell_log(*said)
        else:
            self._reactor.callFromThread(self._tell_log, *said)

    def _tell_log(self, *said: str) -> None:
        """Pass it on; what a keeper that is behind cannot be told is counted."""
        if self._asking.is_full:
            self._unlogged += 1
            return
        if self._unlogged:
            text = f"The keeper was behind: {self._unlogged} events were not logged"
            self._unlogged = 0
            self._asking.tell("log", "warn", __name__, text)
        self._asking.tell("log", *said)

    def _keeper_lost(self) -> None:
        """
        End at once: the keeper is gone, and with it all that mail could be left with.

        What it did last nobody knows, so that clients that wait must get no answer, not even that it failed.
        """
        if not self._is_over:
            os._exit(1)

    def _end(self) -> None:
        with contextlib.suppress(Exception):
            self._reactor.stop()

    # ------------------------------------------------------------ orders

    def _hear_orders(self, said: dict[str, Any]) -> None:
        try:
            self._follow(Orders(**said))
        except (CannotWork, ConfigurationRefused, PluginRefused, CertificateRefused) as reason:
            log.critical("A worker cannot start: {reason}", reason=str(reason))
            self._fail()
        except Exception:
            log.failure("A worker cannot start")
            self._fail()

    def _fail(self) -> None:
        self.failed = True
        # After what was logged has left.
        self._reactor.callLater(0.2, self._end)

    def _follow(self, orders: Orders) -> None:
        if orders.version != __version__:
            raise CannotWork(f"this is mailfw {__version__}, and the server is {orders.version}: start it again")
        raise_file_limit()
        steady_timers(self._reactor)
        _, configuration, choices = read(Path(orders.file) if orders.file else None, orders.settings)
        parts = self._parts(configuration, choices, orders)
        self._sessions = make_sessions(parts)
        for service, descriptor, family, backlog in orders.ports:
            factory = behind_tls(parts, service, self._sessions[service])
            self._ports.append(adopt(self._reactor, descriptor, family, backlog, factory))
            os.close(descriptor)
        assert self._counters is not None
        self._admission = Admission(self._ports, self._counters, orders.count - 1, self._reactor)
        let_be()
        self._asking.tell("ready")

    def _parts(self, configuration: Configuration, choices: Choices, orders: Orders) -> Parts:
        limits = configuration.limits
        site = site_of(configuration, self._reactor)
        custody = RemoteCustody(self._asking)
        checkers = [with_octets(makeChecker(each)) for each in orders.auth]
        self._shares = Shares(self._asking, orders.count, self._reactor)
        judges = make_judges(configuration, choices, site, checkers, self._policy, self._shares.tally)
        for names in self._early_lows:
            self._shares.hear_low(*names)
        secret = LastingSecret(site.data / "scram.secret", self._reactor)
        view = partial(view_of, with_anyone=configuration.store.share_with_anyone)
        realm = MailRealm(self._make_store(configuration, choices, site, orders), view)
        portal = build_portal(realm, judges.checkers, default_domain(site), judges.accounts, secret.value)
        self._certificates = _certificates(configuration)
        self._certificates.watch(self._reactor)
        self._counters = counters = Counters(
            login_attempts(configuration, site), (limits.errors_per_minute, 60.0), self._reactor, self._asking.tell
        )
        for kind, said in self._early:
            self._count(kind, *said)
        return Parts(
            configuration,
            self._certificates,
            portal,
            judges,
            make_intake(configuration, site, judges, custody, steady_from(orders.clock)),
            custody.etrn,
            RemoteLocks(self._asking),
            counters.attempts,
            Load(_share(limits.messages_in_flight, orders.count), _share(limits.octets_in_flight, orders.count)),
            counters.mistakes,
            self._reactor,
            pop3_logins(configuration, self._shares.tally(POP3_LOGINS)),
            counters.elsewhere,
        )

    def _make_store(self, configuration: Configuration, choices: Choices, site: Site, orders: Orders) -> IMailStore:
        """Make what reads the keeper's store; another one in the configuration waits for the keeper's next start."""
        writer = RemoteStore(self._asking, self._watches)
        lend(self._asking, writer, orders.offers)
        if kind_of(choices.store) != orders.store:
            self._store = writer
        else:
            generations = Generations(orders.generations)
            self._store = make_reading_store(configuration, choices, site, writer, generations)
        os.close(orders.generations)
        return self._store

    def _policy(self, name: str, recipe: Recipe) -> IDeliveryPolicy:
        return RemotePolicy(self._asking, name, questions_of(recipe.factory))

    def _count(self, kind: str, *said: Any) -> None:
        """Hear what others count; before there is anybody to count, remember it."""
        if self._counters is None:
            self._early.append((kind, said))
        elif kind == "connections":
            self._counters.hear_connections(*said)
        else:
            self._counters.hear_counted(*said)

    def _hear_low(self, policy: str, number: int, names: list[str]) -> None:
        """Hear of whom not much is left, by the counts of policies."""
        if self._shares is None:
            self._early_lows.append((policy, number, names))
        else:
            self._shares.hear_low(policy, number, names)

    # ------------------------------------------------------------ the end

    def _retire(self) -> None:
        """Take no more connections, and end with the last."""
        self._stop_listening()
        if self._look is None:
            self._look = LoopingCall(self._end_if_last)
            self._look.clock = self._reactor
            self._look.start(_LOOK)

    def _end_if_last(self) -> None:
        if not any(factory.connections for factory in self._sessions.values()):
            self._end()

    def _stop_listening(self) -> None:
        if self._admission is not None:
            self._admission.stop()

    def _close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._finish())

    async def _finish(self) -> None:
        self._stop_listening()
        if self._certificates is not None:
            self._certificates.stop()
        sessions = [Deferred.fromCoroutine(each.shut_down()) for each in self._sessions.values()]
        await DeferredList(sessions, consumeErrors=True)
        if self._store is not None:
            await self._store.close()
        self._is_over = True


def _share(limit: int, count: int) -> int:
    """Return a worker's part of a limit; 0 stays none."""
    return max(1, limit // count) if limit else 0


def _certificates(configuration: Configuration) -> Certificates:
    found = configured_certificates(configuration)
    if found is not None:
        return found
    return Certificates(
        configuration.hostname, own_pair(configuration), authorities=configuration.tls.client_authorities
    )


def main() -> int:
    """Work in this process, with the reactor of the keeper."""
    module: Any = namedModule(sys.argv[1])
    module.install()
    from twisted.internet import reactor

    return WorkerProcess(reactor).run()


if __name__ == "__main__":
    raise SystemExit(main())
