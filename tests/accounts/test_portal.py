import tempfile
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from twisted.cred.checkers import (
    AllowAnonymousAccess,
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import Anonymous, IUsernameHashedPassword, IUsernamePassword, UsernamePassword
from twisted.cred.error import LoginDenied, LoginFailed, UnauthorizedLogin, UnhandledCredentials
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailfw.accounts.passwords import PasswordFile
from mailfw.accounts.portal import CheckerChain, MemoryAccounts, OrderedAccounts, account_list, build_portal
from mailfw.accounts.realm import MailRealm
from mailfw.interfaces import IAccount, IAccountList
from mailfw.mail.failure import Overloaded
from mailfw.sasl.client import ScramClient
from mailfw.sasl.credentials import ClientCertificate, IClientCertificate, IScramProof
from mailfw.sasl.exchange import KeysWanted, Proof
from mailfw.sasl.keys import ScramKeys
from mailfw.sasl.scram import Scram
from mailfw.stores.memory.store import MemoryStore
from mailfw.testing.auth import ANN, ANNS_PASSWORD, BOB, BOBS_PASSWORD, CheckerContract
from mailfw.testing.dialogue import run_now
from tests.accounts.pretend import PretendReactor

#: Hashes that cost next to nothing.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def stock(**users: bytes) -> InMemoryUsernamePasswordDatabaseDontUse:
    made = InMemoryUsernamePasswordDatabaseDontUse()
    for name, password in users.items():
        made.addUser(name.encode(), password)
    return made


class StockCheckerInChain(CheckerContract, TestCase):
    """The stock ``memory:`` checker, with bare and full names, behind our chain."""

    def make_checker(self) -> CheckerChain:
        return CheckerChain([stock(**{"ann": ANNS_PASSWORD, BOB: BOBS_PASSWORD})], "example.org")


class StockFileInChain(CheckerContract, TestCase):
    """The stock ``file:`` checker behind our chain."""

    def make_checker(self) -> CheckerChain:
        path = Path(self.mktemp())
        path.write_bytes(b"ann|%b\n%b|%b\n" % (ANNS_PASSWORD, BOB.encode(), BOBS_PASSWORD))
        return CheckerChain([FilePasswordDB(str(path), delim=b"|")], "example.org")


@implementer(ICredentialsChecker)
class Answering:
    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, answer: bytes | tuple[()] | Exception) -> None:
        self._answer = answer
        self.asked: list[bytes] = []

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        self.asked.append(credentials.username)
        return fail(self._answer) if isinstance(self._answer, Exception) else succeed(self._answer)


class ChainTests(SynchronousTestCase):
    def ask(self, chain: CheckerChain, name: bytes, password: bytes = b"secret") -> Deferred[Any]:
        return chain.requestAvatarId(UsernamePassword(name, password))

    def test_names_of_a_stock_checker(self) -> None:
        chain = CheckerChain([stock(ann=b"secret", Bob=b"secret")], "example.org")
        for typed, name in [
            (b"ann", b"ann@example.org"),
            (b"ANN", b"ann@example.org"),
            (b"ann@example.org", b"ann@example.org"),
            (b"Ann@Example.org", b"ann@example.org"),
            (b"Bob", b"bob@example.org"),
        ]:
            self.assertEqual(self.successResultOf(self.ask(chain, typed)), name)

    def test_bare_name_is_nobody_of_another_domain(self) -> None:
        chain = CheckerChain([stock(ann=b"secret")], "example.org")
        self.failureResultOf(self.ask(chain, b"ann@example.com"), UnauthorizedLogin)

    def test_bare_name_without_default_domain(self) -> None:
        chain = CheckerChain([stock(ann=b"secret")], "")
        self.failureResultOf(self.ask(chain, b"ann"), UnauthorizedLogin)

    def test_credentials_are_not_changed(self) -> None:
        credentials = UsernamePassword(b"ann@example.org", b"secret")
        self.successResultOf(CheckerChain([stock(ann=b"secret")], "example.org").requestAvatarId(credentials))
        self.assertEqual(credentials.username, b"ann@example.org")

    def test_checkers_in_order(self) -> None:
        first, second = Answering(UnauthorizedLogin()), Answering(b"second@example.org")
        self.assertEqual(
            self.successResultOf(self.ask(CheckerChain([first, second, Answering(b"third@x.org")], ""), b"n@x.org")),
            b"second@example.org",
        )
        self.assertTrue(first.asked)

    def test_a_fault_does_not_hide_the_next(self) -> None:
        chain = CheckerChain([Answering(Overloaded()), Answering(b"ann@example.org")], "")
        self.assertEqual(self.successResultOf(self.ask(chain, b"ann")), b"ann@example.org")

    def test_a_fault_is_no_refusal(self) -> None:
        for checkers in ([Overloaded(), UnauthorizedLogin()], [UnauthorizedLogin(), Overloaded()]):
            chain = CheckerChain([Answering(answer) for answer in checkers], "")
            self.failureResultOf(self.ask(chain, b"ann"), Overloaded)

    def test_avatar_that_names_nobody(self) -> None:
        for avatar in ((), b"", b"\xff", b"a\nb", b"../x"):
            chain = CheckerChain([Answering(avatar)], "example.org")
            self.failureResultOf(self.ask(chain, b"ann"), UnauthorizedLogin)

    def test_interfaces_of_all(self) -> None:
        chain = CheckerChain([AllowAnonymousAccess(), stock()], "")
        self.assertEqual(len(set(chain.credentialInterfaces)), len(chain.credentialInterfaces))
        self.assertIn(IUsernamePassword, chain.credentialInterfaces)


def passwords(case: SynchronousTestCase, **users: str) -> PasswordFile:
    made = PasswordFile(Path(case.mktemp()) / "passwords", PretendReactor(), "example.org", CHEAP)
    for name, password in users.items():
        made.add(name, password)
    return made


class ScramChainTests(SynchronousTestCase):
    def keys(self, chain: CheckerChain, name: str) -> ScramKeys:
        keys: ScramKeys = run_now(self, chain.scram_keys(name.encode(), "SCRAM-SHA-256"))
        return keys

    def test_offered_where_all_can(self) -> None:
        mine = passwords(self)
        for checkers, scram, cram in (
            ([mine], True, False),
            ([mine, AllowAnonymousAccess()], True, False),
            ([mine, stock()], False, False),
            ([stock(), stock()], False, True),
        ):
            chain = CheckerChain(checkers, "")
            self.assertEqual(IScramProof in chain.credentialInterfaces, scram)
            self.assertEqual(IUsernameHashedPassword in chain.credentialInterfaces, cram)

    def test_keys_of_whoever_knows_the_name(self) -> None:
        first, second = passwords(self, ann="one"), passwords(self, bob="two")
        chain = CheckerChain([first, second], "example.org")
        for checker, name in ((first, "Ann@example.org"), (second, "bob")):
            direct = run_now(self, checker.scram_keys(name.encode(), "SCRAM-SHA-256"))
            self.assertEqual(self.keys(chain, name), direct)

    def test_a_stranger_cannot_tell_who_exists(self) -> None:
        async def secret() -> bytes:
            return b"secret"

        chain = CheckerChain([passwords(self, ann="one")], "example.org", secret)
        again = CheckerChain([passwords(self, ann="one")], "example.org", secret)
        real, nobody = self.keys(chain, "ann"), self.keys(chain, "nobody")
        self.assertEqual((len(nobody.salt), nobody.iterations), (len(real.salt), real.iterations))
        for spelling in ("nobody", "Nobody", "NOBODY@Example.org"):
            self.assertEqual(self.keys(chain, spelling).salt, nobody.salt)
            self.assertEqual(self.keys(again, spelling).salt, nobody.salt)
        self.assertEqual(self.keys(chain, "not a name").salt, self.keys(again, "NOT a name").salt)

    def test_proof(self) -> None:
        chain = CheckerChain([passwords(self, bob="x"), passwords(self, ann="secret")], "example.org")
        for name, password, avatar in (
            ("ann", "secret", b"ann@example.org"),
            ("ann", "Secret", None),
            ("nobody", "secret", None),
        ):
            client = ScramClient("SCRAM-SHA-256", name.encode(), password.encode(), b"n", b"")
            server = Scram("SCRAM-SHA-256", False, {})
            step = server.next(client.first())
            assert isinstance(step, KeysWanted)
            challenge = step.resume(self.keys(chain, name))
            judged = server.next(client.next(challenge.octets))
            assert isinstance(judged, Proof)
            asked = chain.requestAvatarId(judged.credentials)
            if avatar is None:
                self.failureResultOf(asked, UnauthorizedLogin)
            else:
                self.assertEqual(self.successResultOf(asked), avatar)

    def test_a_fault_is_no_stranger(self) -> None:
        broken = passwords(self, ann="secret")
        broken._path.unlink()
        broken._path.mkdir()
        broken._file.forget()
        chain = CheckerChain([broken, passwords(self, bob="x")], "example.org")
        self.failureResultOf(Deferred.fromCoroutine(chain.scram_keys(b"ann", "SCRAM-SHA-1")), OSError)
        self.assertTrue(self.keys(chain, "bob"))


class PortalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()
        self.portal: Portal = build_portal(MailRealm(self.store), [stock(ann=b"secret")], "example.org")

    def test_certificates_open_what_is_listed(self) -> None:
        listed = [MemoryAccounts(stock(ann=b""), "example.org")]
        self.assertNotIn(IClientCertificate, self.portal.listCredentialsInterfaces())
        portal = build_portal(MailRealm(self.store), [stock()], "example.org", listed)
        answer: Any = self.successResultOf(portal.login(ClientCertificate(b"", ("ann",)), None, IAccount))
        self.assertEqual(answer[1].name, "ann@example.org")
        self.failureResultOf(portal.login(ClientCertificate(b"", ("bob",)), None, IAccount), UnauthorizedLogin)

    def test_login(self) -> None:
        login = self.portal.login(UsernamePassword(b"ann", b"secret"), None, IAccount)
        answer: Any = self.successResultOf(login)
        interface, account, log_out = answer
        self.assertIs(interface, IAccount)
        self.assertTrue(verifyObject(IAccount, account))
        self.assertEqual((account.name, account.store), ("ann@example.org", self.store))
        self.assertTrue(run_now(self, self.store.mailboxes("ann@example.org")))
        log_out()

    def test_refusals(self) -> None:
        self.failureResultOf(self.portal.login(UsernamePassword(b"ann", b"x"), None, IAccount), UnauthorizedLogin)
        self.failureResultOf(self.portal.login(Anonymous(), None, IAccount), UnhandledCredentials)

    def test_realm(self) -> None:
        realm = MailRealm(self.store)
        self.assertTrue(verifyObject(IRealm, realm))
        for avatar in ((), b"", b"ann", b"\xff@example.org"):
            self.failureResultOf(realm.requestAvatar(avatar, None, IAccount), LoginFailed)
        self.failureResultOf(realm.requestAvatar(b"ann@example.org", None, IAccountList), LoginDenied)


class AccountListTests(SynchronousTestCase):
    def check(self, checker: Any) -> None:
        listed = account_list(checker, PretendReactor(), "example.org")
        assert listed is not None
        self.assertTrue(verifyObject(IAccountList, listed))
        for name, there in [(ANN, True), ("bob@example.com", True), ("ann", False), ("bob@example.org", False)]:
            self.assertIs(run_now(self, listed.has_account(name)), there, name)
        assert isinstance(listed, OrderedAccounts)
        self.assertEqual(run_now(self, listed.first_account()), ANN)

    def test_memory(self) -> None:
        self.check(stock(**{"Ann": b"x", "bob@example.com": b"y", "no name": b"z"}))

    def test_file(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"Ann:x\r\nbob@example.com:y\n\nno field\n:\n")
            file.flush()
            self.check(FilePasswordDB(file.name))

    def test_checkers_that_cannot_tell(self) -> None:
        self.assertIsNone(account_list(AllowAnonymousAccess(), PretendReactor(), "example.org"))

    def test_a_list_is_its_own(self) -> None:
        listed = account_list(stock(), PretendReactor(), "")
        self.assertIs(account_list(listed, PretendReactor(), ""), listed)
