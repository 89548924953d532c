"""From a domain to its hops, through our own resolver and a real name server on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred as Later
from twisted.trial.unittest import TestCase

from mailfw.dns import StubResolver
from mailfw.mail.hop import TLSLevel
from mailfw.mail.outcome import Deferred, Failed
from mailfw.routing.hops import HopFinder, hops_for
from mailfw.routing.settings import HopSettings
from mailfw.site import Site
from mailfw.testing.dns import DNSServer

reactor: Any = installed

ZONE = """
plain.example               MX    10 a.plain.example.
plain.example               MX    20 b.plain.example.
a.plain.example             A     127.0.0.2
b.plain.example             CNAME c.plain.example.
c.plain.example             A     127.0.0.3
bare.example                A     127.0.0.4
empty.example               TXT   "nothing here"
null.example                MX    0 .
literal.example             MX    10 127.0.0.1.
loop.example                MX    10 one.loop.example.
one.loop.example            CNAME two.loop.example.
two.loop.example            CNAME one.loop.example.
us.example                  MX    10 mx.example.org.
servfail.example            !     SERVFAIL
refused.example             !     REFUSED
silent.example              !     DROP
garbage.example             !     GARBAGE
oversize.example            !     HUGE
truncated.example           !     TRUNCATE
truncated.example           MX    10 a.plain.example.
halfdead.example            MX    10 dead.halfdead.example.
halfdead.example            MX    20 a.plain.example.
dead.halfdead.example       !     SERVFAIL
dead.example                MX    10 dead.halfdead.example.
dane.example                MX    10 mx.dane.example.
dane.example                !     SECURE
mx.dane.example             A     127.0.0.5
mx.dane.example             !     SECURE
_2525._tcp.mx.dane.example  TLSA  3 1 1 abababababababababababababababababababababababababababababababab
_2525._tcp.mx.dane.example  !     SECURE
bogus.example               MX    10 mx.bogus.example.
bogus.example               !     SECURE
mx.bogus.example            A     127.0.0.6
mx.bogus.example            !     SECURE
_2525._tcp.mx.bogus.example !     SERVFAIL
"""

#: What becomes of mail to each domain: addresses, or a reply.
TABLE = (
    ("plain.example", ["127.0.0.2", "127.0.0.3"]),
    ("bare.example", ["127.0.0.4"]),
    ("truncated.example", ["127.0.0.2"]),
    ("halfdead.example", ["127.0.0.2"]),
    ("dane.example", ["127.0.0.5"]),
    ("empty.example", "550 5.1.2"),
    ("nowhere.example", "550 5.1.2"),
    ("null.example", "556 5.1.10"),
    ("us.example", "554 5.4.6"),
    ("literal.example", "451 4.4.4"),
    ("loop.example", "451 4.4.3"),
    ("servfail.example", "451 4.4.3"),
    ("refused.example", "451 4.4.3"),
    ("silent.example", "451 4.4.3"),
    ("garbage.example", "451 4.4.3"),
    ("oversize.example", "451 4.4.3"),
    ("dead.example", "451 4.4.3"),
    ("bogus.example", "451 4.4.3"),
)


class OverTheWireTests(TestCase):
    async def finder(self) -> HopFinder:
        self.server = server = DNSServer(ZONE)
        await server.start()
        self.addCleanup(lambda: Later.fromCoroutine(server.stop()))
        site = Site("mx.example.org", frozenset({"example.org"}), Path(self.mktemp()), reactor)
        resolver = StubResolver(site=site, servers=[server.address], timeout=0.25)
        settings = HopSettings(port=2525, allow_loopback=True)
        finder = hops_for(site=site, resolver=resolver, settings=settings, logins={})

        async def send(*_: Any) -> None:
            raise AssertionError("nothing is to be told")

        await finder.start(send)
        self.addCleanup(lambda: Later.fromCoroutine(finder.stop()))
        return finder

    async def test_what_becomes_of_mail(self) -> None:
        finder = await self.finder()
        for domain, expected in TABLE:
            found = await finder.find(domain, False)
            if isinstance(found, Deferred | Failed):
                self.assertEqual((domain, f"{found.reply.code} {found.reply.status}"), (domain, expected))
                self.assertEqual(isinstance(found, Deferred), found.reply.code < 500)
            else:
                self.assertEqual((domain, [hop.address for hop in found]), (domain, expected))
                self.assertEqual({hop.port for hop in found}, {2525})

    async def test_dane(self) -> None:
        finder = await self.finder()
        found = await finder.find("dane.example", True)
        assert not isinstance(found, Deferred | Failed)
        self.assertEqual(found[0].tls.level, TLSLevel.VERIFY)
        self.assertEqual(found[0].tls.tlsa[0].data, b"\xab" * 32)
        self.assertEqual(found[0].tls.names, ("mx.dane.example", "dane.example"))
