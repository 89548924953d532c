"""The life of a server: bind, change user, open, serve, and stop in the order in which nothing is lost."""

from __future__ import annotations

import atexit
import contextlib
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from mailfw.accounts.passwords import PasswordFile
from mailfw.cluster.workers import SharedPort
from mailfw.configuration import Configuration
from mailfw.configuration.choices import Choices
from mailfw.http.autoconfig import Listener
from mailfw.mail.failure import NoSpace
from mailfw.plugins import PluginRefused
from mailfw.queue.steady import steady_timers
from mailfw.service import first_start
from mailfw.service.assembly import Assembly, assemble
from mailfw.service.collector import let_be
from mailfw.service.control import Control
from mailfw.service.crew import Crew
from mailfw.service.judges import site_of
from mailfw.service.lender import Lender
from mailfw.service.offline import make_answers
from mailfw.service.ports import CannotStart, DaemonCannotStart, Ports
from mailfw.service.text_log import TextLog
from mailfw.service.welcome import welcome
from mailfw.tls.certificates import CertificateRefused, Certificates
from mailfw.tls.self_signed import PEM, generate

log = Logger()


class Server(Service):
    """
    One mail server.

    `embedded` says that there is no configuration file.  `checkers` take the place of the configuration's
    ``[[auth]]``.  `owner` is the uid and gid that twistd will change to between `privilegedStartService` and
    `startService`; `twist` calls the latter alone.  `is_daemon` says that somebody waits to hear how we started;
    `text_log` is for twistd to log with.  `crew` speaks with clients in other processes, where there is one.
    """

    def __init__(
        self,
        configuration: Configuration,
        choices: Choices,
        reactor: Any,
        *,
        embedded: bool = False,
        checkers: Sequence[Any] = (),
        owner: tuple[int | None, int | None] = (None, None),
        is_daemon: bool = False,
        text_log: TextLog | None = None,
        crew: Crew | None = None,
    ) -> None:
        self._configuration = configuration
        self._choices = choices
        self._reactor = reactor
        self._embedded = embedded
        self._checkers = checkers
        self._owner = owner
        self._is_daemon = is_daemon
        self._text_log = text_log
        self._signalled = crew
        self._crew = crew if crew is not None and crew.count else None
        self._shared: Sequence[SharedPort] = ()
        self._ports = Ports()
        self._bound = False
        self._certificates: Certificates | None = None
        self._fresh: PEM | None = None
        self._assembly: Assembly | None = None
        self._control: Control | None = None
        self._lender: Lender | None = None
        self._lock = -1
        self._opening: Deferred[None] | None = None
        self.is_ready = False

    # ------------------------------------------------------------ what the status page tells

    @property
    def hostname(self) -> str:
        """How we call ourselves."""
        return self._configuration.hostname

    @property
    def domains(self) -> Sequence[str]:
        """What we receive mail for."""
        return self._configuration.domains

    @property
    def listeners(self) -> Sequence[Listener]:
        """What is open."""
        return self._ports.listeners

    def connections(self) -> dict[str, int]:
        """Return how many there are now, by service."""
        if self._crew is not None:
            return self._crew.connections()
        return self._assembly.connections() if self._assembly else {}

    # ------------------------------------------------------------ starting

    def setServiceParent(self, parent: Any) -> None:
        """Have twistd, whose application this is for, log with our `TextLog`."""
        if self._text_log is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._text_log)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]  # Twisted's is untyped

    def privilegedStartService(self) -> None:
        """Do what only root may: open low ports, read keys, make the data directory.  Raises `CannotStart`."""
        with self._heard_by_parent():
            self._prepare()

    def _prepare(self) -> None:
        raise_file_limit()
        steady_timers(self._reactor)
        first_start.make_directory(self._configuration.data, self._owner)
        try:
            self._certificates = first_start.configured_certificates(self._configuration)
        except CertificateRefused as reason:
            raise CannotStart(str(reason))
        if self._certificates is None:
            # Made now and written later: the library imports parts of itself that only root may be able to read.
            self._fresh = generate([self.hostname])
        self._ports.bind(self._configuration.listen, self._reactor)
        if self._crew is not None:
            self._shared = self._ports.share({"http"})
        self._bound = True

    def startService(self) -> None:
        """Open everything, as the user that owns the data.  Raises `CannotStart`."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is untyped
        with self._heard_by_parent():
            if not self._bound:
                self._prepare()
            self._serve()

    @contextlib.contextmanager
    def _heard_by_parent(self) -> Iterator[None]:
        """Turn a refusal into what twistd passes on to the process that waits for the daemon to be there."""
        try:
            yield
        except CannotStart as refused:
            if self._is_daemon:
                raise DaemonCannotStart(str(refused).removeprefix("mailfw: ")) from None
            raise

    def _serve(self) -> None:
        self._lock = first_start.lock(self._configuration.data)
        if self._certificates is None:
            assert self._fresh is not None
            self._certificates = first_start.own_certificates(self._configuration, self._fresh)
        self._certificates.watch(self._reactor)
        try:
            self._assembly = assemble(
                self._configuration,
                self._choices,
                self._certificates,
                self._reactor,
                self._checkers,
                self,
                self._crew.worked if self._crew is not None else time.thread_time,
                self._crew.generations if self._crew is not None else None,
            )
        except PluginRefused as reason:
            raise CannotStart(str(reason))
        self._opening = Deferred.fromCoroutine(self._open(self._assembly))
        self._opening.addErrback(self._cannot_open)

    async def _open(self, assembly: Assembly) -> None:
        await assembly.start()
        self._control = self._take_commands(assembly)
        self._lender = self._lend(assembly)
        if self._signalled is not None:
            self._signalled.heed_signals(self._configuration, self._reactor, self._upgrade)
        if self._crew is not None:
            await self._crew.start(assembly, self._shared, self._configuration, self._choices, self._reactor)
        for name, factory in assembly.factories.items():
            if name in self._ports.doors:
                self._ports.doors[name].open(factory)
        self.is_ready = True
        let_be()
        account, password = await self._first_account(assembly)
        log.info(
            "{welcome}",
            welcome=welcome(self.hostname, self.domains, self.listeners, account, password),
            listeners=[str(listener) for listener in self.listeners],
        )

    def _take_commands(self, assembly: Assembly) -> Control:
        """Let the console commands ask."""
        site = site_of(self._configuration, self._reactor)
        answers = make_answers(self._configuration, site, assembly.post, assembly.store)
        control = Control(data=self._configuration.data, reactor=self._reactor, answers=answers)
        control.listen()
        return control

    def _lend(self, assembly: Assembly) -> Lender:
        """Let commands move mail."""
        data = self._configuration.data
        lender = Lender(data=data, reactor=self._reactor, store=assembly.store, post=assembly.post)
        lender.listen()
        return lender

    async def _first_account(self, assembly: Assembly) -> tuple[str | None, str | None]:
        """Make one only where nothing was configured: who writes a configuration says who may log in."""
        editable = [checker for checker in assembly.checkers if isinstance(checker, PasswordFile)]
        if not editable or not self._embedded:
            return None, None
        return await first_start.make_first_account(editable[0], self.domains[0], self._reactor)

    def _cannot_open(self, failure: Any) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(NoSpace):
            log.critical(
                "mailfw cannot start: the disk with {data} is full, and what is in the queue cannot be looked at. "
                "Nothing is lost: make room and start again",
                data=str(self._configuration.data),
            )
        else:
            log.failure("mailfw cannot start", failure)
        self._reactor.stop()

    def _upgrade(self) -> None:
        """Stop, and start the program as it is now in our place; meanwhile clients find the ports open, and wait."""
        if self._owner != (None, None):
            log.error("mailfw cannot be upgraded in place when it has changed its user: start it again")
            return
        try:
            self._reactor.stop()
        except ReactorNotRunning:  # it stops already, for this reason or another
            return
        log.info("mailfw starts again as the program is now")
        self._ports.hand_on()
        atexit.register(os.execv, sys.executable, sys.orig_argv)

    # ------------------------------------------------------------ stopping

    def stopService(self) -> Deferred[None]:
        """Stop; fires when the last session has ended and everything is written."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is untyped
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        self.is_ready = False
        if self._opening is not None:
            self._opening.cancel()
        await self._ports.close()
        if self._signalled is not None:
            await self._signalled.stop()
        if self._control is not None:
            await self._control.close()
        if self._lender is not None:
            await self._lender.close()
        if self._certificates is not None:
            self._certificates.stop()
        if self._assembly is not None:
            sessions = [Deferred.fromCoroutine(each.shut_down()) for each in self._assembly.sessions.values()]
            await DeferredList(sessions, consumeErrors=True)
            await self._assembly.stop()
        if self._lock >= 0:
            first_start.release(self._lock)
        log.info("mailfw has stopped")


def raise_file_limit() -> None:
    """Allow as many open connections as the system lets us ask for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
