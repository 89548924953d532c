"""Handshakes in memory between our server and a client made with pyOpenSSL, and certificates of a test's own."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto


def openssl_client(certificate: Authority | None = None) -> SSL.Connection:
    """Return a client; it shows `certificate` if the server asks for one."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if certificate is not None:
        context.use_certificate(crypto.X509.from_cryptography(certificate.certificate))
        context.use_privatekey(crypto.PKey.from_cryptography_key(certificate.key))
    client = SSL.Connection(context, None)
    client.set_connect_state()
    return client


def connect(certificates: Any, client: SSL.Connection) -> SSL.Connection:
    """Shake hands, and return the server's side."""
    server: SSL.Connection = certificates.serverConnectionForTLS(None)
    server.set_accept_state()
    for _ in range(6):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))
    return server


class Authority:
    """A certificate with its key, which may sign others."""

    def __init__(
        self,
        name: str,
        issuer: Authority | None = None,
        *,
        addresses: Sequence[str] = (),
        email: str = "",
        days: int = 10,
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
        attributes += [x509.NameAttribute(NameOID.EMAIL_ADDRESS, email)] if email else []
        self.subject = x509.Name(attributes)
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(issuer.subject if issuer else self.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=20))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        )
        if addresses:
            alternatives = x509.SubjectAlternativeName([x509.RFC822Name(address) for address in addresses])
            builder = builder.add_extension(alternatives, critical=False)
        self.certificate = builder.sign(issuer.key if issuer else self.key, hashes.SHA256())

    def write(self, certificate: Path, key: Path | None = None) -> None:
        """Write PEM files."""
        certificate.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        if key is not None:
            key.write_bytes(
                self.key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
