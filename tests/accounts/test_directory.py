from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.accounts.aliases import read_aliases
from mailfw.accounts.directory import AccountsDirectory, directory, read_catch_all
from mailfw.accounts.portal import MemoryAccounts
from mailfw.interfaces import IDirectory
from mailfw.mail.address import Address
from mailfw.mail.resolution import Expansion, LocalAccount, NoSuchRecipient, NotLocal, Resolution
from mailfw.testing.dialogue import run_now
from mailfw.testing.directory import ACCOUNTS, ALIASES, DirectoryContract
from tests.accounts.pretend import PretendReactor
from tests.accounts.test_passwords import make_site
from tests.accounts.test_portal import stock


def accounts(*names: str) -> MemoryAccounts:
    return MemoryAccounts(stock(**dict.fromkeys(names, b"x")), "example.org")


class AliasesInMemory(DirectoryContract, TestCase):
    def make_directory(self) -> IDirectory:
        async def aliases() -> Any:
            return ALIASES

        return AccountsDirectory(make_site("/nowhere"), [accounts(*ACCOUNTS)], aliases, separator="")


class AliasesInFile(DirectoryContract, TestCase):
    def make_directory(self) -> IDirectory:
        from twisted.internet import reactor

        data = Path(self.mktemp())
        data.mkdir()
        text = "".join(f"{name}: {', '.join(targets)}\n" for name, targets in ALIASES.items())
        (data / "aliases").write_text(text)
        site = make_site(str(data), reactor=reactor)
        return directory(site, [accounts("ann"), accounts("bob")], detail_separator="")


ANN = LocalAccount("ann@example.org")


class DirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = PretendReactor()
        self.data = Path(self.mktemp())
        self.data.mkdir()
        self.site = make_site(str(self.data), "example.org", "예시.한국", reactor=self.reactor)
        self.listed = [accounts("ann", "bob", "ann@예시.한국", "x+y")]

    def resolve(self, address: str, aliases: str = "", **options: Any) -> Resolution:
        (self.data / "aliases").write_text(aliases)
        local, _, domain = address.rpartition("@")
        made = directory(self.site, self.listed, **options)
        answer: Resolution = run_now(self, made.resolve(Address(local, domain)))
        return answer

    def ends(self, address: str, aliases: str, **options: Any) -> list[str]:
        answer = self.resolve(address, aliases, **options)
        return [str(target) for target in answer.targets] if isinstance(answer, Expansion) else []

    def test_domains_in_any_form(self) -> None:
        self.assertEqual(self.resolve("ann@EXAMPLE.org."), ANN)
        self.assertEqual(self.resolve("ann@" + "예시.한국".encode("idna").decode()), LocalAccount("ann@예시.한국"))
        self.assertEqual(self.resolve("bob@예시.한국"), NoSuchRecipient())

    def test_details(self) -> None:
        self.assertEqual(self.resolve("Ann+Lists+2@example.org"), LocalAccount("ann@example.org", "Lists+2"))
        self.assertEqual(self.resolve("ann+@example.org"), ANN)
        self.assertEqual(self.resolve("x+y@example.org"), LocalAccount("x+y@example.org"))
        self.assertEqual(self.resolve("+ann@example.org"), NoSuchRecipient())
        self.assertEqual(self.resolve("carol+ann@example.org"), NoSuchRecipient())

    def test_other_separators(self) -> None:
        self.assertEqual(self.resolve("ann-x@example.org", detail_separator="-"), LocalAccount("ann@example.org", "x"))
        self.assertEqual(self.resolve("ann+x@example.org", detail_separator="-"), NoSuchRecipient())
        self.assertEqual(self.resolve("ann+x@example.org", detail_separator=""), NoSuchRecipient())

    def test_alias_before_account(self) -> None:
        self.assertEqual(self.ends("ann@example.org", "ann@example.org: bob@example.org"), ["bob@example.org"])

    def test_alias_with_detail(self) -> None:
        self.assertEqual(self.ends("s+x@example.org", "s@example.org: bob"), ["bob@example.org"])
        self.assertEqual(self.ends("s@example.org", "s@example.org: bob+Sales"), ["bob+sales@example.org"])

    def test_alias_in_every_domain(self) -> None:
        aliases = "info: ann\nonly@example.org: bob"
        self.assertEqual(self.ends("info@example.org", aliases), ["ann@example.org"])
        self.assertEqual(self.ends("Info@예시.한국", aliases), ["ann@예시.한국"])
        self.assertEqual(self.resolve("only@예시.한국", aliases), NoSuchRecipient())
        self.assertEqual(self.resolve("info@example.com", aliases), NotLocal())

    def test_keeping_a_copy(self) -> None:
        copy = "ann@example.org: ann@example.org, Ann.Other@Example.COM"
        self.assertEqual(self.ends("ann@example.org", copy), ["ann@example.org", "Ann.Other@example.com"])
        self.assertEqual(self.ends("all@example.org", "all: ann\n" + copy), self.ends("ann@example.org", copy))

    def test_going_round(self) -> None:
        self.assertEqual(self.ends("ann@example.org", "ann: bob\nbob: ann"), ["ann@example.org"])
        self.assertEqual(self.resolve("a@example.org", "a: b\nb: c\nc: a"), NoSuchRecipient())

    def test_two_ways_to_one_alias(self) -> None:
        diamond = "top: left, right\nleft: ann\nright: ann\nann: x@example.com"
        self.assertEqual(self.ends("top@example.org", diamond), ["x@example.com"])

    def test_targets_that_are_nobody(self) -> None:
        self.assertEqual(self.ends("s@example.org", "s: nobody, ann"), ["ann@example.org"])
        self.assertEqual(self.resolve("s@example.org", "s: nobody"), NoSuchRecipient())

    def test_flood(self) -> None:
        everybody = ", ".join(f"u{n}@example.com" for n in range(3000))
        self.assertLessEqual(len(self.ends("s@example.org", f"s: {everybody}")), 1000)
        tree = "\n".join(f"a{n}: a{n + 1}, b{n + 1}\nb{n}: a{n + 1}, b{n + 1}" for n in range(60))
        self.assertEqual(self.ends("a0@example.org", tree + "\na60: ann\nb60: ann"), ["ann@example.org"])

    def test_catch_all(self) -> None:
        for options in ({"catch_all": ["ann@example.org"]}, {"catch_all": ["example.org = ann@example.org"]}):
            self.assertEqual(self.ends("any@example.org", "", **options), ["ann@example.org"])
            self.assertEqual(self.resolve("bob@example.org", "", **options), LocalAccount("bob@example.org"))
            self.assertEqual(self.resolve("any@예시.한국", "", **options), NoSuchRecipient())
            self.assertEqual(self.resolve("any@example.com", "", **options), NotLocal())
        self.assertEqual(self.ends("any@example.org", "@example.org: bob"), ["bob@example.org"])
        self.assertEqual(self.resolve("any@example.org", "@example.org: nobody"), NoSuchRecipient())
        self.assertEqual(self.ends("any@example.org", "", catch_all=["example.org=x@example.com"]), ["x@example.com"])

    def test_postmaster_and_abuse(self) -> None:
        for name in ("postmaster", "Postmaster", "abuse"):
            for domain in ("example.org", "예시.한국"):
                self.assertEqual(self.resolve(f"{name}@{domain}"), ANN)
        self.assertEqual(self.ends("postmaster@example.org", "postmaster: bob@example.org"), ["bob@example.org"])
        self.assertEqual(
            self.resolve("abuse@example.org", postmaster="Bob@example.org"), LocalAccount("bob@example.org")
        )
        self.assertEqual(self.ends("postmaster@", "postmaster@example.org: bob"), ["bob@example.org"])
        self.assertEqual(self.resolve("abuse@"), NotLocal())

    def test_postmaster_where_there_is_nobody(self) -> None:
        self.listed = [accounts()]
        self.assertEqual(self.resolve("postmaster@example.org"), NoSuchRecipient())

    def test_no_domains(self) -> None:
        self.site = make_site(str(self.data), reactor=self.reactor)
        none = AccountsDirectory(
            type(self.site)("h", frozenset(), self.data, self.reactor), self.listed, lambda: self._none()
        )
        self.assertEqual(run_now(self, none.resolve(Address("postmaster", ""))), NotLocal())

    async def _none(self) -> dict[str, tuple[str, ...]]:
        return {}

    def test_file_is_read_again(self) -> None:
        made = directory(self.site, self.listed)
        for target in ("ann", "bob"):
            (self.data / "aliases").write_text(f"s: {target}")
            self.reactor.advance(1)
            answer = run_now(self, made.resolve(Address("s", "example.org")))
            self.assertEqual(answer, Expansion((Address(target, "example.org"),)))
        (self.data / "aliases").unlink()
        self.reactor.advance(1)
        self.assertEqual(run_now(self, made.resolve(Address("s", "example.org"))), NoSuchRecipient())


class AliasesTests(SynchronousTestCase):
    def test_lines(self) -> None:
        text = (
            "# comment\n\nSales@Example.ORG: ann@example.org,bob@example.org ,\n  carol@example.net,\n"
            "   # within\n\tdave\n@example.com:x@y.org\r\nhostmaster :ann"
        )
        self.assertEqual(
            read_aliases(text),
            {
                "sales@example.org": ("ann@example.org", "bob@example.org", "carol@example.net", "dave"),
                "@example.com": ("x@y.org",),
                "hostmaster": ("ann",),
            },
        )

    def test_lines_that_cannot_be_read(self) -> None:
        for line in (
            "ann",
            "ann:",
            ": bob",
            "@: bob",
            "a: b@",
            "a: @b",
            "a: |sh",
            "a: :include:/x",
            "a: b@c@d",
            'a: "b"',
        ):
            self.assertEqual(read_aliases(f"{line}\nok: ann"), {"ok": ("ann",)}, line)

    def test_catch_all(self) -> None:
        self.assertEqual(
            read_catch_all(["example.org=ann@example.org", "Example.org = bob@x.org", "carol@example.net"]),
            {"@example.org": ("ann@example.org", "bob@x.org"), "@example.net": ("carol@example.net",)},
        )
        for wrong in ("", "example.org", "example.org=", "=", "a b=c@d.org"):
            with self.assertRaises(ValueError):
                read_catch_all([wrong])

    @given(st.text(max_size=60) | st.text(alphabet="ab@:, \n\t#.", max_size=60))
    def test_reading_never_fails(self, text: str) -> None:
        for name, targets in read_aliases(text).items():
            self.assertTrue(name and targets)
