"""The stub resolver, over the wire with our own name server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.trial.unittest import TestCase

from mailfw.dns import StubResolver, stub
from mailfw.interfaces import IResolver
from mailfw.mail.lookup import Finding
from mailfw.site import Site
from mailfw.testing.dns import DNSServer
from mailfw.testing.resolver import ResolverContract


def site() -> Site:
    from twisted.internet import reactor

    return Site("mx.example.org", frozenset({"example.org"}), Path("absent"), reactor)


def stop(server: DNSServer) -> Deferred[None]:
    return Deferred.fromCoroutine(server.stop())


class StubResolverContractTests(ResolverContract, TestCase):
    def make_resolver(self, server: str) -> IResolver:
        return stub(site=site(), servers=[server], timeout=0.3)


#: How the server behaves, and what has to be found for a name that does have an address.
MANNERS = (
    ("SERVFAIL", Finding.FAILED),
    ("REFUSED", Finding.FAILED),
    ("NOTIMP", Finding.FAILED),
    ("FORMERR", Finding.FAILED),
    ("DROP", Finding.FAILED),
    ("TRUNCATE", Finding.FOUND),
    ("TRUNCATE-DROP", Finding.FAILED),
    ("GARBAGE", Finding.FAILED),
    ("SHORT", Finding.FAILED),
    ("OTHER-ID", Finding.FOUND),
    ("OTHER-QUESTION", Finding.FOUND),
    ("ONLY-OTHER", Finding.FAILED),
    ("NO-EDNS", Finding.FOUND),
    ("REFERRAL", Finding.FAILED),
    ("HUGE", Finding.FAILED),
    ("NXDOMAIN", Finding.FAILED),  # of a name that it gives records of
)


class WireTests(TestCase):
    async def serve(self, zone: dict[str, list[str]], **options: Any) -> tuple[DNSServer, StubResolver]:
        server = DNSServer(zone)
        await server.start()
        self.addCleanup(stop, server)
        options = {"servers": [server.address], "timeout": 0.25, **options}
        return server, StubResolver(site=site(), **options)

    async def test_trouble_is_never_taken_for_an_answer(self) -> None:
        zone = {f"{manner}.example".lower(): [f"! {manner}", "A 192.0.2.1"] for manner, _ in MANNERS}
        _, resolver = await self.serve(zone)
        for manner, finding in MANNERS:
            answer = await resolver.look_up(f"{manner}.example", "A")
            self.assertIs(answer.finding, finding, manner)
            self.assertEqual(answer.records, ("192.0.2.1",) if finding is Finding.FOUND else ())

    async def test_nothing_there(self) -> None:
        _, resolver = await self.serve({"a.example": ["A 192.0.2.1"], "b.example": ["A 192.0.2.1", "! NO-SOA"]})
        for name in ("a.example", "b.example"):
            self.assertIs((await resolver.look_up(name, "MX")).finding, Finding.NO_DATA)
        self.assertIs((await resolver.look_up("c.example", "MX")).finding, Finding.NO_NAME)

    async def test_the_next_server_is_asked(self) -> None:
        _, resolver = await self.serve({"a.example": ["A 192.0.2.1"]})
        broken = DNSServer({"a.example": ["! SERVFAIL"]})
        silent = DNSServer({"a.example": ["! DROP"]})
        for server in (broken, silent):
            await server.start()
            self.addCleanup(stop, server)
        right = [str(each) for each in await resolver.machine.servers()]
        resolver = StubResolver(site=site(), servers=[broken.address, silent.address, *right], timeout=0.25)
        self.assertEqual((await resolver.look_up("a.example", "A")).records, ("192.0.2.1",))
        # Who says nothing is asked last from then on.
        self.assertEqual([str(each) for each in await resolver.machine.servers()][-1], silent.address)

    async def test_nobody_listens(self) -> None:
        server, resolver = await self.serve({})
        await server.stop()
        answer = await resolver.look_up("a.example", "A")
        self.assertIs(answer.finding, Finding.FAILED)
        self.assertEqual(answer.why, f"{server.address}: connection refused")

    async def test_answers_are_remembered_good_and_bad(self) -> None:
        server, resolver = await self.serve({"a.example": ["A 192.0.2.1"], "bad.example": ["! SERVFAIL"]})
        for _ in range(3):
            await resolver.look_up("a.example", "A")
            await resolver.look_up("a.example", "MX")
            await resolver.look_up("none.example", "A")
        self.assertEqual(len(server.asked), 3)
        before = len(server.asked)
        for _ in range(3):
            await resolver.look_up("bad.example", "A")
        self.assertEqual(len(server.asked), before + 3)  # the three tries of one question

    async def test_equal_questions_under_way_are_one(self) -> None:
        server, resolver = await self.serve({"a.example": ["A 192.0.2.1"]})
        asked = [Deferred.fromCoroutine(resolver.look_up("A.example", "A")) for _ in range(50)]
        asked[0].addErrback(lambda failure: failure.trap(CancelledError))
        asked[0].cancel()  # whoever gives up takes nobody with him
        answers = await gatherResults(asked[1:])
        self.assertEqual({answer.records for answer in answers}, {("192.0.2.1",)})
        self.assertEqual(len(server.asked), 1)

    async def test_many_questions_at_once(self) -> None:
        _, resolver = await self.serve({"*.example": ["A 192.0.2.1"]}, timeout=2.0)
        asked = [Deferred.fromCoroutine(resolver.look_up(f"n{n}.example", "A")) for n in range(500)]
        answers = await gatherResults(asked)
        self.assertEqual({answer.finding for answer in answers}, {Finding.FOUND})

    async def test_only_a_trusted_server_vouches(self) -> None:
        zone = {"a.example": ["A 192.0.2.1", "! SECURE"], "b.example": ["A 192.0.2.1"], "c.example": ["! SECURE"]}
        server, resolver = await self.serve(zone)
        self.assertTrue((await resolver.look_up("a.example", "A")).secure)
        self.assertTrue((await resolver.look_up("c.example", "A")).secure)  # of nothing, too
        self.assertFalse((await resolver.look_up("b.example", "A")).secure)
        doubtful = StubResolver(site=site(), servers=[server.address], trust=["192.0.2.0/24"])
        self.assertFalse((await doubtful.look_up("a.example", "A")).secure)

    async def test_chains_of_names(self) -> None:
        chain = {f"n{n}.example": [f"CNAME n{n + 1}.example."] for n in range(12)}
        zone = {**chain, "n12.example": ["A 192.0.2.1"], "self.example": ["CNAME self.example."]}
        _, resolver = await self.serve({**zone, "dangling.example": ["CNAME gone.example."]})
        self.assertIs((await resolver.look_up("n0.example", "A")).finding, Finding.FAILED)
        self.assertEqual((await resolver.look_up("n5.example", "A")).name, "n12.example")
        self.assertIs((await resolver.look_up("self.example", "A")).finding, Finding.FAILED)
        dangling = await resolver.look_up("dangling.example", "A")
        self.assertIs(dangling.finding, Finding.NO_NAME)
        self.assertEqual(dangling.name, "gone.example")

    async def test_a_large_answer_comes_by_tcp(self) -> None:
        zone = {"many.example": [f"A 192.0.2.{n}" for n in range(200)]}
        server, resolver = await self.serve(zone, timeout=1.0)
        answer = await resolver.look_up("many.example", "A")
        self.assertEqual(len(answer.records), 200)
        self.assertEqual([asked.transport for asked in server.asked], ["udp", "tcp"])

    async def test_names_that_no_server_is_asked_for(self) -> None:
        server, resolver = await self.serve({})
        self.assertEqual((await resolver.look_up("localhost", "A")).records, ("127.0.0.1",))
        self.assertEqual((await resolver.look_up("a.localhost", "AAAA")).records, ("::1",))
        self.assertIs((await resolver.look_up("localhost", "MX")).finding, Finding.NO_DATA)
        self.assertIs((await resolver.look_up("a.invalid", "MX")).finding, Finding.NO_NAME)
        self.assertEqual(server.asked, [])

    async def test_ipv6(self) -> None:
        server = DNSServer({"a.example": ["A 192.0.2.1", "! TRUNCATE"]}, interface="::1")
        await server.start()
        self.addCleanup(stop, server)
        resolver = StubResolver(site=site(), servers=[server.address], timeout=1.0)
        self.assertEqual((await resolver.look_up("a.example", "A")).records, ("192.0.2.1",))

    async def test_the_files_of_the_machine(self) -> None:
        server, _ = await self.serve({"a.example": ["A 192.0.2.1"]})
        hosts = Path(self.mktemp())
        hosts.write_text(  # noqa: ASYNC240  # a test may
            "192.0.2.7 Gateway gateway.example # ours\n2001:db8::7 gateway\n\nnonsense\n"
        )
        resolver = StubResolver(site=site(), servers=[server.address])
        resolver.machine.hosts_file = hosts
        self.assertEqual((await resolver.look_up("gateway", "A")).records, ("192.0.2.7",))
        self.assertEqual((await resolver.look_up("gateway", "AAAA")).records, ("2001:db8::7",))
        self.assertIs((await resolver.look_up("gateway.example", "AAAA")).finding, Finding.NO_DATA)
        self.assertEqual(server.asked, [])
