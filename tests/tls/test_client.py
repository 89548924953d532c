"""The client's side of TLS, in memory, with certificates of every kind."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.lookup import TLSA
from mailfw.tls.client import ClientTLS, Handshake, is_usable

HOST = "mx.example.net"
NOW = dt.datetime.now(dt.UTC)


@dataclass
class Issued:
    """A certificate, its key, and what signed it, nearest first."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def record(self, usage: int, selector: int = 1, matching: int = 1) -> TLSA:
        octets = self.certificate.public_bytes(serialization.Encoding.DER)
        if selector == 1:
            octets = self.key.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        hashed = {0: octets, 1: hashlib.sha256(octets).digest(), 2: hashlib.sha512(octets).digest()}
        return TLSA(usage, selector, matching, hashed[matching])


def issue(
    name: str, by: Issued | None = None, is_authority: bool = False, days: int = 30, alone: bool = False
) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - dt.timedelta(days=60))
        .not_valid_after(NOW + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    if not is_authority:
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if name == HOST:
            names.append(x509.IPAddress(ipaddress.ip_address("192.0.2.1")))
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign((by or Issued(None, key)).key, hashes.SHA256())  # type: ignore[arg-type]  # itself
    return Issued(certificate, key, () if by is None or alone else (by.certificate, *by.chain))


ROOT = issue("Root", is_authority=True)
MIDDLE = issue("Middle", ROOT, is_authority=True)
LEAF = issue(HOST, MIDDLE)
WILDCARD = issue("*.example.net", MIDDLE)
EXPIRED = issue(HOST, MIDDLE, days=-1)
SELF_SIGNED = issue(HOST)
OTHER_HOST = issue("other.example.net", MIDDLE)
STRANGER = issue(HOST, issue("Other root", is_authority=True))
WITHOUT_CHAIN = issue(HOST, MIDDLE, alone=True)


def shake_hands(handshake: Handshake, issued: Issued, highest: int | None = None) -> tuple[str, str | None]:
    """Return the judgement, and the name that the server was asked for."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(crypto.X509.from_cryptography(issued.certificate))
    context.use_privatekey(crypto.PKey.from_cryptography_key(issued.key))
    for each in issued.chain[:-1]:
        context.add_extra_chain_cert(crypto.X509.from_cryptography(each))
    if highest is not None:
        context.set_max_proto_version(highest)
    asked: list[Any] = []
    context.set_tlsext_servername_callback(lambda connection: asked.append(connection.get_servername()))
    server = SSL.Connection(context, None)
    server.set_accept_state()
    client = handshake.clientConnectionForTLS(None)
    client.set_connect_state()
    done: set[Any] = set()
    for _ in range(20):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
                done.add(one)
            except SSL.WantReadError:
                pass
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))
    assert done == {client, server}, "no handshake"
    return handshake.judge(client), asked[0].decode() if asked and asked[0] else None


class ClientTLSTests(SynchronousTestCase):
    def setUp(self) -> None:
        authorities = Path(self.mktemp())
        authorities.write_bytes(ROOT.pem())
        self.tls = ClientTLS(authorities)

    def named(self, issued: Issued, *names: str) -> str:
        return shake_hands(self.tls.with_named(HOST, names or (HOST,)), issued)[0]

    def pinned(self, issued: Issued, *records: TLSA, names: tuple[str, ...] = (HOST,)) -> str:
        return shake_hands(self.tls.with_pinned(HOST, names, records), issued)[0]

    def test_anybody(self) -> None:
        for issued in (LEAF, EXPIRED, SELF_SIGNED, OTHER_HOST, STRANGER, WITHOUT_CHAIN):
            for strict in (False, True):
                self.assertEqual(shake_hands(self.tls.with_anybody(HOST, strict), issued), ("", HOST))

    def test_no_name_is_asked_of_an_address(self) -> None:
        self.assertEqual(shake_hands(self.tls.with_anybody("192.0.2.1", True), LEAF), ("", None))

    def test_old_versions(self) -> None:
        with self.assertRaises(SSL.Error):
            shake_hands(self.tls.with_anybody(HOST, True), LEAF, SSL.TLS1_1_VERSION)
        self.assertEqual(shake_hands(self.tls.with_named(HOST, [HOST]), LEAF, SSL.TLS1_2_VERSION)[0], "")

    def test_names(self) -> None:
        self.assertEqual(self.named(LEAF), "")
        self.assertEqual(self.named(LEAF, "no.example", HOST), "", "any of them")
        self.assertEqual(self.named(WILDCARD), "")
        self.assertEqual(self.named(WILDCARD, "a.b.example.net"), "certificate-host-mismatch")
        self.assertEqual(self.named(OTHER_HOST), "certificate-host-mismatch")
        self.assertEqual(self.named(LEAF, "192.0.2.1"), "")
        self.assertEqual(self.named(LEAF, "192.0.2.2"), "certificate-host-mismatch")
        self.assertEqual(self.named(LEAF, ""), "certificate-host-mismatch")

    def test_what_is_wrong_has_its_name(self) -> None:
        """RFC 8460 section 4.3."""
        self.assertEqual(self.named(EXPIRED), "certificate-expired")
        self.assertEqual(self.named(SELF_SIGNED), "certificate-not-trusted")
        self.assertEqual(self.named(STRANGER), "certificate-not-trusted")
        self.assertEqual(self.named(WITHOUT_CHAIN), "certificate-not-trusted")

    def test_watched(self) -> None:
        """RFC 8461 section 5: in testing mode everything is only looked at, old versions of TLS too."""
        for issued, wrong in (
            (LEAF, ""),
            (EXPIRED, "certificate-expired"),
            (SELF_SIGNED, "certificate-not-trusted"),
            (OTHER_HOST, "certificate-host-mismatch"),
        ):
            self.assertEqual(shake_hands(self.tls.with_watched(HOST, [HOST]), issued)[0], wrong)
        self.assertEqual(shake_hands(self.tls.with_watched(HOST, []), LEAF)[0], "validation-failure")

    def test_the_system_s_authorities(self) -> None:
        self.assertEqual(shake_hands(ClientTLS().with_named(HOST, [HOST]), LEAF)[0], "certificate-not-trusted")

    def test_dane_ee(self) -> None:
        """RFC 7672 section 3.1.1: neither the name nor the date matters, the key does."""
        for selector in (0, 1):
            for matching in (0, 1, 2):
                for issued in (LEAF, SELF_SIGNED, EXPIRED, OTHER_HOST, STRANGER):
                    self.assertEqual(self.pinned(issued, issued.record(3, selector, matching)), "")
                self.assertEqual(self.pinned(LEAF, SELF_SIGNED.record(3, selector, matching)), "validation-failure")

    def test_one_record_of_several(self) -> None:
        """Keys are rolled over with both of them published."""
        self.assertEqual(self.pinned(LEAF, SELF_SIGNED.record(3), LEAF.record(3)), "")

    def test_dane_ta(self) -> None:
        """RFC 7672 section 3.1.2: the anchor is in the chain, and the name has to be right."""
        for selector in (0, 1):
            for matching in (0, 1, 2):
                self.assertEqual(self.pinned(LEAF, MIDDLE.record(2, selector, matching)), "")
        self.assertEqual(self.pinned(OTHER_HOST, MIDDLE.record(2)), "certificate-host-mismatch")
        self.assertEqual(self.pinned(OTHER_HOST, MIDDLE.record(2), names=(HOST, "other.example.net")), "")
        self.assertEqual(self.pinned(EXPIRED, MIDDLE.record(2)), "certificate-not-trusted")
        self.assertEqual(self.pinned(STRANGER, MIDDLE.record(2)), "validation-failure")
        self.assertEqual(self.pinned(WITHOUT_CHAIN, MIDDLE.record(2)), "validation-failure")

    def test_an_anchor_that_is_only_in_the_record(self) -> None:
        self.assertEqual(self.pinned(LEAF, ROOT.record(2, 0, 0)), "")
        self.assertEqual(self.pinned(WITHOUT_CHAIN, MIDDLE.record(2, 0, 0)), "")
        self.assertEqual(self.pinned(STRANGER, ROOT.record(2, 0, 0)), "certificate-not-trusted")
        self.assertEqual(self.pinned(LEAF, TLSA(2, 0, 0, b"nonsense")), "validation-failure")

    def test_an_anchor_that_did_not_sign(self) -> None:
        """A certificate that is merely sent along vouches for nobody."""
        stuffed = Issued(SELF_SIGNED.certificate, SELF_SIGNED.key, (MIDDLE.certificate, ROOT.certificate))
        self.assertEqual(self.pinned(stuffed, MIDDLE.record(2)), "certificate-not-trusted")

    def test_records_of_no_use(self) -> None:
        """RFC 7672 sections 2.2 and 3.1.3: encryption is all that is left of them."""
        unusable = [
            TLSA(0, 1, 1, b"x"),
            TLSA(1, 1, 1, b"x"),
            TLSA(3, 2, 1, b"x"),
            TLSA(3, 1, 9, b"x"),
            TLSA(255, 0, 0, b""),
        ]
        self.assertEqual([is_usable(each) for each in unusable], [False] * 5)
        self.assertEqual(self.pinned(SELF_SIGNED, *unusable), "")
        self.assertEqual(self.pinned(LEAF, *unusable, SELF_SIGNED.record(3)), "validation-failure")
