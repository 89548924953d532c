"""One search: which exchangers of a domain may be used, and what is demanded of the connection to each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred as Later
from twisted.internet.defer import gatherResults

from mailfw.interfaces import IResolver
from mailfw.mail.hop import Hop, TLSDemand, TLSLevel
from mailfw.mail.outcome import Deferred, Failed
from mailfw.mail.reply import Reply
from mailfw.routing.dane import Vouched, vouched
from mailfw.routing.mta_sts import Mode, Policy
from mailfw.routing.mx import Exchanger
from mailfw.routing.names import is_public
from mailfw.routing.settings import HopSettings

#: Addresses that a message is ever tried with; the courier may stop sooner.
_MOST_HOPS = 20


class Trouble(Protocol):
    """Who counts, for TLS reports, what kept us from connecting at all."""

    def __call__(self, domain: str, tls: TLSDemand, result: str, host: str, why: str) -> None:
        """Take note."""


class Search:
    """
    Judges the exchangers of `domain`, DANE before MTA-STS (RFC 8461 section 2).

    `is_implicit` says that the domain has no MX record, `is_secure` that the answer about them was validated.
    """

    def __init__(
        self,
        domain: str,
        resolver: IResolver,
        settings: HopSettings,
        policy: Policy | None,
        *,
        is_implicit: bool,
        is_secure: bool,
        require_tls: bool,
        note: Callable[[str], None],
        trouble: Trouble,
    ) -> None:
        self._domain = domain
        self._resolver = resolver
        self._settings = settings
        self._policy = policy
        self._is_implicit = is_implicit
        self._is_secure = is_secure
        self._require_tls = require_tls
        self._note = note
        self._trouble = trouble
        self._reasons: list[Deferred | Failed] = []

    async def run(self, exchangers: Sequence[Exchanger]) -> Sequence[Hop] | Deferred | Failed:
        """Return the hops in order, or the reason that there are none: one that may pass, if there is such."""
        asking = [Later.fromCoroutine(self._vouched(each)) for each in exchangers]
        known: list[Any] = await gatherResults(asking, consumeErrors=True)
        hops: list[Hop] = []
        for exchanger, what in zip(exchangers, known, strict=True):
            hops += self._hops(exchanger, what)
        if hops:
            unique: dict[object, Hop] = {}
            for hop in hops:
                unique.setdefault((hop.address, hop.tls), hop)
            return list(unique.values())[:_MOST_HOPS]
        passing = [each for each in self._reasons if isinstance(each, Deferred)]
        return (passing or self._reasons)[0]

    async def _vouched(self, exchanger: Exchanger) -> Vouched | None:
        """Ask for TLSA records where every step to the host was validated (RFC 7672 section 2.2.1)."""
        if not (self._settings.dane and self._is_secure and exchanger.secure):
            return None
        return await vouched(self._resolver, exchanger.host, exchanger.canonical, self._settings.port)

    def _hops(self, exchanger: Exchanger, known: Vouched | None) -> list[Hop]:
        addresses = self._addresses(exchanger)
        if not addresses:
            return []
        demand = self._demand(exchanger, known)
        if isinstance(demand, Deferred | Failed):
            self._refuse(exchanger.host, demand)
            return []
        host = known.base if known is not None else exchanger.host
        secure = ", validated" if exchanger.secure else ""
        self._note(f"{exchanger.host} ({exchanger.preference}): {', '.join(addresses)}{secure}; {describe(demand)}")
        return [Hop(host, address, self._settings.port, tls=demand) for address in addresses]

    def _addresses(self, exchanger: Exchanger) -> list[str]:
        """Return the addresses that can be used."""
        host, why = exchanger.host, exchanger.why
        if not exchanger.addresses:
            if exchanger.failed:
                reply = Reply(451, "4.4.3", f"The address of {host} cannot be looked up: {why}")
            elif self._is_implicit:
                self._refuse(host, Failed(Reply(550, "5.1.2", f"{host} has neither a mail exchanger nor an address")))
                return []
            else:
                reply = Reply(451, "4.4.4", f"{host}, which takes mail for {self._domain}, cannot be found: {why}")
            self._refuse(host, Deferred(reply, unreachable=True))
            return []
        usable = [each for each in exchanger.addresses if self._settings.allow_loopback or is_public(each)]
        if not usable:
            reason = f"Mail for {self._domain} is directed to {exchanger.addresses[0]}, which is no other machine"
            self._refuse(host, Failed(Reply(550, "5.4.4", reason)))
        return usable

    def _refuse(self, host: str, reason: Deferred | Failed) -> None:
        self._note(f"{host} is not used: {reason.reply.text}")
        self._reasons.append(reason)

    # ------------------------------------------------------------ TLS

    def _demand(self, exchanger: Exchanger, known: Vouched | None) -> TLSDemand | Deferred | Failed:
        host = exchanger.host
        if known is not None and known.failed:
            why = f"The TLSA records of {known.base} cannot be looked up: {known.failed}"
            self._trouble(self._domain, TLSDemand(policy="tlsa"), "dnssec-invalid", host, why)
            return Deferred(Reply(451, "4.4.3", why), unreachable=True)
        if known is not None:
            demand = known.demand((host, self._domain))
            is_authentic = True
        else:
            policy_demand = self._by_policy(host)
            if isinstance(policy_demand, Deferred):
                return policy_demand
            demand = policy_demand
            is_authentic = self._is_secure or bool(demand.names)
        if self._require_tls and demand.level is not TLSLevel.VERIFY:
            if not is_authentic:
                return Failed(Reply(550, "5.7.30", f"The sender requires TLS, and nobody vouches for {host}"))
            # RFC 8689 section 4.2.1: the name comes from a validated answer or matches the policy.
            return TLSDemand(TLSLevel.VERIFY, names=(host,), policy=demand.policy)
        return demand

    def _by_policy(self, host: str) -> TLSDemand | Deferred:
        """Return what MTA-STS demands; in testing mode the courier looks at it, for the report."""
        policy = self._policy
        if policy is None or policy.mode is Mode.NONE:
            return TLSDemand()
        names = (host,) if policy.names(host) else ()
        if policy.mode is Mode.TESTING:
            return TLSDemand(names=names, policy="sts")
        if names:
            return TLSDemand(TLSLevel.VERIFY, names=names, policy="sts")
        why = f"{host} is not among the hosts of the MTA-STS policy of {self._domain}"
        self._trouble(self._domain, TLSDemand(policy="sts"), "validation-failure", host, why)
        return Deferred(Reply(451, "4.7.5", why), unreachable=True)


def describe(demand: TLSDemand) -> str:
    """Say what is demanded, in words."""
    how = {
        TLSLevel.NONE: "no TLS",
        TLSLevel.MAY: "TLS if it is offered",
        TLSLevel.ENCRYPT: "TLS required, whatever the certificate",
        TLSLevel.VERIFY: "TLS required, with a certificate "
        + (
            f"that one of {len(demand.tlsa)} TLSA records vouches for"
            if demand.tlsa
            else f"for {' or '.join(demand.names)}"
        ),
    }[demand.level]
    why = {"sts": " (MTA-STS)", "tlsa": " (DANE)"}.get(demand.policy, "")
    if demand.is_test:
        why = " (MTA-STS in testing mode" + ("" if demand.names else ", whose policy does not name the host") + ")"
    return ("implicit " if demand.implicit else "") + how + why
