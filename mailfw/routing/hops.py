"""Which hosts a destination is: a fixed one, or the mail exchangers of a domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from twisted.internet.defer import Deferred as Later
from twisted.internet.defer import gatherResults
from zope.interface import implementer

from mailfw.interfaces import IHops, IResolver
from mailfw.mail.destination import Destination, is_destination
from mailfw.mail.hop import Hop, Login, TLSDemand, TLSLevel
from mailfw.mail.lookup import MX, Answer, Finding
from mailfw.mail.outcome import Deferred, Failed
from mailfw.mail.reply import Reply
from mailfw.routing.https import https_agent
from mailfw.routing.mta_sts import Policy
from mailfw.routing.mx import Exchanger, preferred, with_addresses
from mailfw.routing.names import a_labels, interleave, ip_text, is_public, literal_address
from mailfw.routing.ourselves import Ourselves
from mailfw.routing.search import Search
from mailfw.routing.settings import HopSettings
from mailfw.routing.strict_transport import StrictTransport
from mailfw.routing.tls_report import Applied, Send, TLSReports
from mailfw.site import Site

#: Hears of each step, in words.
Note = Callable[[str], None]

#: Seconds that hosts found are good for the next message to the same place: many come together.
_FRESH = 5.0
_MOST_FRESH = 1000

#: RFC 8689 section 6: "REQUIRETLS support required".
_NO_TLS = Failed(Reply(550, "5.7.30", "The sender requires TLS, and the way there has none that can be trusted"))


def _unheard(step: str) -> None:
    """Nobody wants to know."""


@implementer(IHops)
class HopFinder:
    """
    Finds hosts by the DNS, MTA-STS (`strict`) and DANE.

    `logins` are by destination, as in `RoutingTable`.  `strict` and `reports` may be None.  `random` decides among
    exchangers of one preference.
    """

    def __init__(
        self,
        *,
        site: Site,
        resolver: IResolver,
        settings: HopSettings,
        logins: Mapping[str, Login],
        strict: StrictTransport | None = None,
        reports: TLSReports | None = None,
        random: Random | None = None,
    ) -> None:
        self._reactor = site.reactor
        self._recent: dict[tuple[str, bool, bool], tuple[float, Sequence[Hop]]] = {}
        self._resolver = resolver
        self._settings = settings
        self._logins = logins
        self._strict = strict
        self._reports = reports
        self._random = random or Random()  # noqa: S311  # load is spread, nothing is kept secret
        self._ourselves = Ourselves(site.hostname, settings.listening, settings.own_addresses)

    async def start(self, send: Send) -> None:
        """Read what was kept, and begin to send TLS reports by `send`."""
        if self._strict is not None:
            await self._strict.start()
        if self._reports is not None:
            await self._reports.start(send)

    async def stop(self) -> None:
        """Write down what is kept."""
        if self._strict is not None:
            await self._strict.stop()
        if self._reports is not None:
            await self._reports.stop()

    async def find(
        self, destination: str, require_tls: bool, tls_optional: bool = False
    ) -> Sequence[Hop] | Deferred | Failed:
        """Return hosts, or why there are none."""
        now = self._reactor.seconds()
        asked = (destination, require_tls, tls_optional)
        found_at, hops = self._recent.get(asked, (0.0, ()))
        if hops and now - found_at < _FRESH:
            return hops
        found = await self.explain(destination, require_tls, _unheard, tls_optional)
        if not isinstance(found, Deferred | Failed):
            if len(self._recent) >= _MOST_FRESH:
                self._recent.clear()
            self._recent[asked] = (now, found)
        return found

    async def explain(
        self, destination: str, require_tls: bool, note: Note, tls_optional: bool = False
    ) -> Sequence[Hop] | Deferred | Failed:
        """Do the same, and tell of each step."""
        if is_destination(destination):
            return await self._fixed(destination, require_tls, note)
        literal = literal_address(destination)
        if literal is not None:
            return self._literal(destination, literal, require_tls)
        try:
            domain = a_labels(destination)
        except ValueError as broken:
            return Failed(Reply(550, "5.1.2", str(broken)))
        if domain != destination:
            note(f"{destination} is {domain} in the DNS")
        return await self._by_mx(domain, require_tls, note, tls_optional and not require_tls)

    def note_tls(self, destination: str, hop: Hop, result: str) -> None:
        """Count a connection for the report to a domain; fixed hosts get none."""
        if self._reports is None or is_destination(destination) or literal_address(destination):
            return
        domain = a_labels(destination)
        self._reports.count(domain, self._applied(domain, hop.tls), result, hop.host, hop.address)

    def _applied(self, domain: str, tls: TLSDemand) -> Applied:
        policy = self._strict.known(domain) if self._strict is not None and tls.policy == "sts" else None
        return Applied.sts(policy) if policy is not None else Applied.of(tls)

    # ------------------------------------------------------------ fixed hosts

    async def _fixed(self, url: str, require_tls: bool, note: Note) -> Sequence[Hop] | Deferred | Failed:
        destination = Destination.read(url)
        if destination.path:
            return [Hop("localhost", destination.path, 0, "lmtp", TLSDemand(TLSLevel.NONE))]
        login = self._logins.get(str(destination))
        if destination.user and login is None:
            return _misconfigured(f"There is no password for {destination}")
        demand = fixed_demand(destination, require_tls)
        if demand is None:
            return _NO_TLS
        addresses = await self._addresses(destination.host, note)
        if not isinstance(addresses, list):
            return addresses
        if any(self._ourselves.has_address(address, destination.port) for address in addresses):
            return _misconfigured(f"{destination} is this server itself")
        protocol = "lmtp" if destination.scheme == "lmtp" else "smtp"
        return [Hop(destination.host, each, destination.port, protocol, demand, login) for each in addresses]

    async def _addresses(self, host: str, note: Note) -> list[str] | Deferred:
        """Return the addresses of a fixed host: it is written in the configuration, so all of them will do."""
        if ip_text(host) is not None:
            return [host]
        try:
            name = a_labels(host)
        except ValueError as broken:
            return _misconfigured(str(broken))
        [found] = await with_addresses(self._resolver, [MX(0, name)])
        if found.addresses:
            note(f"{name} has the addresses {', '.join(found.addresses)}")
            return interleave(found.addresses)
        note(f"{name}: {found.why}")
        status = "4.4.3" if found.failed else "4.4.4"
        return Deferred(Reply(451, status, f"The address of {name} cannot be found: {found.why}"), unreachable=True)

    def _literal(self, domain: str, address: str, require_tls: bool) -> Sequence[Hop] | Failed:
        if require_tls:
            return _NO_TLS
        if self._ourselves.has_address(address, self._settings.port):
            return Failed(Reply(554, "5.4.6", f"Mail for {domain} would come back to this server"))
        if not (self._settings.allow_loopback or is_public(address)):
            return Failed(Reply(550, "5.1.2", f"No other machine can have the address {domain}"))
        return [Hop(domain, address, self._settings.port)]

    # ------------------------------------------------------------ domains

    async def _by_mx(
        self, domain: str, require_tls: bool, note: Note, tls_optional: bool
    ) -> Sequence[Hop] | Deferred | Failed:
        looking: list[Later[Any]] = [
            Later.fromCoroutine(self._resolver.look_up(domain, "MX")),
            Later.fromCoroutine(self._policy(domain, tls_optional)),
        ]
        answer, policy = await gatherResults(looking, consumeErrors=True)
        _note_answer(domain, answer, policy, note)
        wanted = preferred(domain, answer, self._random)
        if not isinstance(wanted, list):
            return wanted
        found = await with_addresses(self._resolver, wanted)
        others = self._without_us(found, note)
        if not others:
            return Failed(Reply(554, "5.4.6", f"Mail for {domain} would come back to this server"))
        search = Search(
            domain,
            self._resolver,
            replace(self._settings, dane=False) if tls_optional else self._settings,
            policy,
            is_implicit=answer.finding is Finding.NO_DATA,
            is_secure=answer.secure,
            require_tls=require_tls,
            note=note,
            trouble=self._trouble,
        )
        return await search.run(others)

    async def _policy(self, domain: str, tls_optional: bool) -> Policy | None:
        asked = self._strict is not None and not tls_optional  # RFC 8689 section 5: policies do not hold then
        return await self._strict.policy(domain) if self._strict is not None and asked else None

    def _trouble(self, domain: str, tls: TLSDemand, result: str, host: str, why: str) -> None:
        if self._reports is not None:
            self._reports.count(domain, self._applied(domain, tls), result, host, "", why)

    def _without_us(self, exchangers: Sequence[Exchanger], note: Note) -> list[Exchanger]:
        """Leave out ourselves and whoever is not preferred to us, lest mail goes in circles (RFC 5321 section 5.1)."""
        ours = [each.preference for each in exchangers if self._is_us(each)]
        if not ours:
            return list(exchangers)
        note(f"We are one of them ourselves, with preference {min(ours)}: only lower ones are tried")
        return [each for each in exchangers if each.preference < min(ours)]

    def _is_us(self, exchanger: Exchanger) -> bool:
        port = self._settings.port
        return self._ourselves.has_name(exchanger.host) or any(
            self._ourselves.has_address(address, port) for address in exchanger.addresses
        )


def fixed_demand(destination: Destination, require_tls: bool) -> TLSDemand | None:
    """
    Return what is demanded of a host in the configuration; None if the configuration forbids what a sender requires.

    A password is for the host it was given for, so a login asks for a certificate with that name.
    """
    implicit = destination.scheme == "smtps"
    if require_tls and destination.tls == "none":
        return None
    if destination.tls and not require_tls:
        level = TLSLevel(destination.tls)
    else:
        level = TLSLevel.VERIFY if implicit or destination.user or require_tls else TLSLevel.MAY
    names = (destination.host,) if level is TLSLevel.VERIFY else ()
    return TLSDemand(level, implicit and level is not TLSLevel.NONE, names)


def _misconfigured(reason: str) -> Deferred:
    """Return what holds mail back until somebody has mended the configuration: RFC 3463 section 3.4."""
    return Deferred(Reply(451, "4.3.5", reason), unreachable=True)


def _note_answer(domain: str, answer: Answer[MX], policy: Policy | None, note: Note) -> None:
    vouched = ", validated" if answer.secure else ""
    if answer.finding is Finding.FOUND:
        records = sorted(answer.records, key=lambda each: each.preference)
        hosts = ", ".join(f"{each.preference} {each.host or '.'}" for each in records)
        note(f"MX of {domain}: {hosts} (DNS{vouched})")
    else:
        note(f"MX of {domain}: {answer.finding.value}{vouched}{f' ({answer.why})' if answer.why else ''}")
    if policy is not None:
        note(f"MTA-STS policy of {domain}: {policy.mode.value}, {', '.join(policy.mx) or 'no hosts'}")


def hops_for(
    *, site: Site, resolver: IResolver, settings: HopSettings, logins: Mapping[str, Login], trust: Any = None
) -> HopFinder:
    """Put the parts together; `trust` are authorities to believe in HTTPS instead of the system's."""
    agent = https_agent(site.reactor, resolver, trust=trust, allow_loopback=settings.allow_loopback)
    reports = None
    if settings.tls_reports:
        reports = TLSReports(site=site, resolver=resolver, agent=agent, contact=settings.contact)

    def trouble(domain: str, result: str, why: str) -> None:
        if reports is not None:
            reports.count(domain, Applied("sts"), result, "", "", why)

    strict = StrictTransport(site=site, resolver=resolver, agent=agent, trouble=trouble) if settings.mta_sts else None
    return HopFinder(site=site, resolver=resolver, settings=settings, logins=logins, strict=strict, reports=reports)
