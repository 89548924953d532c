"""Finding, fetching and keeping the MTA-STS policies of other domains (RFC 8461)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.iweb import IAgent

from mailfw.fetch import FetchFailed, fetch
from mailfw.interfaces import IResolver
from mailfw.mail.lookup import Finding
from mailfw.routing.kept import Kept
from mailfw.routing.mta_sts import LARGEST_POLICY, Mode, Policy, PolicyInvalid, read_policy, read_record
from mailfw.site import Site
from mailfw.turns import Turns

log = Logger()

#: Seconds for a policy to come; RFC 8461 section 3.3 suggests a minute.
PATIENCE = 60.0
#: Seconds until a domain whose policy could not be had is tried again (RFC 8461 section 3.3).
RETRY_AFTER = 300.0
#: Seconds after which a policy is fetched again though its id is the same: so that one who can block us from
#: fetching it has to do so for as long as it is valid (RFC 8461 section 3.3).
REFRESH_AFTER = 86_400.0
#: Domains whose policies are kept; those nobody asked for longest are forgotten.
_MOST_KEPT = 10_000
_MOST_FETCHES = 20


class Trouble(Protocol):
    """Who hears of what goes wrong with a policy: a result type of RFC 8460 section 4.3.2.2, and words."""

    def __call__(self, domain: str, result: str, why: str) -> None:
        """Take note."""


@dataclass(frozen=True, slots=True)
class Held:
    """A policy, its id in the DNS, and when it was fetched, seconds since the epoch."""

    policy: Policy
    id: str
    fetched: float

    def is_valid(self, now: float) -> bool:
        """Whether it may still be used."""
        return now < self.fetched + self.policy.max_age


class StrictTransport:
    """
    Knows the policies of other domains, and keeps them over restarts.

    `trouble` hears of policies that cannot be had.  Domains are in A-labels.
    """

    def __init__(self, *, site: Site, resolver: IResolver, agent: IAgent, trouble: Trouble) -> None:
        self._reactor = site.reactor
        self._resolver = resolver
        self._agent = agent
        self._trouble = trouble
        self._held: dict[str, Held] = {}
        self._failed: dict[str, float] = {}
        self._fetching: dict[str, list[Deferred[None]]] = {}
        self._turns = Turns(_MOST_FETCHES)
        self._kept = Kept(site.data / "routing" / "mta-sts.json", site.reactor, self._describe)

    async def start(self) -> None:
        """Read what was kept."""
        for domain, entry in (await self._kept.load() or {}).items():
            try:
                mode, mx, age, name, fetched = entry
                policy = Policy(Mode(mode), tuple(str(each) for each in mx), int(age))
                self._held.setdefault(domain, Held(policy, str(name), float(fetched)))
            except (TypeError, ValueError):
                continue

    async def stop(self) -> None:
        """Write down what is held."""
        await self._kept.close()

    def _describe(self) -> object:
        return {
            domain: [held.policy.mode.value, held.policy.mx, held.policy.max_age, held.id, held.fetched]
            for domain, held in self._held.items()
        }

    def known(self, domain: str) -> Policy | None:
        """Return a domain's policy as far as it is held and valid, without asking anybody."""
        held = self._held.get(domain)
        return held.policy if held is not None and held.is_valid(self._reactor.seconds()) else None

    async def policy(self, domain: str) -> Policy | None:
        """
        Return the policy that holds for a domain now.

        Whatever goes wrong on the way to a new one, one that is held stays in force until it is too old (RFC 8461
        section 5.1).
        """
        answer = await self._resolver.look_up(f"_mta-sts.{domain}", "TXT")
        found = read_record(answer.records) if answer.finding is Finding.FOUND else None
        if found is not None:
            await self._renew(domain, found)
        return self.known(domain)

    async def _renew(self, domain: str, found: str) -> None:
        """Fetch a policy that is not held, or another than it was; one that is merely old meanwhile."""
        now = self._reactor.seconds()
        held = self._held.get(domain)
        if held is None or held.id != found or not held.is_valid(now):
            if self._failed.get(domain, 0.0) <= now:
                await self._fetch(domain, found)
        elif now > held.fetched + min(REFRESH_AFTER, held.policy.max_age / 2) and self._failed.get(domain, 0.0) <= now:
            self._begin(domain, found)

    async def _fetch(self, domain: str, found: str) -> None:
        """Wait until a policy is here, or could not be had; who stops waiting leaves the others theirs."""
        others = self._begin(domain, found)
        if domain in self._fetching:  # it may be over already
            waiting: Deferred[None] = Deferred()
            others.append(waiting)
            await waiting

    def _begin(self, domain: str, found: str) -> list[Deferred[None]]:
        """Fetch a policy, once at a time; return who waits for it."""
        waiting = self._fetching.get(domain)
        if waiting is None:
            waiting = self._fetching[domain] = []
            going = Deferred.fromCoroutine(self._turns.run(lambda: self._try(domain, found)))
            going.addErrback(lambda failure: log.failure("A policy of MTA-STS cannot be had", failure))
            going.addCallback(lambda _: self._tell(domain))
        return waiting

    def _tell(self, domain: str) -> None:
        for each in self._fetching.pop(domain):
            if not each.called:
                each.callback(None)

    async def _try(self, domain: str, found: str) -> None:
        try:
            policy = read_policy(await self._get(domain))
        except PolicyInvalid as invalid:
            self._fail(domain, "sts-policy-invalid", str(invalid))
        except FetchFailed as failed:
            self._fail(domain, "sts-webpki-invalid" if failed.certificate else "sts-policy-fetch-error", str(failed))
        else:
            self._hold(domain, Held(policy, found, self._reactor.seconds()))

    async def _get(self, domain: str) -> bytes:
        url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
        fetched = await fetch(self._agent, self._reactor, url, largest=LARGEST_POLICY, patience=PATIENCE)
        if fetched.code != 200:
            raise FetchFailed(f"status {fetched.code}")  # redirects are not followed, RFC 8461 section 3.3
        if fetched.kind != "text/plain":
            raise FetchFailed("not text/plain")  # RFC 8461 section 3.2
        return fetched.octets

    def _fail(self, domain: str, result: str, why: str) -> None:
        log.info("The MTA-STS policy of {domain} cannot be had: {why}", domain=domain, why=why, result=result)
        _put(self._failed, domain, self._reactor.seconds() + RETRY_AFTER)
        self._trouble(domain, result, why)

    def _hold(self, domain: str, held: Held) -> None:
        self._failed.pop(domain, None)
        _put(self._held, domain, held)
        self._kept.changed()


def _put(known: dict[str, Any], domain: str, value: Any) -> None:
    known.pop(domain, None)
    known[domain] = value
    if len(known) > _MOST_KEPT:
        del known[next(iter(known))]
