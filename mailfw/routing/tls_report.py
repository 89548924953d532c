"""Counting how TLS to other domains went, and telling those that ask once a day (RFC 8460)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent

from mailfw.fetch import FetchFailed, fetch
from mailfw.interfaces import IResolver
from mailfw.mail.address import Address
from mailfw.mail.hop import TLSDemand
from mailfw.mail.lookup import Finding
from mailfw.routing.kept import Kept
from mailfw.routing.mta_sts import Policy
from mailfw.routing.ourselves import source_towards
from mailfw.routing.tls_report_format import Report, as_json, as_message, compress, file_name, read_rua
from mailfw.site import Site

log = Logger()

#: Puts one message into the queue: sender (None: nobody), recipient, octets.
Send = Callable[[Address | None, Address, bytes], Awaitable[None]]

#: Domains of one day that are counted; policies of a domain, and kinds of failure under a policy.
_MOST_DOMAINS, _MOST_POLICIES, _MOST_KINDS = 10_000, 10, 100
#: Seconds after midnight within which reports go out, lest all servers do so at once (RFC 8460 section 4.1).
_SPREAD = 4 * 3600.0
#: Seconds until a report is tried again, and for how many days (RFC 8460 section 5.5: a day).
_RETRY = 3600.0
_LONGEST = timedelta(days=2)
#: Octets of an answer to a report that are read.
_LARGEST_ANSWER = 10_000


@dataclass(frozen=True, slots=True)
class Applied:
    """The policy that a connection was under, in the words of RFC 8460 section 4.4: `kind`, its lines, its hosts."""

    kind: str = "no-policy-found"
    lines: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()

    @classmethod
    def sts(cls, policy: Policy) -> Applied:
        """Return the words for a policy of MTA-STS."""
        return cls("sts", tuple(policy.lines()), policy.mx)

    @classmethod
    def of(cls, tls: TLSDemand) -> Applied:
        """Return the words for what was demanded."""
        lines = (f"{each.usage} {each.selector} {each.matching} {each.data.hex()}" for each in tls.tlsa)
        return cls(tls.policy, tuple(lines))


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of failure: what RFC 8460 section 4.4 lists under ``failure-details``, but the count."""

    result: str
    host: str = ""
    address: str = ""
    source: str = ""
    why: str = ""


@dataclass(slots=True)
class Tally:
    """What was counted under one policy."""

    successes: int = 0
    failures: int = 0
    kinds: dict[Kind, int] = field(default_factory=dict)


Domain = dict[Applied, Tally]


class TLSReports:
    """
    Counts by day and domain; after midnight UTC each domain that wants a report is sent one.

    `contact` is named in them, ``""`` for the postmaster of our first domain.
    """

    def __init__(
        self, *, site: Site, resolver: IResolver, agent: IAgent, contact: str = "", random: Random | None = None
    ) -> None:
        self._site = site
        self._reactor = site.reactor
        self._resolver = resolver
        self._agent = agent
        self._contact = contact or f"postmaster@{min(site.domains, default=site.hostname)}"
        self._random = random or Random()  # noqa: S311  # it spreads load
        self._days: dict[date, dict[str, Domain]] = {}
        self._kept = Kept(site.data / "routing" / "tls-reports.json", site.reactor, self._describe, 60.0)
        self._timer: Any = None
        self._sending: Deferred[None] | None = None
        self._send: Send | None = None

    def count(
        self, domain: str, applied: Applied, result: str, host: str = "", address: str = "", why: str = ""
    ) -> None:
        """Count one connection to `domain` (A-labels): `result` is ``""`` or why it failed, as RFC 8460 says it."""
        domains = self._days.setdefault(self._today(), {})
        if domain not in domains and len(domains) >= _MOST_DOMAINS:
            return
        policies = domains.setdefault(domain, {})
        if applied not in policies and len(policies) >= _MOST_POLICIES:
            return
        tally = policies.setdefault(applied, Tally())
        self._kept.changed()
        if not result:
            tally.successes += 1
            return
        tally.failures += 1
        kind = Kind(result, host, address, source_towards(address) if address else "", why[:200])
        if kind in tally.kinds or len(tally.kinds) < _MOST_KINDS:
            tally.kinds[kind] = tally.kinds.get(kind, 0) + 1

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._reactor.seconds(), UTC)

    def _today(self) -> date:
        return self._now().date()

    # ------------------------------------------------------------ keeping

    async def start(self, send: Send) -> None:
        """Read what was kept, and begin."""
        self._send = send
        _read_days(await self._kept.load() or {}, self._days)
        has_old = any(day < self._today() for day in self._days)
        self._schedule(self._random.uniform(60.0, 600.0) if has_old else self._until_midnight())

    async def stop(self) -> None:
        """Send no more, and write down what was counted."""
        self._send = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sending is not None:
            self._sending.cancel()
        await self._kept.close()

    def _describe(self) -> object:
        return {
            day.isoformat(): {name: [_from_tally(*each) for each in domain.items()] for name, domain in domains.items()}
            for day, domains in self._days.items()
        }

    # ------------------------------------------------------------ sending

    def _until_midnight(self) -> float:
        now = self._reactor.seconds()
        return float(86_400 - now % 86_400 + self._random.uniform(0.0, _SPREAD))

    def _schedule(self, delay: float) -> None:
        self._timer = self._reactor.callLater(delay, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._sending = Deferred.fromCoroutine(self._work())
        self._sending.addErrback(self._ended)
        self._sending.addCallback(lambda _: setattr(self, "_sending", None))

    def _ended(self, failure: Failure) -> None:
        if self._send is not None:
            log.failure("TLS reports cannot be sent", failure)

    async def _work(self) -> None:
        try:
            await self.send_old()
        finally:
            if self._send is not None and self._timer is None:
                left = any(day < self._today() for day in self._days)
                self._schedule(_RETRY if left else self._until_midnight())

    async def send_old(self) -> None:
        """Send what there is of days that are over; what cannot be sent now stays for a while."""
        today = self._today()
        for day in sorted(day for day in self._days if day < today):
            domains = self._days[day]
            for name in list(domains):
                if self._send is None:
                    return  # we were stopped
                if await self._tell(day, name, domains[name]):
                    del domains[name]
                    self._kept.changed()
            if not domains or today - day > _LONGEST:
                del self._days[day]
                self._kept.changed()

    async def _tell(self, day: date, domain: str, counted: Domain) -> bool:
        """Report to one domain; return whether that is settled."""
        answer = await self._resolver.look_up(f"_smtp._tls.{domain}", "TXT")
        if answer.finding is Finding.FAILED:
            return False
        wanted = read_rua(answer.records)
        if not wanted:
            return True
        report = self._report(day, domain, counted)
        octets = compress(as_json(report))
        # One that was reached is enough to have told them; the others are not tried again.
        reached = [await self._deliver(uri, report, octets) for uri in wanted]
        log.info(
            "TLS report to {domain} for {day}: {sent}", domain=domain, day=str(day), sent=any(reached), uris=wanted
        )
        return any(reached)

    def _report(self, day: date, domain: str, counted: Domain) -> Report:
        policies = [_policy(domain, applied, tally) for applied, tally in counted.items()]
        return Report(domain, self._site.hostname, self._contact, day, uuid4().hex, policies)

    async def _deliver(self, uri: str, report: Report, octets: bytes) -> bool:
        try:
            if self._send is None:
                return False
            if uri.startswith("mailto:"):
                local, _, domain = uri.removeprefix("mailto:").rpartition("@")
                message = as_message(report, octets, f"{local}@{domain}", self._now())
                await self._send(None, Address(local, domain.lower()), message)
                return True
            return await self._post(uri, report, octets)
        except FetchFailed as failed:
            log.info("TLS report to {uri}: {why}", uri=uri, why=str(failed))
        except Exception:
            if self._send is not None:
                log.failure("A TLS report cannot be queued")
        return False

    async def _post(self, uri: str, report: Report, octets: bytes) -> bool:
        """RFC 8460 section 5.4."""
        headers = {
            "Content-Type": "application/tlsrpt+gzip",
            "Content-Disposition": f'attachment; filename="{file_name(report)}"',
        }
        answer = await fetch(
            self._agent, self._reactor, uri, largest=_LARGEST_ANSWER, patience=60.0, body=octets, headers=headers
        )
        return 200 <= answer.code < 300


# ---------------------------------------------------------------- as plain values


def _policy(domain: str, applied: Applied, tally: Tally) -> dict[str, Any]:
    """Return one element of ``policies``, RFC 8460 section 4.4; what is not known is left out."""
    policy: dict[str, Any] = {"policy-type": applied.kind, "policy-domain": domain}
    if applied.lines:
        policy["policy-string"] = list(applied.lines)
    if applied.mx:
        policy["mx-host"] = list(applied.mx)
    return {
        "policy": policy,
        "summary": {
            "total-successful-session-count": tally.successes,
            "total-failure-session-count": tally.failures,
        },
        "failure-details": [_details(kind, times) for kind, times in tally.kinds.items()],
    }


def _details(kind: Kind, times: int) -> dict[str, Any]:
    known = {
        "result-type": kind.result,
        "sending-mta-ip": kind.source,
        "receiving-mx-hostname": kind.host,
        "receiving-ip": kind.address,
        "failed-session-count": times,
        "failure-reason-code": kind.why,
    }
    return {name: value for name, value in known.items() if value}


def _from_tally(applied: Applied, tally: Tally) -> list[Any]:
    kinds = [[one.result, one.host, one.address, one.source, one.why, times] for one, times in tally.kinds.items()]
    return [applied.kind, applied.lines, applied.mx, tally.successes, tally.failures, kinds]


def _read_days(kept: Mapping[str, Mapping[str, Any]], days: dict[date, dict[str, Domain]]) -> None:
    """Add what was kept; what cannot be read is forgotten."""
    try:
        for day, domains in kept.items():
            known = days.setdefault(date.fromisoformat(day), {})
            for name, entries in domains.items():
                known.setdefault(name, {}).update(_to_tally(*entry) for entry in entries)
    except (TypeError, ValueError, AttributeError) as broken:
        log.error("What was counted for TLS reports cannot be read: {reason}", reason=str(broken))


def _to_tally(kind: str, lines: Any, mx: Any, successes: int, failures: int, kinds: Any) -> tuple[Applied, Tally]:
    counted = {Kind(*(str(each) for each in one[:5])): int(one[5]) for one in kinds}
    return Applied(kind, tuple(lines), tuple(mx)), Tally(int(successes), int(failures), counted)
