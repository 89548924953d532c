import tempfile
from pathlib import Path
from typing import Any

from twisted.cred.checkers import (
    AllowAnonymousAccess,
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import Anonymous, IUsernamePassword, UsernamePassword
from twisted.cred.error import LoginDenied, LoginFailed, UnauthorizedLogin, UnhandledCredentials
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailfw.accounts.portal import CheckerChain, OrderedAccounts, account_list, build_portal
from mailfw.accounts.realm import MailRealm
from mailfw.interfaces import IAccount, IAccountList
from mailfw.mail.failure import Overloaded
from mailfw.stores.memory.store import MemoryStore
from mailfw.testing.auth import ANN, ANNS_PASSWORD, BOB, BOBS_PASSWORD, CheckerContract
from mailfw.testing.dialogue import run_now
from tests.accounts.pretend import PretendReactor


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


class PortalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()
        self.portal: Portal = build_portal(MailRealm(self.store), [stock(ann=b"secret")], "example.org")

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
