"""Each mechanism, step by step."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailfw.configuration import keys
from mailfw.sasl.bearer import OAuthBearer
from mailfw.sasl.channel import Channel
from mailfw.sasl.cram_md5 import CramMD5
from mailfw.sasl.credentials import (
    BearerToken,
    ClientCertificate,
    CramDigest,
    IBearerToken,
    IClientCertificate,
    IScramProof,
    ScramProof,
    UsernamePassword,
    account_of,
)
from mailfw.sasl.exchange import Challenge, KeysWanted, Malformed, Mechanism, Proof, Refused
from mailfw.sasl.external import External
from mailfw.sasl.keys import make_keys
from mailfw.sasl.login import Login
from mailfw.sasl.mechanisms import MECHANISMS, USUAL, offered
from mailfw.sasl.plain import Plain
from mailfw.sasl.xoauth2 import XOAuth2

ACCEPTED = [kind.credentials for kind in MECHANISMS.values()]


class ExchangeCase(SynchronousTestCase):
    def prove(self, exchange: Mechanism, *responses: bytes | None) -> Any:
        """Give responses until there is a proof, and return its credentials."""
        for response in responses[:-1]:
            self.assertIsInstance(exchange.next(response), Challenge)
        proof = exchange.next(responses[-1])
        assert isinstance(proof, Proof)
        return proof.credentials

    def password(self, exchange: Mechanism, *responses: bytes | None) -> tuple[bytes, bytes]:
        credentials = self.prove(exchange, *responses)
        return credentials.username, credentials.password


class PlainTests(ExchangeCase):
    def test_with_and_without_an_initial_response(self) -> None:
        for first in ([], [None]):
            self.assertEqual(self.password(Plain(), *first, b"\0ann\0secret"), (b"ann", b"secret"))
        self.assertEqual(Plain().next(None), Challenge(b""))

    def test_acting_for_oneself(self) -> None:
        for authorise in (b"", b"ann@x", b"ANN@x"):
            self.assertEqual(self.password(Plain(), authorise + b"\0ann@x\0\xc3\xbc"), (b"ann@x", b"\xc3\xbc"))

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
            self.assertRaises(Malformed, Plain().next, response)


class LoginTests(ExchangeCase):
    def test_steps(self) -> None:
        exchange = Login()
        self.assertEqual(exchange.next(None), Challenge(b"Username:"))
        self.assertEqual(exchange.next(b"ann"), Challenge(b"Password:"))
        self.assertEqual(self.password(exchange, b"secret"), (b"ann", b"secret"))

    def test_name_at_once(self) -> None:
        self.assertEqual(self.password(Login(), b"ann", b"secret"), (b"ann", b"secret"))

    def test_malformed(self) -> None:
        for response in (b"", b"a\0b", b"\xff"):
            self.assertRaises(Malformed, Login().next, response)
            exchange = Login()
            exchange.next(b"ann")
            self.assertRaises(Malformed, exchange.next, response)


class CramMD5Tests(ExchangeCase):
    def test_example_of_rfc_2195(self) -> None:
        exchange = CramMD5(b"<1896.697170952@postoffice.reston.mci.net>")
        self.assertEqual(exchange.next(None), Challenge(b"<1896.697170952@postoffice.reston.mci.net>"))
        credentials = self.prove(exchange, b"tim b913a602c7eda7a495b4e6e7334d3890")
        self.assertEqual(credentials.username, b"tim")
        self.assertTrue(credentials.checkPassword(b"tanstaaftanstaaf"))
        self.assertFalse(credentials.checkPassword(b"tanstaaftanstaag"))

    def test_challenges_differ(self) -> None:
        self.assertNotEqual(CramMD5().next(None), CramMD5().next(None))

    def test_names_may_have_spaces_and_digits_any_case(self) -> None:
        exchange = CramMD5(b"<1@x>")
        exchange.next(None)
        digest = hmac.new(b"secret", b"<1@x>", hashlib.md5).hexdigest().upper().encode()
        credentials = self.prove(exchange, b"ann b " + digest)
        self.assertEqual(credentials.username, b"ann b")
        self.assertTrue(credentials.checkPassword(b"secret"))

    def test_malformed(self) -> None:
        for response in (b"", b"ann", b"ann x", b" " + b"0" * 32, b"ann " + b"0" * 31, b"\xff " + b"0" * 32):
            exchange = CramMD5()
            exchange.next(None)
            self.assertRaises(Malformed, exchange.next, response)

    def test_the_server_speaks_first(self) -> None:
        self.assertRaises(Malformed, CramMD5().next, b"ann " + b"0" * 32)


class OAuthBearerTests(ExchangeCase):
    def test_example_of_rfc_7628(self) -> None:
        """Section 4.1."""
        response = (
            b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3Rlck"
            b"BhbHRhdmlzdGEuY29tCg==\x01\x01"
        )
        credentials = self.prove(OAuthBearer(), None, response)
        self.assertEqual(credentials.username, b"user@example.com")
        self.assertEqual(credentials.token, "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")

    def test_without_a_name(self) -> None:
        self.assertEqual(self.prove(OAuthBearer(), b"n,,\x01auth=bearer t\x01\x01").username, b"")

    def test_a_refusal_is_json(self) -> None:
        proof = OAuthBearer().next(b"n,,\x01auth=Bearer t\x01\x01")
        assert isinstance(proof, Proof) and proof.refusal is not None
        self.assertEqual(json.loads(proof.refusal)["status"], "invalid_token")

    def test_malformed(self) -> None:
        for response in (
            b"",
            b"\x01",
            b"n,,\x01\x01",
            b"n,,\x01auth=Bearer t\x01",
            b"n,,\x01auth=Basic t\x01\x01",
            b"n,,\x01auth=Bearer \x01\x01",
            b"n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01",
            b"n,,\x01auth=Bearer t\nu\x01\x01",
            b"n,a==,\x01auth=Bearer t\x01\x01",
            b"p=tls-unique,,\x01auth=Bearer t\x01\x01",
            b"n,x,\x01auth=Bearer t\x01\x01",
        ):
            self.assertRaises(Malformed, OAuthBearer().next, response)


class XOAuth2Tests(ExchangeCase):
    def test_token(self) -> None:
        credentials = self.prove(XOAuth2(), None, b"user=ann@example.org\x01auth=Bearer ya29.x-_~+/=\x01\x01")
        self.assertEqual((credentials.username, credentials.token), (b"ann@example.org", "ya29.x-_~+/="))

    def test_malformed(self) -> None:
        for response in (b"", b"user=ann", b"auth=Bearer t\x01\x01", b"user=\xff\x01auth=Bearer t\x01\x01"):
            self.assertRaises(Malformed, XOAuth2().next, response)


class ExternalTests(ExchangeCase):
    def test_names(self) -> None:
        for response, name in ((b"", ""), (b"ann@x", "ann@x")):
            credentials = self.prove(External(("a@x", "b@x")), None, response)
            self.assertEqual((credentials.username.decode(), credentials.names), (name, ("a@x", "b@x")))
        self.assertRaises(Malformed, External(()).next, b"\xff")
        self.assertRaises(Malformed, External(()).next, b"a\0b")


class MechanismTests(SynchronousTestCase):
    channel = Channel(True, "192.0.2.1", {"tls-exporter": b"data"}, ("ann@x",))

    def test_all_where_all_fits(self) -> None:
        self.assertEqual(offered(self.channel, ACCEPTED, MECHANISMS), tuple(MECHANISMS))

    def test_what_the_channel_lacks_is_not_offered(self) -> None:
        there = offered(Channel(True), ACCEPTED, USUAL)
        self.assertEqual(there, ("SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"))

    def test_what_the_portal_does_not_take_is_not_offered(self) -> None:
        self.assertEqual(offered(self.channel, [IUsernamePassword, IUsernameHashedPassword], USUAL), ("PLAIN", "LOGIN"))

    def test_scram_stands_for_both(self) -> None:
        there = offered(self.channel, ACCEPTED, ["SCRAM-SHA-1", "CRAM-MD5"])
        self.assertEqual(there, ("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "CRAM-MD5"))

    def test_the_configuration_knows_them_all(self) -> None:
        self.assertEqual(keys.USUAL_MECHANISMS, USUAL)
        self.assertEqual(set(keys.MECHANISMS), {name.removesuffix("-PLUS") for name in MECHANISMS})

    def test_names_fit_the_grammar(self) -> None:
        for name in MECHANISMS:
            self.assertRegex(name, r"\A[A-Z0-9_-]{1,20}\Z")  # RFC 4422 section 3.1

    @given(
        st.sampled_from(sorted(MECHANISMS)),
        st.lists(
            st.binary(max_size=30) | st.none() | st.from_regex(rb"[nyp],(a=\w*)?,n=\w*,r=\w*", fullmatch=True),
            max_size=4,
        ),
    )
    def test_nothing_but_the_declared_refusals(self, name: str, responses: list[bytes | None]) -> None:
        exchange = MECHANISMS[name].begin(self.channel)
        for response in responses:
            try:
                step = exchange.next(response)
                if isinstance(step, KeysWanted):
                    step.resume(make_keys(step.mechanism, b"x", b"salt", 1))
            except (Malformed, Refused):
                return
            if isinstance(step, Proof):
                return


class CredentialsTests(SynchronousTestCase):
    def test_interfaces(self) -> None:
        for interface, credentials in (
            (IUsernamePassword, UsernamePassword(b"ann", b"secret")),
            (IUsernameHashedPassword, CramDigest(b"ann", b"c", b"0" * 32)),
            (IScramProof, ScramProof(b"ann", "SCRAM-SHA-1", b"m", b"p")),
            (IBearerToken, BearerToken(b"ann", "t")),
            (IClientCertificate, ClientCertificate(b"ann", ("ann",))),
        ):
            verifyObject(interface, credentials)
            self.assertEqual(account_of(credentials), "ann")

    def test_password(self) -> None:
        credentials = UsernamePassword(b"ann", b"secret")
        self.assertTrue(credentials.checkPassword(b"secret"))
        self.assertFalse(credentials.checkPassword(b"Secret"))

    def test_secrets_never_show(self) -> None:
        for credentials in (
            UsernamePassword(b"ann", b"hush"),
            BearerToken(b"ann", "hush"),
            CramDigest(b"ann", b"hush", b"hush"),
            ScramProof(b"ann", "SCRAM-SHA-1", b"hush", b"hush"),
        ):
            self.assertNotIn("hush", repr(credentials) + repr(Proof(credentials, b"hush", b"hush")))

    def test_a_certificate_without_a_wish_is_its_first_name(self) -> None:
        self.assertEqual(account_of(ClientCertificate(b"", ("ann@x", "bob@x"))), "ann@x")
