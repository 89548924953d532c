from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from mailfw.interfaces import IDirectory, IRouter
from mailfw.mail.address import Address
from mailfw.mail.resolution import LocalAccount, NotLocal, Resolution
from mailfw.mail.route import Route, Unroutable
from mailfw.routing.router import TableRouter, routes
from mailfw.routing.table import Patterns, RouteRefused, RoutingTable, read_table
from mailfw.testing.dialogue import run_now
from mailfw.testing.router import RouterContract


@implementer(IDirectory)
class PretendDirectory:
    """Whatever is in example.org is somebody's."""

    async def resolve(self, address: Address) -> Resolution:
        local = address.domain == "example.org" or address == Address("postmaster", "")
        return LocalAccount(str(address)) if local else NotLocal()


@dataclass(frozen=True)
class Rule:
    to: str
    recipients: Sequence[str] = ("*",)
    senders: Sequence[str] = ("*",)


def address(text: str) -> Address:
    local, _, domain = text.rpartition("@")
    return Address(local, domain)


class TableTests(SynchronousTestCase):
    def way(
        self, recipient: str, *rules: Rule, sender: str | None = "bob@example.org", relay: str = ""
    ) -> str | Unroutable:
        router = routes(directory=PretendDirectory(), table=read_table(relay, rules))
        found = run_now(self, router.route(address(sender) if sender else None, address(recipient)))
        return str(found) if isinstance(found, Route) else found

    def refusal(self, recipient: str, *rules: Rule) -> str:
        way = self.way(recipient, *rules)
        assert isinstance(way, Unroutable), way
        return f"{way.reply.code} {way.reply.status} {way.reply.text}"

    def test_without_rules(self) -> None:
        self.assertEqual(self.way("ann@example.org"), "mailbox")
        self.assertEqual(self.way("carol@example.net"), "relay:example.net")
        self.assertEqual(self.way("carol@예시.한국"), "relay:예시.한국")

    def test_what_nobody_can_reach(self) -> None:
        for recipient in (
            "x@[192.0.2.1]",
            "x@[IPv6:2001:db8::1]",
            "x@[what]",
            "x@a.invalid",
            "x@localhost",
            "x@a.onion",
        ):
            self.assertTrue(self.refusal(recipient).startswith("550 5.1.2 "), recipient)
        for recipient in ("x@a..b", "x@" + "l" * 64 + ".example", "x@" + "a." * 130 + "example"):
            self.assertTrue(self.refusal(recipient).startswith("550 5.1.2 "), recipient)
        self.assertEqual(self.way("x@[192.0.2.1]", Rule("mx", ["[192.0.2.1]"])), "relay:[192.0.2.1]")
        self.assertEqual(self.way("x@a.invalid", relay="smtp://host"), "relay:smtp://host:25")

    def test_the_smarthost_takes_what_is_not_ours(self) -> None:
        relay = "smtp://user:secret@smtp.example.com"
        self.assertEqual(self.way("carol@example.net", relay=relay), "relay:smtp://user@smtp.example.com:587")
        self.assertEqual(self.way("ann@example.org", relay=relay), "mailbox")
        self.assertEqual(self.way("carol@example.net", relay="lmtp://host"), "lmtp:lmtp://host:24")
        self.assertEqual(self.way("c@example.net", relay="smtps://u:p@host"), "relay:smtps://u@host:465")

    def test_by_recipient(self) -> None:
        rules = (
            Rule("smtp://one", ["example.net"]),
            Rule("smtp://two", [".example.net"]),
            Rule("smtp://three", ["carol@example.com"]),
            Rule("refuse: Gone\n away", ["gone.example"]),
            Rule("lmtp:///run/store.sock", ["store.example"]),
            Rule("mx", ["direct.example"]),
            Rule("smtp://never", ["example.net"]),
        )
        for recipient, way in (
            ("x@example.net", "relay:smtp://one:25"),
            ("x@a.b.example.net", "relay:smtp://two:25"),
            ("x@badexample.net", "relay:badexample.net"),
            ("Carol@example.com", "relay:smtp://three:25"),
            ("dan@example.com", "relay:example.com"),
            ("x@store.example", "lmtp:lmtp:///run/store.sock"),
            ("x@direct.example", "relay:direct.example"),
        ):
            self.assertEqual(self.way(recipient, *rules), way)
        self.assertEqual(self.refusal("x@gone.example", *rules), "550 5.7.1 Gone away")

    def test_by_sender(self) -> None:
        rules = (
            Rule("smtp://one", senders=["ann@example.org"]),
            Rule("smtp://two", ["example.net"], ["example.org"]),
            Rule("smtp://null", senders=["<>"]),
        )
        self.assertEqual(self.way("x@example.com", *rules, sender="Ann@example.org"), "relay:smtp://one:25")
        self.assertEqual(self.way("x@example.net", *rules, sender="bob@example.org"), "relay:smtp://two:25")
        self.assertEqual(self.way("x@example.com", *rules, sender="bob@example.org"), "relay:example.com")
        self.assertEqual(self.way("x@example.com", *rules, sender=None), "relay:smtp://null:25")

    def test_what_is_ours_needs_a_rule_that_names_it(self) -> None:
        everything = Rule("smtp://one")
        from_ann = Rule("smtp://two", senders=["ann@example.org"])
        self.assertEqual(self.way("bob@example.org", from_ann, everything, sender="ann@example.org"), "mailbox")
        self.assertEqual(
            self.way("bob@example.org", everything, Rule("lmtp://in", ["example.org"])), "lmtp:lmtp://in:24"
        )
        self.assertEqual(self.way("bob@example.org", Rule("smtp://x", ["bob@example.org"])), "relay:smtp://x:25")

    def test_domains_in_any_alphabet_and_case(self) -> None:
        for pattern in ("xn--vv4b11d.xn--3e0b707e", "예시.한국", "예시.한국."):
            self.assertEqual(self.way("x@예시.한국", Rule("smtp://h", [pattern])), "relay:smtp://h:25")
        self.assertEqual(self.way("x@example.net", Rule("smtp://h", ["EXAMPLE.Net"])), "relay:smtp://h:25")

    def test_the_way_is_explained(self) -> None:
        router = TableRouter(
            directory=PretendDirectory(), table=read_table("", [Rule("smtp://h", ["a.example"], ["b.example", "<>"])])
        )
        decision = run_now(self, router.decide(None, Address("x", "a.example")))
        self.assertEqual(decision.why, "the rule for recipients a.example and senders b.example, <>")


class ReadTableTests(SynchronousTestCase):
    def test_passwords_are_put_aside(self) -> None:
        file = Path(self.mktemp())
        file.write_text("from file\n")
        url = f"smtp://filed@host?password_file={file.absolute()}"
        table = read_table("smtp://user:se%2Fcret@host", [Rule(url)])
        self.assertEqual(table.logins["smtp://user@host:587"].password, "se/cret")
        self.assertEqual(table.logins["smtp://filed@host:587"].password, "from file")
        self.assertNotIn("cret", repr(table))
        self.assertNotIn("from file", repr(table))

    def test_what_cannot_be_used_is_refused_with_its_place(self) -> None:
        for relay, rules, place in (
            ("http://host", [], ("relay",)),
            ("smtp://user@host", [], ("relay",)),
            ("smtp://user@host?password_file=/absent/file", [], ("relay",)),
            ("smtp://u:one@host", [Rule("smtp://u:two@host")], ("relay",)),
            ("", [Rule("mx"), Rule("nowhere")], ("route", 1, "to")),
            ("", [Rule("mx", ["a b"])], ("route", 0, "recipients")),
            ("", [Rule("mx", senders=["@"])], ("route", 0, "senders")),
        ):
            with self.assertRaises(RouteRefused) as caught:
                read_table(relay, rules)
            self.assertEqual(caught.exception.place, place)
            self.assertNotIn("one", str(caught.exception))
            self.assertNotIn("two passwords are given for smtp://u:", str(caught.exception))

    def test_patterns(self) -> None:
        for wrong in ("", "@example.net", "a b", "*.example.net", "ann@", ".", "<x>", "ann@*"):
            with self.assertRaises(ValueError, msg=wrong):
                Patterns([wrong])
        every = Patterns(["*"])
        self.assertTrue(every.fits(None))
        self.assertFalse(every.names(None))


class TableRouterContractTests(RouterContract, TestCase):
    def make_router(self) -> IRouter:
        return TableRouter(directory=PretendDirectory(), table=RoutingTable())


class SmarthostRouterContractTests(RouterContract, TestCase):
    def make_router(self) -> IRouter:
        rules = [Rule("refuse: no", ["example.com"]), Rule("mx", [".example"])]
        return TableRouter(directory=PretendDirectory(), table=read_table("smtp://u:p@host", rules))
