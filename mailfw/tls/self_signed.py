"""A certificate of our own making, for a server that was given none."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: How long it is valid; clients of Apple refuse more than 825 days.
LIFETIME = dt.timedelta(days=825)


@dataclass(frozen=True, slots=True)
class PEM:
    """A certificate and its private key, as text for files."""

    certificate: bytes
    key: bytes


def make_self_signed(certificate: Path, key: Path, names: Iterable[str]) -> None:
    """Make a certificate and write it."""
    write(generate(names), certificate, key)


def generate(names: Iterable[str]) -> PEM:
    """Make an ECDSA P-256 certificate for localhost and `names`."""
    private = ec.generate_private_key(ec.SECP256R1())
    octets = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return PEM(_sign(private, names).public_bytes(serialization.Encoding.PEM), octets)


def write(pem: PEM, certificate: Path, key: Path) -> None:
    """Write both files, mode 0600; the key first, so that a certificate that is there has its key."""
    key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(key, pem.key)
    _write(certificate, pem.certificate)


def _sign(private: ec.EllipticCurvePrivateKey, names: Iterable[str]) -> x509.Certificate:
    hosts = list(dict.fromkeys([*names, "localhost"]))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    now = dt.datetime.now(dt.UTC)
    alternatives: list[x509.GeneralName] = [x509.DNSName(host.encode("idna").decode("ascii")) for host in hosts]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )


def _write(path: Path, octets: bytes) -> None:
    """Write beside the name and rename, so that a crash leaves nothing half written."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
