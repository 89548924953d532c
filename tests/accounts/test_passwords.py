import os
import stat
from pathlib import Path
from typing import Any
from unittest import mock

from argon2 import PasswordHasher
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.accounts import hashing, passwords
from mailfw.accounts.names import NotAName
from mailfw.accounts.passwords import (
    AccountExists,
    AccountUnknown,
    PasswordFile,
    PasswordRefused,
    password_file,
)
from mailfw.accounts.records import read_records
from mailfw.accounts.remembered import RememberedLogins
from mailfw.mail.failure import Overloaded
from mailfw.sasl.credentials import UsernamePassword
from mailfw.site import Site
from mailfw.testing.auth import ANN, ANNS_PASSWORD, BOB, BOBS_PASSWORD, CheckerContract
from tests.accounts.pretend import PretendReactor

#: Hashes that cost next to nothing.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def make_site(data: str, *domains: str, reactor: Any = None) -> Site:
    return Site("mail.example.org", frozenset(domains or ("example.org",)), Path(data), reactor)


class PasswordFileContract(CheckerContract, TestCase):
    def make_checker(self) -> PasswordFile:
        from twisted.internet import reactor

        made = PasswordFile(Path(self.mktemp()) / "passwords", reactor, "example.org", CHEAP)
        made.add(ANN, ANNS_PASSWORD.decode())
        made.add(BOB, BOBS_PASSWORD.decode())
        return made


class BuiltInParameters(CheckerContract, TestCase):
    """The same with what a hash costs in earnest."""

    def make_checker(self) -> PasswordFile:
        from twisted.internet import reactor

        made = password_file(make_site(self.mktemp(), reactor=reactor))
        made.add(ANN, ANNS_PASSWORD.decode())
        made.add(BOB, BOBS_PASSWORD.decode())
        return made


class PasswordCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = PretendReactor()
        self.path = Path(self.mktemp()) / "passwords"
        self.checker = self.make()
        self.checker.add("ann", "secret")
        self.hashes = 0
        counted = mock.patch.object(passwords, "matches", self._matches)
        counted.start()
        self.addCleanup(counted.stop)

    def make(self, hasher: PasswordHasher = CHEAP) -> PasswordFile:
        return PasswordFile(self.path, self.reactor, "example.org", hasher)

    def _matches(self, *arguments: Any) -> bool:
        self.hashes += 1
        return hashing.matches(*arguments)

    def ask(self, name: str, password: str, checker: PasswordFile | None = None) -> Deferred[Any]:
        return (checker or self.checker).requestAvatarId(UsernamePassword(name.encode(), password.encode()))

    def assert_in(self, name: str, password: str, checker: PasswordFile | None = None) -> None:
        self.assertEqual(self.successResultOf(self.ask(name, password, checker)), b"ann@example.org")

    def assert_out(self, name: str, password: str, checker: PasswordFile | None = None) -> None:
        self.failureResultOf(self.ask(name, password, checker), UnauthorizedLogin)


class LoginTests(PasswordCase):
    def test_spellings_of_a_name(self) -> None:
        for name in ("ann", "Ann", "ann@example.org", "ANN@EXAMPLE.ORG"):
            self.assert_in(name, "secret")
        self.assert_out("ann@example.com", "secret")

    def test_unknown_user_costs_what_a_wrong_password_costs(self) -> None:
        self.assert_out("ann", "wrong")
        self.assertEqual(self.hashes, 1)
        for unknown in ("bob", "", "a\nb", "@", "ann@example.com"):
            self.hashes = 0
            self.assert_out(unknown, "wrong")
            self.assertEqual(self.hashes, 1, unknown)

    def test_dummy_costs_what_a_hash_costs(self) -> None:
        from argon2 import extract_parameters

        real = hashing.make_hasher()
        self.assertEqual(extract_parameters(hashing.dummy_hash(real)), extract_parameters(real.hash("x")))
        with mock.patch.object(passwords, "matches") as matches:
            matches.return_value = False
            self.assert_out("bob", "secret")
        self.assertEqual(extract_parameters(matches.call_args[0][1]), extract_parameters(CHEAP.hash("x")))

    def test_unknown_user_stays_out_even_if_the_hash_would_match(self) -> None:
        with mock.patch.object(passwords, "matches", lambda *_: True):
            self.assert_out("bob", "secret")

    def test_same_refusal(self) -> None:
        refusals = [
            self.failureResultOf(self.ask(name, "wrong"), UnauthorizedLogin).value.args for name in ("ann", "bob")
        ]
        self.assertEqual(refusals[0], refusals[1])

    def test_unreadable_file_is_a_fault(self) -> None:
        self.path.unlink()
        self.path.mkdir()
        self.reactor.advance(2)
        self.failureResultOf(self.ask("ann", "secret"), OSError)

    def test_missing_file_has_nobody(self) -> None:
        self.path.unlink()
        self.reactor.advance(2)
        self.assert_out("ann", "secret")

    def test_hash_that_is_none(self) -> None:
        self.path.write_text("ann@example.org $argon2id$nonsense\n")
        self.reactor.advance(2)
        self.assert_out("ann", "secret")


class RememberedTests(PasswordCase):
    def test_second_login_costs_nothing(self) -> None:
        for _ in range(5):
            self.assert_in("ann", "secret")
        self.assertEqual(self.hashes, 1)

    def test_wrong_password_is_tried_each_time(self) -> None:
        self.assert_in("ann", "secret")
        self.assert_out("ann", "wrong")
        self.assert_out("ann", "wrong")
        self.assertEqual(self.hashes, 3)

    def test_forgotten_after_ten_minutes(self) -> None:
        self.assert_in("ann", "secret")
        self.reactor.advance(599)
        self.assert_in("ann", "secret")
        self.assertEqual(self.hashes, 1)
        self.reactor.advance(1)
        self.assert_in("ann", "secret")
        self.assertEqual(self.hashes, 2)

    def test_changed_password_is_forgotten_at_once(self) -> None:
        self.assert_in("ann", "secret")
        self.checker.set_password("ann", "other")
        self.assert_out("ann", "secret")
        self.assert_in("ann", "other")

    def test_removed_account_is_forgotten_at_once(self) -> None:
        self.assert_in("ann", "secret")
        self.checker.remove("ann")
        self.assert_out("ann", "secret")

    def test_waiting_for_one_hash_is_enough(self) -> None:
        self.assert_out("bob", "x")  # the file has been read
        self.hashes = 0
        self.reactor.threads.held = []
        asked = [self.ask("ann", "secret") for _ in range(20)]
        self.reactor.threads.let_go()
        self.assertEqual([self.successResultOf(answer) for answer in asked], [b"ann@example.org"] * 20)
        self.assertEqual(self.hashes, hashing.AT_ONCE)

    def test_memory_is_bounded(self) -> None:
        remembered = RememberedLogins(seconds=60, most=3)
        for number in range(10):
            remembered.add(float(number), "ann@example.org", b"%d" % number, "hash")
        self.assertEqual(len(remembered), 3)
        self.assertFalse(remembered.holds(9.0, "ann@example.org", b"6", "hash"))
        self.assertTrue(remembered.holds(9.0, "ann@example.org", b"7", "hash"))
        remembered.add(100.0, "ann@example.org", b"x", "hash")
        self.assertEqual(len(remembered), 1)

    def test_pieces_do_not_run_together(self) -> None:
        remembered = RememberedLogins()
        remembered.add(0.0, "ann@example.org", b"ab", "hash")
        self.assertFalse(remembered.holds(0.0, "ann@example.or", b"gab", "hash"))
        self.assertFalse(remembered.holds(0.0, "ann@example.org", b"b", "hasha"))


class QueueTests(PasswordCase):
    def test_too_many_waiting(self) -> None:
        self.assert_out("bob", "x")
        most = hashing.AT_ONCE + hashing.MOST_WAITING
        self.reactor.threads.held = []
        asked = [self.ask("ann", "wrong") for _ in range(most)]
        self.assertEqual(len(self.reactor.threads.held), hashing.AT_ONCE)
        self.failureResultOf(self.ask("ann", "wrong"), Overloaded)
        self.reactor.threads.let_go()
        for answer in asked:
            self.failureResultOf(answer, UnauthorizedLogin)
        self.assert_in("ann", "secret")


class RenewalTests(PasswordCase):
    def test_hash_is_renewed_when_the_parameters_change(self) -> None:
        before = self.path.read_text()
        dearer = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)
        newer = self.make(dearer)
        self.assert_out("ann", "wrong", newer)
        self.assertEqual(self.path.read_text(), before)
        self.assert_in("ann", "secret", newer)
        self.assertIn("t=2", self.path.read_text())
        self.assert_in("ann", "secret", newer)
        self.assertEqual(newer.names(), ["ann@example.org"])

    def test_login_succeeds_where_it_cannot_be_renewed(self) -> None:
        newer = self.make(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
        with mock.patch.object(passwords, "rewrite", side_effect=PermissionError):
            self.assert_in("ann", "secret", newer)
        self.assertEqual(len(self.flushLoggedErrors(PermissionError)), 1)


class EditingTests(PasswordCase):
    def test_file_is_for_its_owner(self) -> None:
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.path.chmod(0o644)
        self.checker.set_password("ann", "x")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_password_is_not_in_the_file(self) -> None:
        self.checker.add("bob", "a very secret word")
        self.assertNotIn("secret word", self.path.read_text())

    def test_scram_keys_are_stored(self) -> None:
        record = read_records(self.path.read_text())["ann@example.org"]
        self.assertEqual(set(record.scram), {"SCRAM-SHA-256", "SCRAM-SHA-1"})
        self.assertTrue(all(keys.iterations >= 4096 for keys in record.scram.values()))

    def test_records_do_not_show(self) -> None:
        record = read_records(self.path.read_text())["ann@example.org"]
        self.assertNotIn("argon2", repr(record))

    def test_odd_passwords(self) -> None:
        for password in (
            "a:b",
            "a b c",
            "line\nbreak",
            "\r\n",
            "#x",
            "$argon2id$",
            "비밀 번호",
            "é",
            "x" * 1024,
            "Ａ" * 1024,
        ):
            self.checker.set_password("ann", password)
            self.assert_in("ann", password)
            self.assertEqual(self.checker.names(), ["ann@example.org"])

    def test_refused_passwords(self) -> None:
        for password in ("", "\u00ad", "a\0b", "x" * 1025):
            with self.assertRaises(PasswordRefused):
                self.checker.set_password("ann", password)
        self.assert_in("ann", "secret")

    def test_refused_names(self) -> None:
        before = self.path.read_text()
        for name in ("", "a\nb", "a\rb", "a\0b", "a b", "../x", "#x y"):
            with self.assertRaises(NotAName):
                self.checker.add(name, "secret")
        self.assertEqual(self.path.read_text(), before)

    def test_add_set_remove(self) -> None:
        self.assertEqual(self.checker.add("Bob@Example.COM", "x"), "bob@example.com")
        self.assertEqual(self.checker.names(), ["ann@example.org", "bob@example.com"])
        with self.assertRaises(AccountExists):
            self.checker.add("bob@example.com", "y")
        self.checker.set_password("ann", "z")
        self.assertEqual(self.checker.names(), ["ann@example.org", "bob@example.com"])
        self.checker.remove("ann")
        self.assertEqual(self.checker.names(), ["bob@example.com"])
        for refused in (lambda: self.checker.remove("ann"), lambda: self.checker.set_password("ann", "x")):
            with self.assertRaises(AccountUnknown):
                refused()

    def test_other_lines_stay(self) -> None:
        text = "# ours\n\nbroken line\n" + self.path.read_text().splitlines()[-1] + "\n\udcff rest"
        self.path.write_text(text, errors="surrogateescape")
        self.checker.add("bob", "x")
        self.assertTrue(self.path.read_text(errors="surrogateescape").startswith(text + "\n"))
        self.assertEqual(self.checker.names(), ["ann@example.org", "bob@example.org"])

    def test_a_crash_while_writing_loses_nothing(self) -> None:
        before = self.path.read_bytes()
        for call in ("fsync", "fchmod"):
            with mock.patch.object(os, call, side_effect=OSError("no")), self.assertRaises(OSError):
                self.checker.add("bob", "x")
            self.assertEqual(self.path.read_bytes(), before)
        self.checker.add("bob", "x")
        self.assertEqual(len(self.checker.names()), 2)

    def test_needs_no_reactor(self) -> None:
        console = password_file(make_site(str(self.path.parent)))
        console.add("carol", "x")
        self.assertEqual(console.names(), ["ann@example.org", "carol@example.org"])
        console.remove("carol")


class SharingTests(PasswordCase):
    def test_two_share_a_file(self) -> None:
        server, console = self.checker, self.make()
        self.assert_in("ann", "secret", server)
        console.set_password("ann", "other")
        self.reactor.advance(1)
        self.assert_out("ann", "secret", server)
        self.assert_in("ann", "other", server)
        console.remove("ann")
        self.reactor.advance(1)
        self.assert_out("ann", "other", server)

    def test_a_look_is_good_for_a_second(self) -> None:
        self.assert_in("ann", "secret")
        looks = self.reactor.threads.done
        self.assert_in("ann", "secret")
        self.assertEqual(self.reactor.threads.done, looks)
        self.reactor.advance(1)
        self.assert_in("ann", "secret")
        self.assertEqual(self.reactor.threads.done, looks + 1)

    def test_both_edits_survive(self) -> None:
        first, second = self.make(), self.make()
        first.add("bob", "x")
        second.add("carol", "x")
        first.add("dave", "x")
        self.assertEqual(second.names(), [f"{name}@example.org" for name in ("ann", "bob", "carol", "dave")])


class ThreadedSharingTests(TestCase):
    async def test_editing_at_once(self) -> None:
        """Each of several writers works on what the one before it left."""
        from twisted.internet import reactor

        path = Path(self.mktemp()) / "passwords"
        files = [PasswordFile(path, reactor, "example.org", CHEAP) for _ in range(4)]
        await gatherResults([deferToThread(files[n % 4].add, f"user{n}", "x") for n in range(16)])
        self.assertEqual(sorted(files[0].names()), sorted(f"user{n}@example.org" for n in range(16)))
