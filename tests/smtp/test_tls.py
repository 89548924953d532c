"""Real TLS on a real socket, with the standard library's client."""

from __future__ import annotations

import datetime as dt
import smtplib
import socket
import ssl
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailfw.mail.envelope import Service
from tests.smtp.house import NAME, PASSWORD, House


def self_signed() -> str:
    """Return a certificate for localhost and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (certificate.public_bytes(pem) + private).decode()


class StartTLSTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        pem = self_signed()
        folder = Path(tempfile.mkdtemp(dir="."))
        (folder / "certificate.pem").write_text(pem)
        self.trust = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
        self.place = House(Service.SUBMISSION, tls=PrivateCertificate.loadPEM(pem).options())
        listener: Any = reactor
        self.place.clock = listener
        self.factory = self.place.factory()
        port = listener.listenTCP(0, self.factory, interface="127.0.0.1")
        self.port = port.getHost().port
        self.addCleanup(port.stopListening)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.factory.shut_down()))

    async def test_submission(self) -> None:
        message = b"Subject: large\r\n\r\n" + b".a line that begins with a dot\r\n" * 50_000

        def submit() -> None:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as client:
                client._host = "localhost"  # type: ignore[attr-defined]  # the name to verify
                client.starttls(context=self.trust)
                client.login(NAME.decode(), PASSWORD.decode())
                client.sendmail(NAME.decode(), ["u@remote.example"], message)

        await deferToThread(submit)
        [(client, _, content)] = self.place.intake.taken
        self.assertEqual(content, message)
        self.assertEqual((client.protocol, client.account), ("ESMTPSA", NAME.decode()))
        self.assertRegex(client.tls or "", r"^TLSv1\.[23]$")

    async def test_injection(self) -> None:
        """CVE-2011-0411 over the wire: the injected commands are never answered."""

        def inject() -> list[bytes]:
            heard = []
            with socket.create_connection(("127.0.0.1", self.port), timeout=20) as plain:
                plain.recv(1000)
                plain.sendall(b"STARTTLS\r\nEHLO evil\r\nNOOP\r\n")
                heard.append(plain.recv(1000))
                with self.trust.wrap_socket(plain, server_hostname="localhost") as secure:
                    secure.sendall(b"MAIL FROM:<a@b>\r\nQUIT\r\n")
                    while octets := secure.recv(1000):
                        heard.append(octets)
            return heard

        heard = await deferToThread(inject)
        self.assertEqual(heard[0], b"220 2.0.0 Go ahead with TLS\r\n")
        self.assertEqual(b"".join(heard[1:]), b"503 5.5.1 Say hello first\r\n221 2.0.0 Goodbye\r\n")
