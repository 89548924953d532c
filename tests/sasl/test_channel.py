"""What a session knows of its connection, beside what the client knows of the same."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from mailfw.sasl.channel import Channel, channel_bindings, channel_of, end_point
from mailfw.tls.certificates import Certificates, KeyPair
from mailfw.tls.self_signed import make_self_signed
from tests.tls.handshakes import connect, openssl_client


class PretendStream:
    """As much of a stream as a channel is made of."""

    def __init__(self, tls: Any, secure: bool = True) -> None:
        self.peer = ("192.0.2.1", 4000)
        self.is_secure = secure
        self.tls = tls


class ChannelTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        self.pair = KeyPair(folder / "certificate.pem", folder / "key.pem")
        make_self_signed(self.pair.certificate, self.pair.key, ["mail.example.org"])
        self.certificates = Certificates("mail.example.org", self.pair)

    def test_in_the_clear(self) -> None:
        self.assertEqual(channel_of(PretendStream(None, secure=False)), Channel(address="192.0.2.1"))

    def test_exporter_of_tls_1_3(self) -> None:
        """RFC 9266 section 2: what another implementation of TLS exports."""
        client = openssl_client()
        server = connect(self.certificates, client)
        bindings = channel_of(PretendStream(server)).bindings
        self.assertEqual(set(bindings), {"tls-exporter", "tls-server-end-point"})
        self.assertEqual(bindings["tls-exporter"], client.export_keying_material(b"EXPORTER-Channel-Binding", 32, b""))
        again = connect(self.certificates, openssl_client())
        self.assertNotEqual(channel_of(PretendStream(again)).bindings["tls-exporter"], bindings["tls-exporter"])

    def test_unique_of_tls_1_2(self) -> None:
        """RFC 5929 section 3: what Python's own module calls so."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing)
        server = self.certificates.serverConnectionForTLS(None)
        server.set_accept_state()
        for _ in range(6):
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
            if octets := outgoing.read():
                server.bio_write(octets)
            with contextlib.suppress(SSL.WantReadError):
                server.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                incoming.write(server.bio_read(65536))
        bindings = channel_of(PretendStream(server)).bindings
        self.assertEqual(set(bindings), {"tls-unique", "tls-server-end-point"})
        self.assertEqual(bindings["tls-unique"], client.get_channel_binding("tls-unique"))
        shown = client.getpeercert(binary_form=True)
        assert shown is not None
        self.assertEqual(bindings["tls-server-end-point"], hashlib.sha256(shown).digest())

    def test_nothing_before_the_handshake(self) -> None:
        server = self.certificates.serverConnectionForTLS(None)
        server.set_accept_state()
        self.assertEqual(channel_bindings(server, None), {})
        self.assertEqual(channel_of(PretendStream(server)).bindings, {})

    def test_end_points(self) -> None:
        """RFC 5929 section 4.1: the hash function of the signature, but no weaker one than SHA-256."""
        certificate = crypto.X509.from_cryptography(x509.load_pem_x509_certificate(self.pair.certificate.read_bytes()))
        der = certificate.to_cryptography().public_bytes(crypto_encoding())
        for name, used in (("sha256", "sha256"), ("sha384", "sha384"), ("sha1", "sha256"), ("md5", "sha256")):
            self.assertEqual(end_point(Signed(certificate, name)), hashlib.new(used, der).digest())
        self.assertIs(end_point(Signed(certificate, None)), None)


def crypto_encoding() -> Any:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER


class Signed:
    """A certificate that says to be signed with another hash function."""

    def __init__(self, certificate: crypto.X509, name: str | None) -> None:
        self._certificate = certificate
        self.name = name
        self.signature_hash_algorithm = self if name else None

    def to_cryptography(self) -> Signed:
        return self

    def digest(self, name: str) -> bytes:
        return self._certificate.digest(name)
