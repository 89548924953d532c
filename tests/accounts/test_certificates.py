from twisted.cred.error import UnauthorizedLogin
from twisted.trial.unittest import SynchronousTestCase

from mailfw.accounts.certificates import CertificateNames
from mailfw.accounts.portal import MemoryAccounts
from mailfw.sasl.credentials import ClientCertificate
from tests.accounts.test_portal import stock


class CertificateTests(SynchronousTestCase):
    def setUp(self) -> None:
        listed = [MemoryAccounts(stock(ann=b"x"), "example.org"), MemoryAccounts(stock(bob=b"x"), "example.org")]
        self.checker = CertificateNames(listed, "example.org")

    def owner(self, *names: str, wants: str = "") -> bytes | None:
        asked = self.checker.requestAvatarId(ClientCertificate(wants.encode(), names))
        refused: list[object] = []
        answers: list[bytes | tuple[()]] = []
        asked.addCallbacks(answers.append, lambda failure: refused.append(failure.trap(UnauthorizedLogin)))
        return bytes(answers[0]) if answers else None

    def test_first_name_that_is_an_account(self) -> None:
        self.assertEqual(self.owner("Ann@Example.org"), b"ann@example.org")
        self.assertEqual(self.owner("carol@example.org", "bob@example.org", "ann@example.org"), b"bob@example.org")
        self.assertEqual(self.owner("bob"), b"bob@example.org")

    def test_nobody(self) -> None:
        for names in ((), ("",), ("carol@example.org",), ("ann@example.com",), ("a b",), ("../ann",)):
            self.assertIs(self.owner(*names), None)

    def test_the_name_asked_for(self) -> None:
        both = ("ann@example.org", "bob@example.org")
        self.assertEqual(self.owner(*both, wants="Bob"), b"bob@example.org")
        for wants in ("carol@example.org", "a b", "\N{SNOWMAN}@", "ann@example.com"):
            self.assertIs(self.owner(*both, wants=wants), None)
        self.assertIs(self.owner("ann@example.org", wants="bob@example.org"), None)
