"""Certificates: made, loaded, chosen by name, and loaded again."""

from __future__ import annotations

import os
import ssl
import warnings
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.tls.certificates import CHECK_INTERVAL, CertificateRefused, Certificates, KeyPair, load
from mailfw.tls.self_signed import make_self_signed


def shake_hands(certificates: Certificates, name: str | None, client: ssl.SSLContext | None = None) -> Any:
    """Return the certificate that a client which asks for `name` is shown, and the version of TLS, in memory."""
    context = client or ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname=name)
    server = certificates.serverConnectionForTLS(None)
    server.set_accept_state()
    for _ in range(10):
        try:
            session.do_handshake()
            break
        except ssl.SSLWantReadError:
            pass
        server.bio_write(outgoing.read())
        try:
            server.do_handshake()
        except Exception as error:  # what the server sends of it is for the client to judge
            if type(error).__name__ != "WantReadError":
                raise
        incoming.write(server.bio_read(65536))
    octets = session.getpeercert(binary_form=True)
    assert octets is not None
    return x509.load_der_x509_certificate(octets), session.version()


def names(certificate: x509.Certificate) -> list[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def pair(self, *hosts: str, folder: str = "own") -> KeyPair:
        pair = KeyPair(self.folder / folder / "fullchain.pem", self.folder / folder / "privkey.pem")
        make_self_signed(pair.certificate, pair.key, hosts)
        return pair

    def refusal(self, *given: Any) -> str:
        return str(self.assertRaises(CertificateRefused, Certificates, "localhost", *given))


class SelfSignedTests(Case):
    def test_it_is_for_localhost_and_the_names(self) -> None:
        pair = self.pair("mail.example.org", "bücher.example")
        certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        self.assertEqual(names(certificate), ["mail.example.org", "xn--bcher-kva.example", "localhost"])
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual([str(a) for a in extension.get_values_for_type(x509.IPAddress)], ["127.0.0.1", "::1"])
        self.assertEqual(certificate.public_key().curve.name, "secp256r1")  # type: ignore[union-attr]  # the test

    def test_nobody_else_may_read_it(self) -> None:
        pair = self.pair("localhost")
        self.assertEqual([path.stat().st_mode & 0o777 for path in (pair.key, pair.certificate)], [0o600, 0o600])


class LoadingTests(Case):
    def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(self) -> None:
        certificates = Certificates("localhost", self.pair("localhost"))
        self.assertEqual(shake_hands(certificates, "localhost")[1], "TLSv1.3")
        client = ssl.create_default_context()
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        self.assertEqual(shake_hands(certificates, "localhost", client)[1], "TLSv1.2")
        old = ssl.create_default_context()
        old.set_ciphers("ALL:@SECLEVEL=0")
        self._allow_old(old)
        self.assertRaises((ssl.SSLError, SSL.Error), shake_hands, certificates, "localhost", old)

    def _allow_old(self, context: ssl.SSLContext) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    def test_what_is_missing_or_broken_is_named(self) -> None:
        pair = self.pair("localhost")
        other = self.pair("localhost", folder="other")
        gone = self.folder / "gone.pem"
        empty = self.folder / "empty.pem"
        empty.write_text("nothing")
        self.assertEqual(self.refusal(KeyPair(gone, pair.key)), f"{gone}: No such file or directory")
        self.assertEqual(self.refusal(KeyPair(pair.certificate, gone)), f"{gone}: No such file or directory")
        self.assertEqual(self.refusal(KeyPair(empty, pair.key)), f"{empty}: no certificate in PEM format")
        self.assertIn(f"{empty}: no private key", self.refusal(KeyPair(pair.certificate, empty)))
        self.assertIn(f"{other.key}: not the key of", self.refusal(KeyPair(pair.certificate, other.key)))
        self.assertIn("No such file", self.refusal(None, self.folder / "nowhere"))
        (self.folder / "bare").mkdir()
        self.assertIn("no folder with", self.refusal(None, self.folder / "bare"))

    def test_a_pair_knows_its_names(self) -> None:
        self.assertEqual(load(self.pair("Mail.example.org")).names, {"mail.example.org", "localhost"})


class NameTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.pair("a.example", folder="live/a.example")
        self.pair("*.b.example", folder="live/b.example")
        (self.folder / "live" / "README").write_text("certbot leaves one")
        (self.folder / "live" / "empty").mkdir()

    def shown(self, certificates: Certificates, name: str | None) -> str:
        return names(shake_hands(certificates, name)[0])[0]

    def test_each_name_has_its_certificate(self) -> None:
        certificates = Certificates("a.example", None, self.folder / "live")
        self.assertEqual(self.shown(certificates, "a.example"), "a.example")
        self.assertEqual(self.shown(certificates, "B.example"), "*.b.example")  # the folder's name
        self.assertEqual(self.shown(certificates, "mx.b.example"), "*.b.example")
        self.assertEqual(self.shown(certificates, "x.mx.b.example"), "a.example")

    def test_the_default_is_the_hostnames(self) -> None:
        for hostname, shown in (("b.example", "*.b.example"), ("c.example", "a.example")):
            certificates = Certificates(hostname, None, self.folder / "live")
            self.assertEqual(self.shown(certificates, None), shown)
            self.assertEqual(self.shown(certificates, "c.example"), shown)

    def test_a_pair_given_by_itself_is_the_default(self) -> None:
        certificates = Certificates("a.example", self.pair("own.example"), self.folder / "live")
        self.assertEqual(self.shown(certificates, None), "own.example")
        self.assertEqual(self.shown(certificates, "a.example"), "a.example")


class RenewalTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.first = self.pair("first.example")
        self.certificates = Certificates("localhost", self.first)
        self.clock = Clock()
        self.certificates.watch(self.clock)
        self.addCleanup(self.certificates.stop)

    def shown(self) -> str:
        return names(shake_hands(self.certificates, None)[0])[0]

    def test_a_new_certificate_is_noticed(self) -> None:
        self.pair("second.example")
        self.assertEqual(self.shown(), "first.example")
        self.clock.advance(CHECK_INTERVAL)
        self.assertEqual(self.shown(), "second.example")

    def test_a_broken_one_is_not_used_until_it_is_whole(self) -> None:
        key = self.first.key.read_bytes()
        self.first.key.write_text("half a k")
        self.clock.advance(CHECK_INTERVAL)
        self.assertEqual(self.shown(), "first.example")
        self.first.key.write_bytes(key)
        self.clock.advance(CHECK_INTERVAL)
        self.assertEqual(self.shown(), "first.example")

    def test_nothing_is_read_while_nothing_changes(self) -> None:
        context = self.certificates._default
        self.clock.advance(CHECK_INTERVAL)
        self.assertIs(self.certificates._default, context)
        os.utime(self.first.certificate, ns=(1, 1))
        self.clock.advance(CHECK_INTERVAL)
        self.assertIsNot(self.certificates._default, context)
