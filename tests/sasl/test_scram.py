"""SCRAM from both sides: the examples of the RFCs, our client against our server, and everything in between."""

from __future__ import annotations

from base64 import b64decode, b64encode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.sasl import messages
from mailfw.sasl.client import ScramClient, ServerNotTrusted, client_exchange
from mailfw.sasl.exchange import Challenge, KeysWanted, Malformed, Proof, Refused
from mailfw.sasl.keys import ScramKeys, make_keys
from mailfw.sasl.saslprep import prepare_password
from mailfw.sasl.scram import Scram

#: Mechanism, salt, the client's nonce and the server's part, the proof and the signature of password "pencil".
EXAMPLES = [
    (  # RFC 5802 section 5
        "SCRAM-SHA-1",
        "QSXCR+Q6sek8bf92",
        b"fyko+d2lbbFgONRv9qkxdawL",
        b"3rfcNHYJY1ZVvWVs7j",
        b"v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    (  # RFC 7677 section 3
        "SCRAM-SHA-256",
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        b"rOprNGfwEbeRWgbNEkqO",
        b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
]
BOUND = {"tls-exporter": b"what both ends know", "tls-server-end-point": b"the certificate"}


class ScramCase(SynchronousTestCase):
    keys = make_keys("SCRAM-SHA-256", b"pencil", b"salty", 4096)

    def server(self, plus: bool = False, bindings: dict[str, bytes] | None = None) -> Scram:
        return Scram("SCRAM-SHA-256", plus, bindings or {}, nonce=b"theirs")

    def begin(self, server: Scram, first: bytes, keys: ScramKeys | None = None) -> bytes:
        step = server.next(first)
        assert isinstance(step, KeysWanted)
        self.asked = step.username
        return step.resume(keys or self.keys).octets

    def hold(self, server: Scram, client: ScramClient, keys: ScramKeys | None = None) -> Proof:
        """Let the two speak, up to the server's judgement."""
        first = client.first()
        assert first is not None
        proof = server.next(client.next(self.begin(server, first, keys)))
        assert isinstance(proof, Proof)
        return proof


class ExampleTests(ScramCase):
    def test_examples_of_the_rfcs(self) -> None:
        for mechanism, salt, mine, theirs, proof, signature in EXAMPLES:
            keys = make_keys(mechanism, b"pencil", b64decode(salt), 4096)
            server = Scram(mechanism, False, {}, nonce=theirs)
            client = ScramClient(mechanism, b"user", b"pencil", b"n", b"", nonce=mine)
            self.assertEqual(client.first(), b"n,,n=user,r=" + mine)
            answer = self.begin(server, b"n,,n=user,r=" + mine, keys)
            self.assertEqual(answer, b"r=" + mine + theirs + b",s=" + salt.encode() + b",i=4096")
            final = client.next(answer)
            self.assertEqual(final, b"c=biws,r=" + mine + theirs + b",p=" + proof)
            judged = server.next(final)
            assert isinstance(judged, Proof) and judged.confirmation is not None
            self.assertEqual(judged.confirmation, b"v=" + signature)
            self.assertTrue(judged.credentials.check_keys(keys))
            self.assertFalse(client.is_complete)
            self.assertEqual(client.next(judged.confirmation), b"")
            self.assertTrue(client.is_complete)


class ServerTests(ScramCase):
    def client(self, password: bytes = b"pencil", flag: bytes = b"n", data: bytes = b"") -> ScramClient:
        return ScramClient("SCRAM-SHA-256", b"user", password, flag, data)

    def test_the_client_speaks_first(self) -> None:
        self.assertEqual(self.server().next(None), Challenge(b""))

    def test_wrong_password(self) -> None:
        self.assertFalse(self.hold(self.server(), self.client(b"pencils")).credentials.check_keys(self.keys))

    def test_keys_that_changed_meanwhile(self) -> None:
        proof = self.hold(self.server(), self.client())
        self.assertFalse(proof.credentials.check_keys(make_keys("SCRAM-SHA-256", b"pencil", b"other", 4096)))
        self.assertFalse(proof.credentials.check_keys(make_keys("SCRAM-SHA-1", b"pencil", b"salty", 4096)))

    def test_names(self) -> None:
        for written, name in (
            (b"a=2Cb=3Dc", b"a,b=c"),
            (b"\xc2\xaa", b"a"),
            (b"I\xc2\xadX", b"IX"),
        ):
            self.begin(self.server(), b"n,,n=" + written + b",r=x")
            self.assertEqual(self.asked, name)

    def test_acting_for_oneself(self) -> None:
        self.begin(self.server(), b"n,a=User,n=user,r=x")
        self.assertRaises(Malformed, self.server().next, b"n,a=bob,n=user,r=x")

    def test_malformed_first(self) -> None:
        for first in (
            b"",
            b"n",
            b"n,,",
            b"n,,n=user",
            b"n,,r=x,n=user",
            b"n,,n=,r=x",
            b"n,,n=user,r=",
            b"n,,n=user,r=a b",
            b"n,,n=us=er,r=x",
            b"n,,n=us\0er,r=x",
            b"n,,n=\xff,r=x",
            b"n,,n=\x07,r=x",
            b"n,,m=x,n=user,r=x",
            b"n,,n=user,r=x,m=y",
            b"x,,n=user,r=x",
            b"n,user,n=user,r=x",
        ):
            self.assertRaises(Malformed, self.server().next, first)

    def test_extensions_are_ignored(self) -> None:
        self.begin(self.server(), b"n,,n=user,r=x,f=future")

    def test_malformed_final(self) -> None:
        for final in (b"", b"c=biws", b"c=biws,r=xtheirs", b"c=biws,r=x,p=AAAA", b"c=!,r=xtheirs,p=AAAA", b"p=AAAA"):
            server = self.server()
            self.begin(server, b"n,,n=user,r=x")
            self.assertRaises(Malformed, server.next, final)

    def test_a_proof_of_another_length_proves_nothing(self) -> None:
        server = self.server()
        self.begin(server, b"n,,n=user,r=x")
        for proof in (b"", b"AAAA"):
            judged = server.next(b"c=biws,r=xtheirs,p=" + proof)
            assert isinstance(judged, Proof)
            self.assertFalse(judged.credentials.check_keys(self.keys))


class BindingTests(ScramCase):
    def client(self, flag: bytes, data: bytes) -> ScramClient:
        return ScramClient("SCRAM-SHA-256", b"user", b"pencil", flag, data)

    def test_bound(self) -> None:
        for kind, data in BOUND.items():
            proof = self.hold(self.server(True, BOUND), self.client(f"p={kind}".encode(), data))
            self.assertTrue(proof.credentials.check_keys(self.keys))

    def test_somebody_in_between(self) -> None:
        server, client = self.server(True, BOUND), self.client(b"p=tls-exporter", b"another channel's")
        first = client.first()
        assert first is not None
        self.assertRaises(Refused, server.next, client.next(self.begin(server, first)))

    def test_header_changed_on_the_way(self) -> None:
        server, client = self.server(), self.client(b"y", b"")
        self.assertRaises(Refused, server.next, client.next(self.begin(server, b"n,,n=user,r=" + client._nonce)))

    def test_downgrade(self) -> None:
        """RFC 5802 section 6: a client that can bind, and was told that we cannot."""
        self.assertRaises(Refused, self.server(False, BOUND).next, b"y,,n=user,r=x")
        self.begin(self.server(False, {}), b"y,,n=user,r=x")

    def test_a_client_that_cannot_bind(self) -> None:
        self.begin(self.server(False, BOUND), b"n,,n=user,r=x")

    def test_flags_against_the_mechanism(self) -> None:
        self.assertRaises(Refused, self.server(True, BOUND).next, b"n,,n=user,r=x")
        self.assertRaises(Refused, self.server(True, BOUND).next, b"y,,n=user,r=x")
        self.assertRaises(Refused, self.server(False, BOUND).next, b"p=tls-exporter,,n=user,r=x")
        self.assertRaises(Refused, self.server(True, BOUND).next, b"p=tls-unique,,n=user,r=x")


class ClientTests(ScramCase):
    def test_choosing(self) -> None:
        everything = ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "EXTERNAL"]
        for offered, secure, chosen in (
            (everything, True, "SCRAM-SHA-256"),
            (everything, False, "SCRAM-SHA-256"),
            (["scram-sha-1", "plain"], True, "SCRAM-SHA-1"),
            (["LOGIN", "PLAIN", "CRAM-MD5"], True, "PLAIN"),
            (["LOGIN", "CRAM-MD5"], True, "LOGIN"),
            (["CRAM-MD5"], True, "CRAM-MD5"),
            (["LOGIN", "PLAIN", "CRAM-MD5"], False, None),
            (["GSSAPI"], True, None),
            ([], True, None),
        ):
            exchange = client_exchange(offered, "ann", "secret", secure)
            self.assertEqual(exchange.name if exchange else None, chosen)

    def test_binding(self) -> None:
        for offered, name, flag in (
            (["SCRAM-SHA-256", "SCRAM-SHA-1-PLUS"], "SCRAM-SHA-1-PLUS", b"p=tls-exporter"),
            (["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"], "SCRAM-SHA-256-PLUS", b"p=tls-exporter"),
            (["SCRAM-SHA-256"], "SCRAM-SHA-256", b"y"),
        ):
            exchange = client_exchange(offered, "ann", "secret", True, BOUND)
            assert exchange is not None
            self.assertEqual(exchange.name, name)
            self.assertTrue((exchange.first() or b"").startswith(flag + b",,n=ann,r="))

    def test_steps_of_the_old_ones(self) -> None:
        plain = client_exchange(["PLAIN"], "ann", "secret", True)
        assert plain is not None
        self.assertEqual(plain.first(), b"\0ann\0secret")
        self.assertTrue(plain.is_complete)
        self.assertRaises(Malformed, plain.next, b"")
        login = client_exchange(["LOGIN"], "ann", "secret", True)
        assert login is not None
        self.assertIs(login.first(), None)
        self.assertEqual([login.next(b"Username:"), login.next(b"Password:")], [b"ann", b"secret"])
        self.assertTrue(login.is_complete)
        self.assertRaises(Malformed, login.next, b"")
        cram = client_exchange(["CRAM-MD5"], "tim", "tanstaaftanstaaf", True)
        assert cram is not None
        self.assertIs(cram.first(), None)
        digest = cram.next(b"<1896.697170952@postoffice.reston.mci.net>")
        self.assertEqual(digest, b"tim b913a602c7eda7a495b4e6e7334d3890")

    def test_server_that_does_not_know_the_account(self) -> None:
        client = ScramClient("SCRAM-SHA-256", b"user", b"pencil", b"n", b"")
        self.hold(self.server(), client)
        self.assertRaises(ServerNotTrusted, client.next, b"v=" + b64encode(b"0" * 32))
        self.assertFalse(client.is_complete)

    def test_server_that_refuses(self) -> None:
        client = ScramClient("SCRAM-SHA-256", b"user", b"pencil", b"n", b"")
        self.hold(self.server(), client)
        refused = self.assertRaises(ServerNotTrusted, client.next, b"e=invalid-proof\r\n")
        self.assertIn("invalid-proof", str(refused))
        self.assertNotIn("\n", str(refused))

    def test_server_that_lies_about_the_beginning(self) -> None:
        for answer, refusal in (
            (b"r=another,s=c2FsdA==,i=4096", ServerNotTrusted),
            (b"r=%s,s=c2FsdA==,i=4096", ServerNotTrusted),
            (b"r=%sx,s=c2FsdA==,i=4095", ServerNotTrusted),
            (b"r=%sx,s=c2FsdA==,i=1000001", ServerNotTrusted),
            (b"r=%sx,s=c2FsdA==,i=99999999999", Malformed),
            (b"r=%sx,s=c2FsdA==,i=-1", Malformed),
            (b"r=%sx,s=!,i=4096", Malformed),
            (b"m=x,r=%sx,s=c2FsdA==,i=4096", Malformed),
            (b"", Malformed),
        ):
            client = ScramClient("SCRAM-SHA-256", b"user", b"pencil", b"n", b"")
            self.assertRaises(refusal, client.next, answer.replace(b"%s", client._nonce))

    @given(st.text(min_size=1, max_size=10), st.text(min_size=1, max_size=10), st.booleans())
    @settings(max_examples=30, deadline=None)
    def test_both_sides_agree(self, name: str, password: str, bound: bool) -> None:
        offered = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
        client = client_exchange(offered, name, password, True, BOUND if bound else {})
        assert isinstance(client, ScramClient)
        keys = make_keys("SCRAM-SHA-256", prepare_password(password.encode()), b"salt", 4096)
        try:
            proof = self.hold(self.server(bound, BOUND if bound else {}), client, keys)
        except Malformed:
            return  # the name is none
        self.assertTrue(proof.credentials.check_keys(keys))
        assert proof.confirmation is not None
        client.next(proof.confirmation)
        self.assertTrue(client.is_complete)


class MessageTests(SynchronousTestCase):
    @given(st.binary(max_size=20).filter(lambda name: bool(name) and b"\0" not in name))
    def test_names(self, name: bytes) -> None:
        self.assertEqual(messages.unescape(messages.escape(name)), name)
        self.assertNotIn(b",", messages.escape(name))

    def test_nonces_differ(self) -> None:
        self.assertNotEqual(messages.new_nonce(), messages.new_nonce())
        self.assertGreaterEqual(len(messages.nonce(messages.new_nonce())), 24)
