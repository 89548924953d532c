from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailfw.interfaces import IDirectory
from mailfw.mail.address import Address
from mailfw.mail.lookup import MX, TLSA
from mailfw.mail.resolution import Expansion, LocalAccount, NoSuchRecipient, NotLocal, Resolution
from mailfw.routing.explain import explain
from mailfw.routing.hops import HopFinder
from mailfw.routing.router import TableRouter
from mailfw.routing.settings import HopSettings
from mailfw.routing.table import read_table
from mailfw.site import Site
from mailfw.testing.dialogue import run_now
from mailfw.testing.resolver import PretendResolver
from tests.routing.test_router import Rule, address

DNS: dict[tuple[str, str], Any] = {
    ("example.net", "MX"): [MX(10, "mx.example.net"), MX(20, "gone.example.net")],
    ("mx.example.net", "A"): ["192.0.2.1"],
    ("mx.example.net", "AAAA"): ["2001:db8::1"],
    ("_25._tcp.mx.example.net", "TLSA"): [TLSA(3, 1, 1, b"x" * 32)],
    ("quiet.example", "MX"): [MX(0, "")],
    ("host.example", "A"): ["192.0.2.9"],
}
SIGNED = ("example.net", "mx.example.net", "_25._tcp.mx.example.net")


@implementer(IDirectory)
class Directory:
    async def resolve(self, address: Address) -> Resolution:
        if address.domain != "example.org":
            return NotLocal()
        if address.local == "team":
            return Expansion((Address("ann", "example.org"), Address("carol", "quiet.example")))
        return LocalAccount("ann@example.org", "lists") if address.local == "ann+lists" else NoSuchRecipient()


class ExplainTests(SynchronousTestCase):
    def explained(self, text: str, sender: str | None = None, **options: Any) -> list[str]:
        rules = [
            Rule("smtp://u:secret@host.example", senders=["ann@example.org"]),
            Rule("refuse: Gone", ["a.example"]),
            Rule("lmtp:///run/store", ["ticket@example.org"]),
        ]
        table = read_table("", rules)
        site = Site("mx.example.org", frozenset({"example.org"}), Path("absent"), Clock())
        hops = HopFinder(site=site, resolver=PretendResolver(DNS, SIGNED), settings=HopSettings(), logins=table.logins)
        router = TableRouter(directory=Directory(), table=table)
        lines: list[str] = run_now(
            self, explain(Directory(), router, hops, address(text), address(sender) if sender else None, **options)
        )
        return lines

    def test_by_mx(self) -> None:
        lost = "gone.example.net, which takes mail for example.net, cannot be found: there is no such name"
        tls = "TLS required, with a certificate that one of 1 TLSA records vouches for (DANE)"
        self.assertEqual(
            self.explained("carol@example.net"),
            [
                "carol@example.net: not ours",
                "  route relay:example.net (no rule and no relay: by MX)",
                "    MX of example.net: 10 mx.example.net, 20 gone.example.net (DNS, validated)",
                f"    mx.example.net (10): 2001:db8::1, 192.0.2.1, validated; {tls}",
                f"    gone.example.net is not used: {lost}",
                "    would be tried in this order:",
                "      mx.example.net [2001:db8::1]:25",
                "      mx.example.net 192.0.2.1:25",
            ],
        )

    def test_ours(self) -> None:
        self.assertEqual(
            self.explained("ann+lists@example.org"),
            [
                "ann+lists@example.org: the account ann@example.org, detail lists",
                "  route mailbox (the domain is ours)",
            ],
        )
        self.assertEqual(
            self.explained("nobody@example.org"),
            ["nobody@example.org: our domain, where nobody has this address"],
        )
        self.assertEqual(
            self.explained("ticket@example.org"),
            [
                "ticket@example.org: our domain, where nobody has this address",
                "  route lmtp:lmtp:///run/store (the rule for recipients ticket@example.org)",
                "    would be tried in this order:",
                "      the socket /run/store",
            ],
        )

    def test_an_alias(self) -> None:
        self.assertEqual(
            self.explained("team@example.org"),
            [
                "team@example.org: an alias for 2",
                "  ann@example.org",
                "    route mailbox (the domain is ours)",
                "  carol@quiet.example",
                "    route relay:quiet.example (no rule and no relay: by MX)",
                "      MX of quiet.example: 0 . (DNS)",
                "      failed, 556 5.1.10 quiet.example takes no mail",
            ],
        )

    def test_a_smarthost_and_no_password(self) -> None:
        lines = self.explained("carol@example.net", "ann@example.org")
        self.assertEqual(
            lines[1:],
            [
                "  route relay:smtp://u@host.example:587 (the rule for senders ann@example.org)",
                "    host.example has the addresses 192.0.2.9",
                "    would be tried in this order:",
                "      host.example 192.0.2.9:587; TLS required, with a certificate for host.example, logging in as u",
            ],
        )
        self.assertNotIn("secret", "".join(lines))

    def test_refusals(self) -> None:
        self.assertIn("  refused, 550 5.7.1 Gone (the rule for recipients a.example)", self.explained("x@a.example"))
        self.assertIn("550 5.1.2", self.explained("x@[192.0.2.1]")[1])
        self.assertIn("550 5.1.2", self.explained("x@nowhere.example")[-1])
        self.assertIn("550 5.7.30", self.explained("x@host.example", require_tls=True)[-1])
