"""Client certificates: asked for, verified, and never required."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.sasl.channel import channel_of
from mailfw.tls.certificates import CHECK_INTERVAL, CertificateRefused, Certificates, KeyPair
from mailfw.tls.clients import names_in
from mailfw.tls.self_signed import make_self_signed
from tests.sasl.test_channel import PretendStream
from tests.tls.handshakes import Authority, connect, openssl_client

ANN = "ann@example.org"


class ClientCertificateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.pair = KeyPair(self.folder / "certificate.pem", self.folder / "key.pem")
        make_self_signed(self.pair.certificate, self.pair.key, ["mail.example.org"])
        self.authority = Authority("Our authority")
        self.file = self.folder / "authorities.pem"
        self.authority.write(self.file)
        self.certificates = Certificates("mail.example.org", self.pair, None, self.file)

    def names(self, certificate: Authority | None) -> tuple[str, ...]:
        """Return what the session learns of a client that shows a certificate."""
        client = openssl_client(certificate)
        server = connect(self.certificates.for_clients(), client)
        names = channel_of(PretendStream(server)).names
        client.send(b"and goes on")
        server.bio_write(client.bio_read(65536))
        self.assertEqual(server.recv(100), b"and goes on")
        return names

    def test_verified(self) -> None:
        self.assertEqual(self.names(Authority("Ann", self.authority, addresses=[ANN])), (ANN,))

    def test_nobody_has_to_show_one(self) -> None:
        self.assertEqual(self.names(None), ())

    def test_what_is_not_believed(self) -> None:
        for stranger in (
            Authority("Ann", Authority("Another authority"), addresses=[ANN]),
            Authority("Ann", Authority("Our authority"), addresses=[ANN]),
            Authority("Ann", addresses=[ANN]),
            Authority("Ann", self.authority, addresses=[ANN], days=-1),
            Authority("Ann", Authority("Ann's own", self.authority), addresses=[ANN]),
        ):
            self.assertEqual(self.names(stranger), ())

    def test_not_asked_for(self) -> None:
        certificate = Authority("Ann", self.authority, addresses=[ANN])
        for certificates in (self.certificates, Certificates("mail.example.org", self.pair).for_clients()):
            server = connect(certificates, openssl_client(certificate))
            self.assertEqual(channel_of(PretendStream(server)).names, ())
            self.assertIs(server.get_peer_certificate(), None)

    def test_names_for_clients_to_choose_by(self) -> None:
        client = openssl_client()
        connect(self.certificates.for_clients(), client)
        self.assertEqual([str(name.CN) for name in client.get_client_ca_list()], ["Our authority"])

    def test_best_kind_of_name(self) -> None:
        for made, names in (
            (Authority("cn@x", addresses=["a@x", "b@x"], email="e@x"), ("a@x", "b@x")),
            (Authority("cn@x", email="e@x"), ("e@x",)),
            (Authority("cn@x"), ("cn@x",)),
            (Authority(""), ()),
        ):
            self.assertEqual(names_in(made.certificate), names)

    def test_names_are_bounded(self) -> None:
        many = Authority("x", addresses=[f"u{number}@x" for number in range(200)])
        self.assertEqual(len(names_in(many.certificate)), 16)

    def test_authorities_are_loaded_again(self) -> None:
        clock = Clock()
        self.certificates.watch(clock)
        self.addCleanup(self.certificates.stop)
        newer = Authority("A newer authority")
        certificate = Authority("Ann", newer, addresses=[ANN])
        self.assertEqual(self.names(certificate), ())
        newer.write(self.file)
        clock.advance(CHECK_INTERVAL)
        self.assertEqual(self.names(certificate), (ANN,))

    def test_authorities_that_cannot_be_used(self) -> None:
        for text in (b"", b"no certificate"):
            self.file.write_bytes(text)
            refused = self.assertRaises(
                CertificateRefused, Certificates, "mail.example.org", self.pair, None, self.file
            )
            self.assertIn(str(self.file), str(refused))
