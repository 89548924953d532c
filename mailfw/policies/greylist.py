"""Greylisting: a stranger is asked to come back, which most senders of spam never do (RFC 6647)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from mailfw.interfaces import IContent, IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.verdict import Defer, Verdict
from mailfw.network import read_ip
from mailfw.policies.patterns import network_of
from mailfw.site import Site

log = Logger()

#: Seconds between a change and writing it down: a crash costs some senders one more round.
_SAVE_AFTER = 60.0
#: Triplets and networks each that are remembered; the ones not seen for longest are forgotten first.
_REMEMBERED = 100_000
#: The first line of the file.
_FORMAT = "mailfw greylist 1"


@dataclass(slots=True)
class _Acquaintance:
    """When a triplet, or a network, was first and last seen, and how often it has come back in time."""

    first: float
    last: float
    passes: int = 0


class Acquaintances:
    """Who came when: a bounded table, the longest unseen first."""

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._remembered = remembered
        self._seen: dict[str, _Acquaintance] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def get(self, key: str) -> _Acquaintance | None:
        """Return what is known."""
        return self._seen.get(key)

    def meet(self, key: str, now: float) -> _Acquaintance:
        """Note that somebody came, for the first time or again."""
        one = self._seen.pop(key, None) or _Acquaintance(now, now)
        one.last = now
        self._seen[key] = one
        if len(self._seen) > self._remembered:
            del self._seen[next(iter(self._seen))]
        return one

    def forget(self, key: str) -> None:
        """Know nothing of somebody."""
        self._seen.pop(key, None)

    def entries(self) -> list[tuple[str, _Acquaintance]]:
        """Return everything, the longest unseen first."""
        return list(self._seen.items())

    def read(self, lines: Iterable[str]) -> None:
        """Read lines of a key, two times and a count.  Raises `ValueError`."""
        for line in lines:
            key, first, last, passes = line.split(" ")
            self._seen[key] = _Acquaintance(float(first), float(last), int(passes))


@implementer(IDeliveryPolicy)
class Greylist:
    """
    Defers the first attempt of each stranger: of each client network, sender and recipient together.

    A stranger is accepted after `delay` seconds if it comes back within `window`, and then known for `lifetime` seconds
    after it was last seen.  A network from which `auto_allow` strangers have come back is not asked again
    (0: always asked).  Clients that have logged in, LMTP and UNIX sockets pass.  What is known is kept in the
    file `path` of the data directory.
    """

    #: The questions whose answers depend on those before: all workers of a server ask the same one.
    counting = ("on_recipient",)

    def __init__(
        self,
        *,
        site: Site,
        delay: float = 300.0,
        window: float = 2 * 86400.0,
        lifetime: float = 35 * 86400.0,
        auto_allow: int = 5,
        path: str = "greylist",
    ) -> None:
        if not 0 < delay < window:
            raise ValueError("delay must be more than 0 and less than window")
        self._reactor = site.reactor
        self._delay = delay
        self._window = window
        self._lifetime = lifetime
        self._auto_allow = auto_allow
        self._triplets = Acquaintances()
        self._networks = Acquaintances()
        self._file = _Record(site.data / path, site.reactor, self._triplets, self._networks)

    async def on_connect(self, client: Client) -> Verdict | None:
        """Have no opinion."""

    async def on_helo(self, client: Client) -> Verdict | None:
        """Have no opinion."""

    async def on_sender(self, client: Client, sender: Address | None) -> Verdict | None:
        """Have no opinion."""

    async def on_recipient(self, client: Client, sender: Address | None, recipient: Address) -> Verdict | None:
        """Defer a stranger."""
        if client.account is not None or client.service is not Service.SMTP or read_ip(client.address) is None:
            return None
        now = self._reactor.seconds()
        network = network_of(client.address)
        if self._is_allowed(network, now):
            self._networks.meet(network, now)
            self._file.changed()
            return None
        wait = self._meet(_key(network, sender, recipient), network, now)
        self._file.changed()
        if not wait:
            return None
        # RFC 6647 section 5: a temporary reply; 450 is what RFC 5321 gives for a mailbox not available now.
        return Defer(f"You are new here; please try again in {math.ceil(wait)} s", "4.7.1", 450)

    async def on_message(self, client: Client, envelope: Envelope, content: IContent) -> Verdict | None:
        """Have no opinion."""

    def _is_allowed(self, network: str, now: float) -> bool:
        known = self._networks.get(network)
        if known is None or not self._auto_allow or known.passes < self._auto_allow:
            return False
        return now - known.last <= self._lifetime

    def _meet(self, key: str, network: str, now: float) -> float:
        """Note an attempt, and return how many seconds it came too early."""
        known = self._triplets.get(key)
        if known is not None and now - known.last > (self._lifetime if known.passes else self._window):
            self._triplets.forget(key)
        one = self._triplets.meet(key, now)
        waited = now - one.first
        if not one.passes and 0 <= waited < self._delay:
            return self._delay - waited
        if not one.passes:
            self._networks.meet(network, now).passes += 1
        one.passes += 1
        return 0.0


def _key(network: str, sender: Address | None, recipient: Address) -> str:
    """Return a short name for a triplet."""
    text = f"{network}\0{str(sender or '').lower()}\0{str(recipient).lower()}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


class _Record:
    """Two tables in one file, which is replaced some time after each change, and when the reactor stops."""

    def __init__(self, path: Path, reactor: Any, triplets: Acquaintances, networks: Acquaintances) -> None:
        self._path = path
        self._reactor = reactor
        self._tables = {"triplet": triplets, "network": networks}
        self._is_due = False
        self._read()
        if IReactorCore.providedBy(reactor):
            reactor.addSystemEventTrigger("before", "shutdown", self._save)

    def _read(self) -> None:
        try:
            lines = self._path.read_text("ascii").splitlines()
            if lines[:1] != [_FORMAT]:
                raise ValueError(f"The first line is not {_FORMAT!r}")
            for kind, table in self._tables.items():
                table.read(line.removeprefix(f"{kind} ") for line in lines if line.startswith(f"{kind} "))
        except FileNotFoundError:
            pass
        except (OSError, ValueError):
            log.failure("{path} cannot be read: greylisting begins anew", path=str(self._path))

    def changed(self) -> None:
        """See to it that the tables are written soon."""
        if not self._is_due:
            self._is_due = True
            self._reactor.callLater(_SAVE_AFTER, self._save)

    def _save(self) -> Deferred[None] | None:
        if not self._is_due:
            return None
        self._is_due = False
        tables = {kind: table.entries() for kind, table in self._tables.items()}
        saved: Deferred[None] = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._write, tables)
        return saved.addErrback(lambda why: log.failure("{path} is not saved", why, path=str(self._path)))

    def _write(self, tables: Mapping[str, list[tuple[str, _Acquaintance]]]) -> None:
        """Replace the file, in a thread."""
        fresh = self._path.with_name(self._path.name + ".new")
        with fresh.open("w", encoding="ascii") as file:
            file.write(f"{_FORMAT}\n")
            for kind, entries in tables.items():
                for key, one in entries:
                    file.write(f"{kind} {key} {one.first:.0f} {one.last:.0f} {one.passes}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
