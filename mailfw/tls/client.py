"""TLS as the client: whom to believe to be the server that he should be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

# Result types of RFC 8460 section 4.3.
NOT_VALID = "validation-failure"
WRONG_HOST = "certificate-host-mismatch"
EXPIRED = "certificate-expired"
NOT_TRUSTED = "certificate-not-trusted"

#: What OpenSSL's errors are called there: X509_V_ERR_… of x509_vfy.h.
_ERRORS = {9: EXPIRED, 10: EXPIRED, 18: NOT_TRUSTED, 19: NOT_TRUSTED, 20: NOT_TRUSTED, 21: NOT_TRUSTED, 27: NOT_TRUSTED}

#: Matching types of RFC 6698 section 2.1.3.
_MATCHING: dict[int, Callable[[bytes], bytes]] = {
    0: lambda octets: octets,
    1: lambda octets: hashlib.sha256(octets).digest(),
    2: lambda octets: hashlib.sha512(octets).digest(),
}
#: Certificate usages that mail knows (RFC 7672 section 3.1).
DANE_TA, DANE_EE = 2, 3


class Record(Protocol):
    """A TLSA record (RFC 6698 section 2.1)."""

    @property
    def usage(self) -> int:
        """Which certificate of the chain it speaks of."""

    @property
    def selector(self) -> int:
        """Of which part of it: 0 all, 1 the public key."""

    @property
    def matching(self) -> int:
        """How that is written: 0 in full, 1 SHA-256, 2 SHA-512."""

    @property
    def data(self) -> bytes:
        """What it is."""


def is_usable(record: Record) -> bool:
    """Whether a record can be matched; usages 0 and 1 are of no use to mail (RFC 7672 section 3.1.3)."""
    return record.usage in (DANE_TA, DANE_EE) and record.selector in (0, 1) and record.matching in _MATCHING


@implementer(IOpenSSLClientConnectionCreator)
class Handshake:
    """
    One connection's TLS, to give to ``startTLS``; `judge` says afterwards whether the server is the right one.

    The handshake itself believes everybody, so that what is wrong can be told apart and nothing is lost.
    """

    def __init__(self, context: SSL.Context, host: str, judge: Callable[[Any, int], str]) -> None:
        self._context = context
        self._host = host
        self._judge = judge
        self._error = 0

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:  # noqa: N802  # Twisted's name
        """Make the TLS side of the connection, which asks for its host by name (SNI)."""
        connection = SSL.Connection(self._context, None)
        if self._host and not _is_ip(self._host):
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        connection.set_verify(SSL.VERIFY_PEER, self._heard)
        return connection

    def _heard(self, connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, fits: int) -> bool:
        if not fits and not self._error:
            self._error = error
        return True

    def judge(self, connection: Any) -> str:
        """Return ``""`` for the right server, else a result type of RFC 8460 section 4.3."""
        return self._judge(connection, self._error)


class ClientTLS:
    """Makes handshakes; `authorities` is a PEM file of those we believe, the system's when it is None."""

    def __init__(self, authorities: Path | None = None) -> None:
        # Where the alternative is no encryption at all, whatever OpenSSL is ready to speak is better (RFC 7435).
        self._any = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._strict = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._strict.set_min_proto_version(SSL.TLS1_2_VERSION)
        for context in (self._any, self._strict):
            if authorities is None:
                context.set_default_verify_paths()
            else:
                context.load_verify_locations(str(authorities))
            context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)

    def with_anybody(self, host: str, strict: bool) -> Handshake:
        """Encrypt, whoever it is; `strict` leaves old versions of TLS out."""
        return Handshake(self._strict if strict else self._any, host, lambda connection, error: "")

    def with_named(self, host: str, names: Sequence[str]) -> Handshake:
        """Believe a certificate of a known authority that has one of `names`."""
        return Handshake(self._strict, host, lambda connection, error: _judge(connection, error, names))

    def with_watched(self, host: str, names: Sequence[str]) -> Handshake:
        """Encrypt, whoever it is, and judge as `with_named` does; without `names` nobody is right."""
        return Handshake(
            self._any, host, lambda connection, error: _judge(connection, error, names) if names else NOT_VALID
        )

    def with_pinned(self, host: str, names: Sequence[str], records: Sequence[Record]) -> Handshake:
        """
        Believe what TLSA records say (RFC 7672 section 3.1); `names` count for trust anchors alone.

        Records of which none can be used ask for encryption and no more (section 2.2).
        """
        usable = [record for record in records if is_usable(record)]
        if not usable:
            return self.with_anybody(host, strict=True)
        return Handshake(self._strict, host, lambda connection, error: _match(connection, names, usable))


# ---------------------------------------------------------------- matching


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _judge(connection: Any, error: int, names: Sequence[str]) -> str:
    if error:
        return _ERRORS.get(error, NOT_VALID)
    return "" if _has_name(connection, names) else WRONG_HOST


def _has_name(connection: Any, names: Sequence[str]) -> bool:
    """Whether the certificate has one of the names (RFC 6125 section 6.4; one wildcard label at the left)."""
    for name in names:
        verify = verify_ip_address if _is_ip(name) else verify_hostname
        try:
            verify(connection, name)
        except (VerificationError, ValueError):  # a certificate without any name, too
            continue
        return True
    return False


def _match(connection: Any, names: Sequence[str], records: Sequence[Record]) -> str:
    chain = connection.get_peer_cert_chain() or []
    if not chain:
        return NOT_VALID
    # RFC 7672 section 3.1.1: with DANE-EE neither names nor dates of the certificate matter.
    if any(record.usage == DANE_EE and _matches(record, chain[0]) for record in records):
        return ""
    anchors = [each for each in chain if any(r.usage == DANE_TA and _matches(r, each) for r in records)]
    anchors += [found for record in records if (found := _in_full(record)) is not None]
    if not anchors:
        return NOT_VALID
    if not any(_leads_to(anchor, chain) for anchor in anchors):
        return NOT_TRUSTED
    return "" if _has_name(connection, names) else WRONG_HOST


def _matches(record: Record, certificate: crypto.X509) -> bool:
    known = certificate.to_cryptography()
    if record.selector == 0:
        octets = known.public_bytes(Encoding.DER)
    else:
        octets = known.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _MATCHING[record.matching](octets) == record.data


def _in_full(record: Record) -> crypto.X509 | None:
    """Return the trust anchor that a record has in itself, which the server need not send (RFC 7671 section 5.2.2)."""
    if (record.usage, record.selector, record.matching) != (DANE_TA, 0, 0):
        return None
    try:
        return crypto.load_certificate(crypto.FILETYPE_ASN1, record.data)
    except crypto.Error:
        return None


def _leads_to(anchor: crypto.X509, chain: Sequence[crypto.X509]) -> bool:
    """Whether the first certificate is signed, through the others, by the anchor; no authority else counts."""
    store = crypto.X509Store()
    store.add_cert(anchor)
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    try:
        crypto.X509StoreContext(store, chain[0], list(chain[1:])).verify_certificate()
    except crypto.X509StoreContextError:
        return False
    return True
