"""Which hosts a destination is, for whatever the DNS says: the table of what is permanent, and what passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailfw.interfaces import IHops
from mailfw.mail.hop import Hop, Login, TLSDemand, TLSLevel
from mailfw.mail.lookup import MX, TLSA, Answer, Finding
from mailfw.mail.outcome import Deferred, Failed
from mailfw.routing.hops import HopFinder
from mailfw.routing.names import a_labels, interleave, is_public
from mailfw.routing.ourselves import Ourselves, is_local, source_towards
from mailfw.routing.settings import HopSettings, read_listening
from mailfw.site import Site
from mailfw.testing.dialogue import run_now
from mailfw.testing.resolver import PretendResolver

SITE = Site("mx.example.org", frozenset({"example.org"}), Path("absent"), Clock())
FAILED: Answer[Any] = Answer(Finding.FAILED, why="SERVFAIL")

Table = Mapping[tuple[str, str], Sequence[Any] | Answer[Any]]

ONE: Table = {("example.net", "MX"): [MX(10, "mx.example.net")], ("mx.example.net", "A"): ["192.0.2.1"]}


def finder(table: Table, secure: Sequence[str] = (), **settings: Any) -> HopFinder:
    return HopFinder(
        site=SITE,
        resolver=PretendResolver(table, secure),
        settings=HopSettings(**settings),
        logins={"smtp://u@192.0.2.9:587": Login("u", "secret"), "smtps://u@host.example:465": Login("u", "secret")},
        random=Random(7),
    )


class Case(SynchronousTestCase):
    def find(
        self,
        table: Table,
        destination: str = "example.net",
        require_tls: bool = False,
        secure: Sequence[str] = (),
        **settings: Any,
    ) -> list[Hop]:
        found = run_now(self, finder(table, secure, **settings).find(destination, require_tls))
        self.assertIsInstance(found, list, found)
        return list(found)

    def addresses(self, table: Table, destination: str = "example.net", **settings: Any) -> list[str]:
        return [hop.address for hop in self.find(table, destination, **settings)]

    def refusal(
        self,
        table: Table,
        destination: str = "example.net",
        require_tls: bool = False,
        secure: Sequence[str] = (),
        **settings: Any,
    ) -> str:
        found = run_now(self, finder(table, secure, **settings).find(destination, require_tls))
        assert isinstance(found, Deferred | Failed), found
        self.assertEqual(found.reply.code // 100, 4 if isinstance(found, Deferred) else 5)
        return f"{found.reply.code} {found.reply.status}"


class FindingTests(Case):
    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IHops, finder({})))

    def test_what_the_dns_says_and_what_becomes_of_it(self) -> None:
        mx: Table = {("example.net", "MX"): [MX(10, "a.example"), MX(20, "b.example")]}
        for table, expected in (
            ({("example.net", "MX"): FAILED}, "451 4.4.3"),
            ({}, "550 5.1.2"),
            ({("example.net", "MX"): Answer(Finding.NO_NAME)}, "550 5.1.2"),
            ({("example.net", "TXT"): [b"x"]}, "550 5.1.2"),
            ({("example.net", "MX"): Answer(Finding.NO_DATA), ("example.net", "A"): FAILED}, "451 4.4.3"),
            ({("example.net", "MX"): [MX(0, "")]}, "556 5.1.10"),
            (mx, "451 4.4.4"),
            ({**mx, ("b.example", "A"): FAILED}, "451 4.4.4"),
            ({**mx, ("a.example", "TXT"): [b"x"], ("b.example", "TXT"): [b"x"]}, "451 4.4.4"),
            ({("example.net", "MX"): [MX(10, "192.0.2.1")]}, "451 4.4.4"),
            ({**mx, ("a.example", "A"): ["127.0.0.1"], ("b.example", "AAAA"): ["::"]}, "550 5.4.4"),
            ({**mx, ("a.example", "A"): ["127.0.0.1"]}, "451 4.4.4"),
        ):
            self.assertEqual(self.refusal(table), expected, table)

    def test_addresses_where_there_is_no_mx(self) -> None:
        table: Table = {("example.net", "A"): ["192.0.2.1"], ("example.net", "AAAA"): ["2001:db8::1"]}
        hops = self.find(table)
        self.assertEqual(hops[0], Hop("example.net", "2001:db8::1", 25))
        self.assertEqual(len(hops), 2)

    def test_one_family_that_failed_leaves_the_other(self) -> None:
        self.assertEqual(self.addresses({**ONE, ("mx.example.net", "AAAA"): FAILED}), ["192.0.2.1"])

    def test_by_preference_and_by_chance_among_equals(self) -> None:
        hosts = [MX(20, "c.example"), MX(10, "a.example"), MX(10, "b.example"), MX(10, "")]
        table: Table = {
            ("example.net", "MX"): hosts,
            **{(f"{name}.example", "A"): [f"192.0.2.{n}"] for n, name in enumerate("abc")},
        }
        search = finder(table)
        orders = set()
        for _ in range(50):
            orders.add(tuple(hop.host for hop in run_now(self, search.find("example.net", False))))
            SITE.reactor.advance(10)
        self.assertEqual(orders, {("a.example", "b.example", "c.example"), ("b.example", "a.example", "c.example")})

    def test_what_was_found_is_good_for_a_moment(self) -> None:
        search = finder(ONE)
        asked = search._resolver.asked  # type: ignore[attr-defined]
        run_now(self, search.find("example.net", False))
        before = len(asked)
        run_now(self, search.find("example.net", False))
        self.assertEqual(len(asked), before)
        run_now(self, search.find("example.net", True))
        after = len(asked)
        self.assertGreater(after, before)
        SITE.reactor.advance(10)
        run_now(self, search.find("example.net", False))
        self.assertGreater(len(asked), after)

    def test_families_in_turn(self) -> None:
        self.assertEqual(
            interleave(["1.1.1.1", "::1", "2.2.2.2", "::1", "3.3.3.3"]), ["::1", "1.1.1.1", "2.2.2.2", "3.3.3.3"]
        )
        self.assertEqual(interleave(["::1", "::2", "1.1.1.1"]), ["::1", "1.1.1.1", "::2"])

    def test_the_number_of_hosts_is_bounded(self) -> None:
        hosts = [MX(n, f"h{n}.example") for n in range(500)]
        addresses = {(host.host, "A"): [f"192.0.2.{n}" for n in range(100)] for host in hosts}
        search = finder({("example.net", "MX"): hosts, **addresses})
        hops = run_now(self, search.find("example.net", False))
        self.assertLessEqual(len(hops), 20)
        asked = search._resolver.asked  # type: ignore[attr-defined]
        self.assertLess(len(asked), 50)

    def test_the_same_address_is_tried_once(self) -> None:
        table: Table = {
            ("example.net", "MX"): [MX(10, "a.example"), MX(20, "b.example"), MX(30, "a.example")],
            ("a.example", "A"): ["192.0.2.1"],
            ("b.example", "A"): ["192.0.2.1"],
        }
        self.assertEqual(self.addresses(table), ["192.0.2.1"])

    def test_a_domain_in_another_alphabet(self) -> None:
        name = a_labels("예시.example")
        self.assertEqual(
            self.addresses({(name, "MX"): [MX(1, "mx.example.net")], **ONE}, "예시.example"), ["192.0.2.1"]
        )
        self.assertEqual(self.refusal({}, "a..b"), "550 5.1.2")
        self.assertEqual(self.refusal({}, "\u2028.example"), "550 5.1.2")
        self.assertEqual(a_labels("straße.example"), "xn--strae-oqa.example")
        self.assertEqual(a_labels("Ünder_score.EXAMPLE".replace("_", "")), a_labels("ünderscore.example"))
        self.assertEqual(a_labels("a_b.example"), "a_b.example")
        for name in ("", "a..example", "a b.example", "\u3000a.example", "a\u00a0b.example", "a\x7f.example"):
            with self.assertRaises(ValueError, msg=repr(name)):
                a_labels(name)

    def test_an_address_literal(self) -> None:
        self.assertEqual(self.addresses({}, "[192.0.2.1]"), ["192.0.2.1"])
        self.assertEqual(self.addresses({}, "[IPv6:2001:DB8::1]"), ["2001:db8::1"])
        self.assertEqual(self.refusal({}, "[127.0.0.1]"), "550 5.1.2")
        self.assertEqual(self.refusal({}, "[192.0.2.1]", require_tls=True), "550 5.7.30")


class OurselvesTests(Case):
    TABLE: ClassVar[Table] = {
        ("example.net", "MX"): [MX(10, "a.example"), MX(20, "b.example"), MX(20, "c.example"), MX(30, "d.example")],
        **{(f"{name}.example", "A"): [f"192.0.2.{n}"] for n, name in enumerate("abcd")},
    }

    def test_only_what_is_preferred_to_us_is_tried(self) -> None:
        for own, left in ((["192.0.2.2"], ["192.0.2.0"]), (["192.0.2.3"], ["192.0.2.0", "192.0.2.1", "192.0.2.2"])):
            hops = self.find(self.TABLE, own_addresses=frozenset(own))
            self.assertEqual(sorted(hop.address for hop in hops), left)
        self.assertEqual(self.refusal(self.TABLE, own_addresses=frozenset({"192.0.2.0"})), "554 5.4.6")

    def test_our_name(self) -> None:
        table: Table = {
            ("example.net", "MX"): [MX(10, "MX.example.org".lower())],
            ("mx.example.org", "A"): ["192.0.2.1"],
        }
        self.assertEqual(self.refusal(table), "554 5.4.6")

    def test_our_address_on_another_port_is_another_server(self) -> None:
        table: Table = {("example.net", "MX"): [MX(10, "a.example")], ("a.example", "A"): ["127.0.0.2"]}
        settings: dict[str, Any] = {"port": 2525, "allow_loopback": True}
        self.assertEqual(self.refusal(table, listening=(("127.0.0.2", 2525),), **settings), "554 5.4.6")
        self.assertEqual(self.refusal(table, listening=(("", 2525),), **settings), "554 5.4.6")
        self.assertEqual(self.addresses(table, listening=(("127.0.0.2", 2526),), **settings), ["127.0.0.2"])
        self.assertEqual(self.addresses(table, listening=(("127.0.0.1", 2525), ("", 25)), **settings), ["127.0.0.2"])

    def test_what_the_system_says(self) -> None:
        self.assertTrue(is_local("127.0.0.1"))
        self.assertFalse(is_local("192.0.2.1"))
        self.assertFalse(is_local("2001:db8::1"))
        self.assertEqual(source_towards("127.0.0.1"), "127.0.0.1")
        self.assertTrue(Ourselves("a", [("::1", 25)]).has_address("0:0:0:0:0:0:0:1", 25))

    def test_endpoints(self) -> None:
        endpoints = ["tcp:25", "tcp6:26:interface=\\:\\:1", "tcp:27:interface=127.0.0.1", "unix:/run/x:mode=660"]
        self.assertEqual(read_listening(endpoints), (("", 25), ("::1", 26), ("127.0.0.1", 27)))
        more = ["haproxy:tcp:28", "systemd:domain=INET:index=0", "tcp:port=29:interface=0.0.0.0", "tcp:x"]
        self.assertEqual(read_listening(more), (("", 28), ("", 25), ("", 29)))

    def test_addresses_that_no_other_machine_has(self) -> None:
        for address in (
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ):
            self.assertFalse(is_public(address), address)
        for address in ("192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1", "::ffff:192.0.2.1"):
            self.assertTrue(is_public(address), address)


class FixedTests(Case):
    TABLE: ClassVar[Table] = {("host.example", "A"): ["192.0.2.8", "192.0.2.9"]}

    def demand(self, url: str, require_tls: bool = False) -> TLSDemand:
        return self.find(self.TABLE, url, require_tls)[0].tls

    def test_levels(self) -> None:
        verified = TLSDemand(TLSLevel.VERIFY, names=("host.example",))
        for url, demand in (
            ("smtp://host.example:25", TLSDemand()),
            ("smtp://host.example:25?tls=encrypt", TLSDemand(TLSLevel.ENCRYPT)),
            ("smtp://host.example:25?tls=verify", verified),
            ("smtp://host.example:25?tls=none", TLSDemand(TLSLevel.NONE)),
            ("smtps://host.example:465", TLSDemand(TLSLevel.VERIFY, True, ("host.example",))),
            ("smtps://host.example:465?tls=encrypt", TLSDemand(TLSLevel.ENCRYPT, True)),
            ("lmtp://host.example:24", TLSDemand()),
        ):
            self.assertEqual(self.demand(url), demand, url)
        self.assertEqual(self.demand("smtp://host.example:25", require_tls=True), verified)
        self.assertEqual(self.demand("smtp://host.example:25?tls=encrypt", require_tls=True), verified)
        self.assertEqual(self.refusal(self.TABLE, "smtp://host.example:25?tls=none", True), "550 5.7.30")

    def test_what_we_demand_ourselves_holds_for_every_sender(self) -> None:
        """RFC 8689 section 5 speaks of the recipient's policies, and a password is ours."""
        found = run_now(self, finder({}).find("smtp://u@192.0.2.9:587", False, True))
        self.assertEqual([hop.tls.level for hop in found], [TLSLevel.VERIFY])

    def test_a_login_asks_for_a_certificate(self) -> None:
        [hop] = self.find({}, "smtp://u@192.0.2.9:587")
        self.assertEqual((hop.login, hop.tls.level), (Login("u", "secret"), TLSLevel.VERIFY))
        self.assertEqual(hop.tls.names, ("192.0.2.9",))
        self.assertNotIn("secret", repr(hop))
        self.assertEqual(self.refusal({}, "smtp://other@192.0.2.9:587"), "451 4.3.5")

    def test_hosts(self) -> None:
        hops = self.find(self.TABLE, "smtps://u@host.example:465")
        self.assertEqual([(hop.host, hop.address, hop.port) for hop in hops][1], ("host.example", "192.0.2.9", 465))
        self.assertEqual(self.addresses({}, "smtp://127.0.0.1:2526"), ["127.0.0.1"])
        self.assertEqual(self.refusal({}, "smtp://absent.example:25"), "451 4.4.4")
        self.assertEqual(self.refusal({("h.example", "A"): FAILED}, "smtp://h.example:25"), "451 4.4.3")

    def test_ourselves(self) -> None:
        listening = (("127.0.0.1", 2525),)
        self.assertEqual(self.refusal({}, "smtp://127.0.0.1:2525", listening=listening), "451 4.3.5")

    def test_lmtp(self) -> None:
        [hop] = self.find({}, "lmtp:///run/store.sock", require_tls=True)
        self.assertEqual((hop.protocol, hop.address, hop.tls.level), ("lmtp", "/run/store.sock", TLSLevel.NONE))
        self.assertEqual(self.find(self.TABLE, "lmtp://host.example:24")[0].protocol, "lmtp")


RIGHT = TLSA(3, 1, 1, b"x" * 32)
SIGNED = ("example.net", "mx.example.net", "_25._tcp.mx.example.net")


class DANETests(Case):
    def with_tlsa(self, *records: TLSA) -> Table:
        return {**ONE, ("_25._tcp.mx.example.net", "TLSA"): list(records)}

    def demand(self, table: Table, secure: Sequence[str] = SIGNED, **options: Any) -> TLSDemand:
        return self.find(table, secure=secure, **options)[0].tls

    def test_what_is_vouched_for_is_demanded(self) -> None:
        demand = self.demand(self.with_tlsa(RIGHT, TLSA(1, 1, 1, b"x" * 32)))
        names = ("mx.example.net", "example.net")
        self.assertEqual(demand, TLSDemand(TLSLevel.VERIFY, names=names, tlsa=(RIGHT,), policy="tlsa"))

    def test_only_where_every_step_is_validated(self) -> None:
        for missing in SIGNED:
            secure = [name for name in SIGNED if name != missing]
            self.assertEqual(self.demand(self.with_tlsa(RIGHT), secure), TLSDemand(), missing)
        self.assertEqual(self.demand(self.with_tlsa(RIGHT), dane=False), TLSDemand())

    def test_unusable_records_still_ask_for_tls(self) -> None:
        unusable = (TLSA(0, 1, 1, b"x" * 32), TLSA(3, 2, 1, b"x" * 32), TLSA(3, 1, 1, b"x"), TLSA(3, 1, 9, b"x" * 32))
        for record in (*unusable, TLSA(3, 1, 0, b"")):
            self.assertEqual(self.demand(self.with_tlsa(record)).level, TLSLevel.ENCRYPT)
        self.assertEqual(self.demand(self.with_tlsa(TLSA(2, 0, 2, b"x" * 64))).level, TLSLevel.VERIFY)

    def test_a_look_up_that_fails_is_no_downgrade(self) -> None:
        table = {**ONE, ("_25._tcp.mx.example.net", "TLSA"): FAILED}
        self.assertEqual(self.refusal(table, secure=SIGNED), "451 4.4.3")
        other: Table = {
            **table,
            ("example.net", "MX"): [MX(10, "mx.example.net"), MX(20, "other.example")],
            ("other.example", "A"): ["192.0.2.2"],
        }
        self.assertEqual([hop.address for hop in self.find(other, secure=SIGNED)], ["192.0.2.2"])

    def test_an_alias_is_asked_under_both_names(self) -> None:
        class Aliased(PretendResolver):
            async def look_up(self, name: str, kind: str) -> Answer[Any]:
                return await super().look_up("real.example" if name == "mx.example.net" else name, kind)

        table: Table = {("example.net", "MX"): [MX(1, "mx.example.net")], ("real.example", "A"): ["192.0.2.1"]}
        for base in ("real.example", "mx.example.net"):
            known = {**table, (f"_25._tcp.{base}", "TLSA"): [RIGHT]}
            secure = ("example.net", "real.example", f"_25._tcp.{base}")
            search = HopFinder(site=SITE, resolver=Aliased(known, secure), settings=HopSettings(), logins={})
            [hop] = run_now(self, search.find("example.net", False))
            self.assertEqual(hop.host, base)
            self.assertEqual(hop.tls.names[0], base)
            self.assertIn("example.net", hop.tls.names)

    def test_without_mx(self) -> None:
        table: Table = {("example.net", "A"): ["192.0.2.1"], ("_25._tcp.example.net", "TLSA"): [RIGHT]}
        self.assertEqual(self.demand(table, ("example.net", "_25._tcp.example.net")).tlsa, (RIGHT,))


class RequireTLSTests(Case):
    def test_somebody_has_to_vouch(self) -> None:
        self.assertEqual(self.refusal(ONE, require_tls=True), "550 5.7.30")
        [hop] = self.find(ONE, require_tls=True, secure=("example.net",))
        self.assertEqual(hop.tls, TLSDemand(TLSLevel.VERIFY, names=("mx.example.net",)))
        table = {**ONE, ("_25._tcp.mx.example.net", "TLSA"): [RIGHT]}
        self.assertEqual(self.find(table, require_tls=True, secure=SIGNED)[0].tls.tlsa, (RIGHT,))

    def test_what_may_pass_is_not_refused_for_good(self) -> None:
        table = {**ONE, ("_25._tcp.mx.example.net", "TLSA"): FAILED}
        self.assertEqual(self.refusal(table, require_tls=True, secure=SIGNED), "451 4.4.3")
