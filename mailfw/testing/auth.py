"""The contract of a checker of passwords for `twisted.cred`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import gatherResults, maybeDeferred
from zope.interface.verify import verifyObject

from mailfw.interfaces import IAccountList
from mailfw.sasl.client import client_exchange
from mailfw.sasl.credentials import IScramKeyring, IScramProof, UsernamePassword
from mailfw.sasl.exchange import KeysWanted, Proof
from mailfw.sasl.keys import HASHES
from mailfw.sasl.scram import Scram

if TYPE_CHECKING:  # the contract is mixed into a TestCase, and mypy has to know its assertions
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object

ANN = "ann@example.org"
BOB = "bob@example.org"
ANNS_PASSWORD = b"correct horse: battery, staple"
BOBS_PASSWORD = "비밀번호 열쇠".encode()


class CheckerContract(Case):
    """
    What a checker of names and passwords promises; mix it into a `twisted.trial.unittest.TestCase`.

    Give it ``make_checker(self)``, which returns a checker that knows `ANN` with `ANNS_PASSWORD` and `BOB` with
    `BOBS_PASSWORD`, and nobody else.
    """

    if TYPE_CHECKING:

        def make_checker(self) -> Any:
            """Return the checker that is tried."""

    async def _login(self, checker: Any, name: bytes, password: bytes) -> Any:
        return await maybeDeferred(checker.requestAvatarId, UsernamePassword(name, password))

    async def _assert_refused(self, checker: Any, name: bytes, password: bytes) -> None:
        try:
            avatar = await self._login(checker, name, password)
        except UnauthorizedLogin:
            return
        self.fail(f"{name!r} came in as {avatar!r}")

    def test_provides_the_interface(self) -> None:
        """It is a checker, and says that it checks names and passwords."""
        checker = self.make_checker()
        self.assertTrue(verifyObject(ICredentialsChecker, checker))
        self.assertIn(IUsernamePassword, checker.credentialInterfaces)

    async def test_right_passwords(self) -> None:
        """The avatar id is the account's name as UTF-8, again and again."""
        checker = self.make_checker()
        for _ in range(3):
            self.assertEqual(await self._login(checker, ANN.encode(), ANNS_PASSWORD), ANN.encode())
            self.assertEqual(await self._login(checker, BOB.encode(), BOBS_PASSWORD), BOB.encode())

    async def test_wrong_passwords(self) -> None:
        """A password that differs in anything is wrong, also after the right one."""
        checker = self.make_checker()
        await self._login(checker, ANN.encode(), ANNS_PASSWORD)
        for wrong in (
            BOBS_PASSWORD,
            b"",
            ANNS_PASSWORD[:-1],
            ANNS_PASSWORD + b" ",
            ANNS_PASSWORD + b"\n",
            ANNS_PASSWORD.upper(),
            b"\xff\xfe",
            b"x" * 100_000,
        ):
            await self._assert_refused(checker, ANN.encode(), wrong)

    async def test_unknown_names(self) -> None:
        """Nobody else is known, and no name is a fault."""
        checker = self.make_checker()
        for name in (
            b"carol@example.org",
            b"ann@example.com",
            b"ann@example.org\n",
            b"ann@example.org\0",
            b"ann@example.org:",
            b"#",
            b"",
            b"@",
            b"../ann@example.org",
            b"\xff@example.org",
            b"a" * 100_000,
        ):
            await self._assert_refused(checker, name, ANNS_PASSWORD)

    async def test_many_at_once(self) -> None:
        """Answers belong to their questions however many are asked together."""
        checker = self.make_checker()
        asked = [(ANN, ANNS_PASSWORD, True), (ANN, BOBS_PASSWORD, False), (BOB, BOBS_PASSWORD, True)] * 5
        answers = await gatherResults(
            [
                maybeDeferred(checker.requestAvatarId, UsernamePassword(name.encode(), password)).addErrback(
                    lambda failure: failure.trap(UnauthorizedLogin) and None
                )
                for name, password, _ in asked
            ]
        )
        self.assertEqual(answers, [name.encode() if right else None for name, _, right in asked])

    async def _hold_scram(self, checker: Any, name: bytes, password: bytes, mechanism: str) -> Any:
        """Hold a SCRAM exchange with the checker's keys; return the avatar id, None where it has no keys."""
        client = client_exchange([mechanism], name.decode(), password.decode(), True)
        assert client is not None
        server = Scram(mechanism, False, {})
        step = server.next(client.first())
        assert isinstance(step, KeysWanted)
        keys = await checker.scram_keys(step.username, mechanism)
        if keys is None:
            return None
        proof = server.next(client.next(step.resume(keys).octets))
        assert isinstance(proof, Proof)
        avatar = await maybeDeferred(checker.requestAvatarId, proof.credentials)
        client.next(proof.confirmation or b"")
        return avatar

    async def test_scram(self) -> None:
        """A checker that takes SCRAM has the keys that go with its passwords, and nobody's for a stranger."""
        checker = self.make_checker()
        if IScramProof not in checker.credentialInterfaces:
            return
        self.assertTrue(verifyObject(IScramKeyring, checker))
        for mechanism in HASHES:
            for name, password in ((ANN, ANNS_PASSWORD), (BOB, BOBS_PASSWORD)):
                avatar = await self._hold_scram(checker, name.encode(), password, mechanism)
                self.assertEqual(avatar, name.encode())
            try:
                avatar = await self._hold_scram(checker, ANN.encode(), BOBS_PASSWORD, mechanism)
            except UnauthorizedLogin:
                pass
            else:
                self.fail(f"A wrong proof came in as {avatar!r}")
            for nobody in (b"carol@example.org", b"", b"\xff", b"a" * 100_000):
                self.assertIsNone(await checker.scram_keys(nobody, mechanism))

    async def test_passwords_do_not_show(self) -> None:
        """Neither the checker nor its refusal shows a password."""
        checker = self.make_checker()
        self.assertNotIn("battery", repr(checker))
        try:
            await self._login(checker, BOB.encode(), ANNS_PASSWORD)
        except UnauthorizedLogin as refusal:
            self.assertNotIn("battery", repr(refusal))

    async def test_lists_its_accounts(self) -> None:
        """A checker that is a list of accounts has those who can log in, and no others."""
        checker = self.make_checker()
        if not IAccountList.providedBy(checker):
            return
        self.assertTrue(verifyObject(IAccountList, checker))
        self.assertTrue(await checker.has_account(ANN))
        self.assertTrue(await checker.has_account(BOB))
        for nobody in ("carol@example.org", "ann", "", "ann@example.com", "ann@example.org\n"):
            self.assertFalse(await checker.has_account(nobody))
