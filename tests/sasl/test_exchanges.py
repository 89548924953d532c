"""Each mechanism, step by step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.credentials import IUsernamePassword
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailfw.sasl import CREDENTIALS, MECHANISMS, Challenge, Malformed, Mechanism, Proof
from mailfw.sasl.exchange import UsernamePassword


class ExchangeCase(SynchronousTestCase):
    def prove(self, exchange: Mechanism, *responses: bytes | None) -> tuple[bytes, bytes]:
        """Give responses until there is a proof; return the name and the password in it."""
        for response in responses[:-1]:
            self.assertIsInstance(exchange.next(response), Challenge)
        proof = exchange.next(responses[-1])
        assert isinstance(proof, Proof)
        return proof.credentials.username, proof.credentials.password


class PlainTests(ExchangeCase):
    def test_with_and_without_an_initial_response(self) -> None:
        for first in ([], [None]):
            exchange = MECHANISMS["PLAIN"]()
            self.assertEqual(self.prove(exchange, *first, b"\0ann\0secret"), (b"ann", b"secret"))
        self.assertEqual(MECHANISMS["PLAIN"]().next(None), Challenge(b""))

    def test_acting_for_oneself(self) -> None:
        for authorise in (b"", b"ann@x", b"ANN@x"):
            self.assertEqual(
                self.prove(MECHANISMS["PLAIN"](), authorise + b"\0ann@x\0\xc3\xbc"), (b"ann@x", b"\xc3\xbc")
            )

    def test_malformed(self) -> None:
        for response in (
            b"",
            b"\0",
            b"\0\0",
            b"ann",
            b"ann\0secret",
            b"\0ann\0",
            b"\0\0secret",
            b"\0ann\0sec\0ret",
            b"bob\0ann\0secret",
            b"\0\xff\0secret",
            b"\0ann\0\xff",
        ):
            self.assertRaises(Malformed, MECHANISMS["PLAIN"]().next, response)


class LoginTests(ExchangeCase):
    def test_steps(self) -> None:
        exchange = MECHANISMS["LOGIN"]()
        self.assertEqual(exchange.next(None), Challenge(b"Username:"))
        self.assertEqual(exchange.next(b"ann"), Challenge(b"Password:"))
        self.assertEqual(self.prove(exchange, b"secret"), (b"ann", b"secret"))

    def test_name_at_once(self) -> None:
        self.assertEqual(self.prove(MECHANISMS["LOGIN"](), b"ann", b"secret"), (b"ann", b"secret"))

    def test_malformed(self) -> None:
        for response in (b"", b"a\0b", b"\xff"):
            self.assertRaises(Malformed, MECHANISMS["LOGIN"]().next, response)
            exchange = MECHANISMS["LOGIN"]()
            exchange.next(b"ann")
            self.assertRaises(Malformed, exchange.next, response)


class MechanismTests(SynchronousTestCase):
    def test_each_has_credentials(self) -> None:
        self.assertEqual(set(MECHANISMS), set(CREDENTIALS))

    @given(st.sampled_from(sorted(MECHANISMS)), st.lists(st.binary(max_size=30) | st.none(), max_size=4))
    def test_nothing_but_the_declared_refusal(self, name: str, responses: list[bytes | None]) -> None:
        exchange = MECHANISMS[name]()
        for response in responses:
            try:
                step = exchange.next(response)
            except Malformed:
                return
            if isinstance(step, Proof):
                return


class CredentialsTests(SynchronousTestCase):
    def test_interface(self) -> None:
        verifyObject(IUsernamePassword, UsernamePassword(b"ann", b"secret"))

    def test_password(self) -> None:
        credentials = UsernamePassword(b"ann", b"secret")
        self.assertTrue(credentials.checkPassword(b"secret"))
        self.assertFalse(credentials.checkPassword(b"Secret"))

    def test_a_password_never_shows(self) -> None:
        self.assertNotIn("secret", repr(Proof(UsernamePassword(b"ann", b"secret"))))
