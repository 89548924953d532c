"""The workers of a server, seen from the process that keeps: what they are told, and how they are replaced."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailfw import __version__
from mailfw.cluster.keeper import Counting, Keeper
from mailfw.cluster.offers import offers_of
from mailfw.cluster.workers import Program, SharedPort, Workers, processor_seconds
from mailfw.configuration import Configuration, ConfigurationRefused
from mailfw.configuration.choices import Choices, read
from mailfw.generations import Generations
from mailfw.options import check_endpoints
from mailfw.plugins import PluginRefused
from mailfw.service.assembly import Assembly
from mailfw.service.first_start import check_certificates
from mailfw.service.judges import counts, policy_names, site_of
from mailfw.service.stock import kind_of

log = Logger()

#: What workers read anew; all else is the keeper's, and changes when the server is started again.
THEIRS = frozenset(
    {
        "tls",
        "auth",
        "policy",
        "limits",
        "imap",
        "imap_client",
        "trust",
        "extensions",
        "mechanisms",
        "allow_plaintext_auth",
    }
)


#: What we hear.
_SIGNALS = (signal.SIGHUP, signal.SIGUSR2)


class Crew:
    """
    `count` workers, none for 0, and what signals ask for.

    `file`, `settings` and `auth` are what the command line says, and each worker is told.  `why_alone` is what people
    are told where there would have been workers otherwise.
    """

    def __init__(
        self, count: int, file: Path | None, settings: Sequence[str], auth: Sequence[str], why_alone: str = ""
    ) -> None:
        self.count = count
        self._why_alone = why_alone
        self._file = file.absolute() if file else None
        self._settings = list(settings)
        self._auth = list(auth)
        self._generations: Generations | None = None
        self._workers: Workers | None = None
        self._keeper: Keeper | None = None
        self._assembly: Assembly
        self._configuration: Configuration
        self._store: str
        self._reactor: Any
        self._reloading = False
        self._is_heeding = False

    @property
    def generations(self) -> Generations:
        """What tells workers at once that an account has changed."""
        if self._generations is None:
            self._generations = Generations.new()
        return self._generations

    def connections(self) -> dict[str, int]:
        """Return how many there are now, by service."""
        return self._keeper.register.totals() if self._keeper is not None else {}

    def worked(self) -> float:
        """Return the seconds that our thread has worked, and each processor for workers."""
        theirs = sum(map(processor_seconds, self._workers.pids)) if self._workers is not None else 0.0
        return time.thread_time() + theirs / (os.cpu_count() or 1)

    async def start(
        self,
        assembly: Assembly,
        ports: Sequence[SharedPort],
        configuration: Configuration,
        choices: Choices,
        reactor: Any,
    ) -> None:
        """Start the workers; when this returns they take connections."""
        self._assembly, self._configuration, self._reactor = assembly, configuration, reactor
        self._store = kind_of(choices.store)
        self._keeper = Keeper(
            store=assembly.store,
            custody=assembly.post.custody,
            etrn=assembly.post.etrn,
            policies=dict(assembly.judges.counting),
            reactor=reactor,
        )
        self._workers = Workers(
            count=self.count,
            ports=ports,
            keeper=self._keeper,
            program=self._program,
            reactor=reactor,
            on_hopeless=self._give_up,
        )
        await self._workers.start()

    def heed_signals(self, configuration: Configuration, reactor: Any, upgrade: Callable[[], None]) -> None:
        """Reload when SIGHUP comes, and call `upgrade` for SIGUSR2 where the program could start then."""
        self._configuration = configuration
        if self._why_alone:
            log.info("One process does everything, since {why}; --workers N starts others", why=self._why_alone)
        self._is_heeding = True
        for each, do in zip(_SIGNALS, (self.reload, partial(self._upgrade, upgrade)), strict=True):
            signal.signal(each, lambda *_, do=do: reactor.callFromThread(do))

    def _program(self) -> Program:
        """Return what a worker is, now; the data directory may have been named relative to ours."""
        orders = {
            "version": __version__,
            "file": str(self._file) if self._file else None,
            "settings": [*self._settings, f"data={json.dumps(str(self._configuration.data.absolute()))}"],
            "auth": self._auth,
            "count": self.count,
            "clock": self._assembly.post.queue.seconds(),
            "store": self._store,
            "offers": offers_of(self._assembly.store),
        }
        inherited = {"generations": self.generations.descriptor}
        reactor = type(self._reactor).__module__  # plug-ins may need this one
        return Program((sys.executable, "-m", "mailfw.service.worker", reactor), orders, inherited)

    def _give_up(self) -> None:
        log.critical("mailfw cannot start: its workers end before they are ready, and have said above why")
        self._reactor.stop()

    # ------------------------------------------------------------ another configuration

    def reload(self) -> None:
        """Replace the workers by such as know the configuration and the program as they are now."""
        if self._reloading:
            return
        if self._workers is None:
            log.error("A single process reads certificates again, but not its configuration: SIGUSR2 starts it again")
            return
        self._reloading = True
        done = Deferred.fromCoroutine(self._reload(self._workers))
        done.addErrback(lambda why: log.failure("The configuration could not be read again", why))
        done.addBoth(self._reloaded)

    def _reloaded(self, result: object) -> None:
        self._reloading = False

    async def _reload(self, workers: Workers) -> None:
        try:
            _, configuration, choices = read(self._file, self._settings)
            self._add_policies(configuration, choices)
        except (ConfigurationRefused, PluginRefused) as reason:
            log.error("The configuration stays as it was: {reason}", reason=str(reason))
            return
        if await workers.replace():
            log.info("The configuration has been read again; {pending}", pending=self._pending(configuration))
        else:
            log.error("The configuration stays as it was: workers cannot start with the new one")

    def _pending(self, configuration: Configuration) -> str:
        """Return what of the new configuration waits for the next start."""
        waits = [
            each.name
            for each in fields(configuration)
            if each.name not in THEIRS and getattr(configuration, each.name) != getattr(self._configuration, each.name)
        ]
        return f"what has changed of {', '.join(waits)} needs a new start" if waits else "all of it holds"

    def _upgrade(self, upgrade: Callable[[], None]) -> None:
        """Give way to the program as it is now, unless it could not start with the configuration as that is now."""
        try:
            source, configuration, _ = read(self._file, self._settings)
            check_endpoints(source, configuration, [each for _, each in self._configuration.listen.endpoints()])
            check_certificates(source, configuration)
        except ConfigurationRefused as reason:
            log.error("mailfw goes on as it is: {reason}", reason=str(reason))
            return
        upgrade()

    def _add_policies(self, configuration: Configuration, choices: Choices) -> None:
        """Make the policies that count for new workers; those that were there go on counting."""
        assert self._keeper is not None
        site, policies = site_of(configuration, self._reactor), self._keeper.policies
        for name, (each, recipe) in zip(policy_names(choices), choices.policy, strict=True):
            if counts(recipe):
                policy = policies[name].policy if name in policies else recipe.make(site=site)
                policies[name] = Counting(policy, each.timeout)

    async def stop(self) -> None:
        """Have all workers end; who asks for others from now on is not heard, and must not end us with work to do."""
        if self._is_heeding:
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_IGN)
        if self._workers is not None:
            await self._workers.stop()
