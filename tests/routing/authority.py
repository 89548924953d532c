"""An authority of our own, and servers of HTTPS that it vouches for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import crypto
from twisted.internet.ssl import Certificate as SSLCertificate
from twisted.internet.ssl import CertificateOptions, trustRootFromCertificates
from twisted.web.resource import Resource
from twisted.web.server import Request, Site


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """Makes certificates that whoever has `trust` believes."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._make("Test authority", self._key.public_key(), None)
        pem = self._certificate.public_bytes(serialization.Encoding.PEM)
        self.trust = trustRootFromCertificates([SSLCertificate.loadPEM(pem)])

    def _make(self, name: str, key: Any, host: str | None) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("Test authority"))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        )
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def options(self, host: str) -> CertificateOptions:
        """Return what a server called `host` needs."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._make(host, key.public_key(), host)
        return CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(key),
            certificate=crypto.X509.from_cryptography(certificate),
        )


class _Answers(Resource):
    isLeaf = True

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        super().__init__()
        self._answer = answer

    def render(self, request: Request) -> Any:
        return self._answer(request)


def web_site(answer: Callable[[Request], Any]) -> Site:
    """Return a site whose every page is what `answer` returns."""
    return Site(_Answers(answer))
