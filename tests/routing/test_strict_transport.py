"""Policies fetched over real HTTPS, looked up through our own resolver and name server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import NOT_DONE_YET, Request

from mailfw.dns import StubResolver
from mailfw.fetch import FetchFailed, fetch
from mailfw.mail.hop import TLSDemand, TLSLevel
from mailfw.mail.lookup import MX
from mailfw.mail.outcome import Deferred as Later
from mailfw.mail.outcome import Failed
from mailfw.routing.hops import HopFinder
from mailfw.routing.https import https_agent
from mailfw.routing.mta_sts import Mode, Policy
from mailfw.routing.search import describe
from mailfw.routing.settings import HopSettings
from mailfw.routing.strict_transport import REFRESH_AFTER, RETRY_AFTER, StrictTransport
from mailfw.site import Site
from mailfw.testing.dialogue import run_now
from mailfw.testing.dns import DNSServer
from mailfw.testing.resolver import PretendResolver
from tests.routing.authority import Authority, web_site

reactor: Any = installed
TEXT = b"version: STSv1\nmode: enforce\nmx: mx.example.net\nmax_age: %d\n"
AUTHORITY = Authority()


class OverTheWireTests(TestCase):
    async def serve(self, host: str = "mta-sts.example.net") -> StrictTransport:
        self.policy: Any = TEXT % 86_400
        self.kind = b"text/plain; charset=utf-8"
        self.code = 200
        self.hosts: list[bytes] = []
        self.troubles: list[tuple[str, str]] = []
        web = reactor.listenSSL(0, web_site(self.answer), AUTHORITY.options(host), interface="127.0.0.1")
        self.addCleanup(web.stopListening)
        dns = self.dns = DNSServer(
            {"_mta-sts.example.net": ['TXT "v=STSv1; id=1;"'], "mta-sts.example.net": ["A 127.0.0.1"]}
        )
        await self.dns.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(dns.stop()))
        self.site = Site("mx.example.org", frozenset({"example.org"}), Path(self.mktemp()), reactor)
        self.port = web.getHost().port
        return self.transport()

    def transport(self) -> StrictTransport:
        resolver = StubResolver(site=self.site, servers=[self.dns.address], timeout=0.5)
        agent = https_agent(reactor, resolver, trust=AUTHORITY.trust, port=self.port, allow_loopback=True)
        return StrictTransport(
            site=self.site,
            resolver=resolver,
            agent=agent,
            trouble=lambda domain, result, why: self.troubles.append((domain, result)),
        )

    def answer(self, request: Request) -> Any:
        self.hosts.append(request.getRequestHostname())
        self.assertEqual(request.uri, b"/.well-known/mta-sts.txt")
        request.setResponseCode(self.code)
        request.setHeader(b"Content-Type", self.kind)
        request.setHeader(b"Location", b"https://mta-sts.example.net/other")
        return self.policy

    async def test_fetched_once_and_kept(self) -> None:
        strict = await self.serve()
        await strict.start()
        asked = [Deferred.fromCoroutine(strict.policy("example.net")) for _ in range(10)]
        expected = Policy(Mode.ENFORCE, ("mx.example.net",), 86_400)
        self.assertEqual(set(await gatherResults(asked)), {expected})
        self.assertEqual(self.hosts, [b"mta-sts.example.net"])
        await strict.stop()
        again = self.transport()
        await again.start()
        self.policy = b""
        self.assertEqual(await again.policy("example.net"), expected)
        self.assertEqual(len(self.hosts), 1)
        await again.stop()

    async def test_what_cannot_be_had(self) -> None:
        for code, kind, policy, result in (
            (301, b"text/plain", TEXT % 5, "sts-policy-fetch-error"),
            (404, b"text/plain", TEXT % 5, "sts-policy-fetch-error"),
            (200, b"text/html", TEXT % 5, "sts-policy-fetch-error"),
            (200, b"text/plain", b"nonsense", "sts-policy-invalid"),
            (200, b"text/plain", TEXT % 5 + b"x" * 100_000, "sts-policy-fetch-error"),
        ):
            strict = await self.serve()
            self.code, self.kind, self.policy = code, kind, policy
            self.assertIsNone(await strict.policy("example.net"))
            self.assertIsNone(await strict.policy("example.net"))
            self.assertEqual(self.troubles, [("example.net", result)])
            self.assertEqual(len(self.hosts), 1)  # not asked again at once

    async def test_a_certificate_for_somebody_else(self) -> None:
        strict = await self.serve("www.example.net")
        self.assertIsNone(await strict.policy("example.net"))
        self.assertEqual(self.troubles, [("example.net", "sts-webpki-invalid")])
        self.assertEqual(self.hosts, [])

    async def test_nobody_there(self) -> None:
        strict = await self.serve()
        for name, records in (("mta-sts.example.net", ["A 127.0.0.9"]), ("mta-sts.example.net", ["TXT x"])):
            self.dns.put(name, *records)
            self.troubles.clear()
            self.assertIsNone(await self.transport().policy("example.net"))
            self.assertEqual(self.troubles, [("example.net", "sts-policy-fetch-error")])
        self.assertIsNone(await strict.policy("other.example"))

    async def test_a_server_that_says_nothing(self) -> None:
        await self.serve()
        self.policy = NOT_DONE_YET
        resolver = StubResolver(site=self.site, servers=[self.dns.address])
        agent = https_agent(reactor, resolver, trust=AUTHORITY.trust, port=self.port, allow_loopback=True)
        url = "https://mta-sts.example.net/.well-known/mta-sts.txt"
        with self.assertRaises(FetchFailed) as caught:
            await fetch(agent, reactor, url, largest=100, patience=0.2)
        self.assertEqual(str(caught.exception), "no answer in time")

    async def test_this_machine_is_not_asked_for_policies(self) -> None:
        await self.serve()
        resolver = StubResolver(site=self.site, servers=[self.dns.address])
        agent = https_agent(reactor, resolver, trust=AUTHORITY.trust, port=self.port)
        with self.assertRaises(FetchFailed):
            await fetch(agent, reactor, "https://mta-sts.example.net/", largest=100, patience=1.0)
        with self.assertRaises(FetchFailed):
            await fetch(agent, reactor, "http://mta-sts.example.net/", largest=100, patience=1.0)


class Unkept:
    def changed(self) -> None:
        """Nothing is written."""


class Held(StrictTransport):
    """One whose policies a test hands over."""

    def __init__(self, clock: Clock, resolver: PretendResolver) -> None:
        site = Site("mx.example.org", frozenset(), Path("absent"), clock)
        self.troubles: list[str] = []
        agent: Any = None
        super().__init__(
            site=site, resolver=resolver, agent=agent, trouble=lambda d, result, w: self.troubles.append(result)
        )
        self._kept: Any = Unkept()
        self.served: bytes | Exception = TEXT % 1000
        self.fetches = 0

    async def _get(self, domain: str) -> bytes:
        self.fetches += 1
        if isinstance(self.served, Exception):
            raise self.served
        return self.served


RECORD = ("_mta-sts.example.net", "TXT")


class HoldingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.resolver = PretendResolver({RECORD: [b"v=STSv1; id=1"]})
        self.held = Held(self.clock, self.resolver)

    def policy(self) -> Policy | None:
        policy: Policy | None = run_now(self, self.held.policy("example.net"))
        return policy

    def test_until_it_is_too_old(self) -> None:
        self.assertIsNotNone(self.policy())
        self.held.served = FetchFailed("gone")
        self.clock.advance(999)
        self.assertIsNotNone(self.policy())
        self.clock.advance(1 + RETRY_AFTER)
        self.assertIsNone(self.policy())

    def test_another_id(self) -> None:
        self.policy()
        self.resolver.table[RECORD] = [b"v=STSv1; id=2"]
        self.held.served = (TEXT % 1000).replace(b"enforce", b"testing")
        policy = self.policy()
        assert policy is not None
        self.assertIs(policy.mode, Mode.TESTING)
        self.policy()
        self.assertEqual(self.held.fetches, 2)

    def test_what_is_held_stays_in_force_whatever_happens(self) -> None:
        """A policy outlives its record, and every failure to fetch another (RFC 8461 section 5.1)."""
        before = self.policy()
        assert before is not None
        for record, served in (
            ([b"v=STSv1; id=2"], FetchFailed("gone")),
            ([b"v=STSv1; id=3"], b"nonsense"),
            ([], TEXT % 1000),
            ([b"v=STSv1; id=3", b"v=STSv1; id=4"], TEXT % 1000),
        ):
            self.resolver.table[RECORD] = record
            self.held.served = served
            self.assertEqual(self.policy(), before)

    def test_a_failure_is_not_repeated_at_once(self) -> None:
        self.held.served = FetchFailed("gone")
        for _ in range(5):
            self.assertIsNone(self.policy())
        self.assertEqual(self.held.fetches, 1)
        self.clock.advance(RETRY_AFTER)
        self.policy()
        self.assertEqual(self.held.fetches, 2)

    def test_it_is_renewed_while_it_is_valid(self) -> None:
        self.held.served = TEXT % 10_000_000
        self.policy()
        self.clock.advance(REFRESH_AFTER + 1)
        self.policy()
        self.assertEqual(self.held.fetches, 2)
        self.policy()
        self.assertEqual(self.held.fetches, 2)


ANYHOW = TLSDemand()


class ApplyingTests(SynchronousTestCase):
    """What a policy does to hosts; DANE comes before it."""

    def find(
        self,
        mode: bytes,
        host: str = "mx.example.net",
        require_tls: bool = False,
        tls_optional: bool = False,
        **extra: Any,
    ) -> Any:
        table: dict[tuple[str, str], Any] = {
            ("example.net", "MX"): [MX(10, host), MX(20, "mx.example.net")],
            (host, "A"): ["192.0.2.1"],
            ("mx.example.net", "A"): ["192.0.2.2"],
            RECORD: [b"v=STSv1; id=1"],
            **extra.pop("table", {}),
        }
        resolver = PretendResolver(table, extra.pop("secure", ()))
        strict = Held(Clock(), resolver)
        strict.served = (TEXT % 1000).replace(b"enforce", mode)
        site = Site("mx.example.org", frozenset(), Path("absent"), Clock())
        finder = HopFinder(site=site, resolver=resolver, settings=HopSettings(), logins={}, strict=strict)
        return run_now(self, finder.find("example.net", require_tls, tls_optional))

    VERIFIED = TLSDemand(TLSLevel.VERIFY, names=("mx.example.net",), policy="sts")

    def test_enforce(self) -> None:
        hops = self.find(b"enforce", "evil.example")
        self.assertEqual([(hop.address, hop.tls) for hop in hops], [("192.0.2.2", self.VERIFIED)])
        table = {("example.net", "MX"): [MX(10, "evil.example")]}
        found = self.find(b"enforce", "evil.example", table=table)
        self.assertIsInstance(found, Later)
        self.assertEqual(found.reply.status, "4.7.5")

    def test_testing(self) -> None:
        hops = self.find(b"testing", "evil.example")
        named = TLSDemand(TLSLevel.MAY, names=("mx.example.net",), policy="sts")
        self.assertEqual([hop.tls for hop in hops], [TLSDemand(TLSLevel.MAY, policy="sts"), named])
        self.assertTrue(all(hop.tls.is_test for hop in hops))
        self.assertFalse(any(hop.tls.is_test for hop in self.find(b"enforce", "evil.example")))

    def test_none(self) -> None:
        self.assertEqual([hop.tls for hop in self.find(b"none", "evil.example")], [TLSDemand()] * 2)

    def test_dane_comes_first(self) -> None:
        from mailfw.mail.lookup import TLSA

        right = TLSA(3, 1, 1, b"x" * 32)
        names = ("example.net", "dane.example", "_25._tcp.dane.example")
        hops = self.find(b"enforce", "dane.example", secure=names, table={("_25._tcp.dane.example", "TLSA"): [right]})
        self.assertEqual([hop.tls.policy for hop in hops], ["tlsa", "sts"])

    def test_what_testing_is_called(self) -> None:
        for hop, said in zip(
            self.find(b"testing", "evil.example"),
            ("(MTA-STS in testing mode, whose policy does not name the host)", "(MTA-STS in testing mode)"),
            strict=True,
        ):
            self.assertEqual(describe(hop.tls), f"TLS if it is offered {said}")

    def test_a_sender_to_whom_it_does_not_matter(self) -> None:
        """RFC 8689 section 5: neither MTA-STS nor DANE keeps a message with TLS-Required: No; REQUIRETLS wins."""
        from mailfw.mail.lookup import TLSA

        hops = self.find(b"enforce", "evil.example", tls_optional=True)
        self.assertEqual([(hop.host, hop.tls) for hop in hops], [("evil.example", ANYHOW), ("mx.example.net", ANYHOW)])
        known: dict[str, Any] = {
            "secure": ("example.net", "dane.example", "_25._tcp.dane.example"),
            "table": {("_25._tcp.dane.example", "TLSA"): [TLSA(3, 1, 1, b"x" * 32)]},
        }
        hops = self.find(b"enforce", "dane.example", tls_optional=True, **known)
        self.assertEqual([hop.tls for hop in hops], [ANYHOW, ANYHOW])
        [hop] = self.find(b"enforce", "evil.example", require_tls=True, tls_optional=True)
        self.assertEqual(hop.tls, self.VERIFIED)

    def test_it_matters_to_the_next_sender(self) -> None:
        table: dict[tuple[str, str], Any] = {
            ("example.net", "MX"): [MX(10, "mx.example.net")],
            ("mx.example.net", "A"): ["192.0.2.2"],
            RECORD: [b"v=STSv1; id=1"],
        }
        resolver = PretendResolver(table)
        strict = Held(Clock(), resolver)
        strict.served = TEXT % 1000
        site = Site("mx.example.org", frozenset(), Path("absent"), Clock())
        finder = HopFinder(site=site, resolver=resolver, settings=HopSettings(), logins={}, strict=strict)
        for tls_optional, demand in ((True, ANYHOW), (False, self.VERIFIED), (True, ANYHOW)):
            [hop] = run_now(self, finder.find("example.net", False, tls_optional))
            self.assertEqual(hop.tls, demand)

    def test_require_tls(self) -> None:
        for mode in (b"enforce", b"testing"):
            hops = self.find(mode, "evil.example", require_tls=True)
            self.assertEqual([(hop.address, hop.tls) for hop in hops], [("192.0.2.2", self.VERIFIED)])
        self.assertIsInstance(self.find(b"none", require_tls=True), Failed)
