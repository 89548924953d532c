"""The server's certificates: one object behind implicit TLS and STARTTLS, which notices when they are renewed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from mailfw.tls.clients import AskingForCertificates

log = Logger()

#: Seconds between two looks at the files.
CHECK_INTERVAL = 60.0


class CertificateRefused(Exception):
    """A certificate or key cannot be used; the text names the file."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Two PEM files: a certificate with its chain, and its private key; `name` is its folder's, if it has one."""

    certificate: Path
    key: Path
    name: str = ""

    def stamp(self) -> tuple[object, ...]:
        """Return what changes when a file is replaced; a file that is missing is a stamp too."""
        return tuple(_stamp(path) for path in (self.certificate, self.key))


def _stamp(path: Path) -> object:
    try:
        status = path.stat()  # follows certbot's symbolic links
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def pairs_in(directory: Path) -> list[KeyPair]:
    """Return the pair in each folder, as certbot names the files; folders that have none are passed over."""
    try:
        folders = sorted(folder for folder in directory.iterdir() if folder.is_dir())
    except OSError as reason:
        raise CertificateRefused(f"{directory}: {reason.strerror}") from reason
    pairs = [KeyPair(folder / "fullchain.pem", folder / "privkey.pem", folder.name) for folder in folders]
    return [pair for pair in pairs if pair.certificate.exists()]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A pair made ready for connections, and the names it may be used for, lower case."""

    context: SSL.Context
    names: frozenset[str]


def load(pair: KeyPair) -> Loaded:
    """Load a pair, for TLS 1.2 and later.  Raises `CertificateRefused`."""
    chain = _read_chain(pair.certificate)
    try:
        key = serialization.load_pem_private_key(_read(pair.key), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateRefused(f"{pair.key}: no private key in PEM format (or one with a passphrase)")
    if chain[0].public_key() != key.public_key():
        raise CertificateRefused(f"{pair.key}: not the key of the certificate in {pair.certificate}")
    first, *others = [crypto.X509.from_cryptography(each) for each in chain]
    options = CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(cast("Any", key)),
        certificate=first,
        extraCertChain=others,
        raiseMinimumTo=TLSVersion.TLSv1_2,
    )
    return Loaded(options.getContext(), _names_of(chain[0]) | ({pair.name.lower()} - {""}))


def _trust(context: SSL.Context, authorities: Iterable[x509.Certificate]) -> None:
    """Have a context verify what these have signed, and name them to clients that choose among certificates."""
    store = context.get_cert_store()
    for each in authorities:
        certificate = crypto.X509.from_cryptography(each)
        if store is not None:
            store.add_cert(certificate)
        context.add_client_ca(certificate)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as reason:
        raise CertificateRefused(f"{path}: {reason.strerror}") from reason


def _read_chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError:
        raise CertificateRefused(f"{path}: no certificate in PEM format")


def _names_of(certificate: x509.Certificate) -> frozenset[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """
    Gives each connection the certificate of the name it asks for (SNI, RFC 6066 section 3), else the default.

    The default is `pair` where one is given, else the one in `directory` for `hostname`, else the first there.
    Made once: `TLSMemoryBIOFactory` and `startTLS` both take it.  `authorities` is a PEM file of those that sign the
    certificates of clients; `for_clients` asks for these.
    """

    def __init__(
        self,
        hostname: str,
        pair: KeyPair | None = None,
        directory: Path | None = None,
        authorities: Path | None = None,
    ) -> None:
        self._hostname = hostname
        self._pair = pair
        self._directory = directory
        self._authorities = authorities
        self._stamps: dict[object, object] = {}
        self._by_name: dict[str, SSL.Context] = {}
        self._default: SSL.Context
        self._timer: LoopingCall | None = None
        self.load()

    def load(self) -> None:
        """Load everything anew, or nothing.  Raises `CertificateRefused`."""
        pairs, stamps = self._pairs(), self._stamp()
        authorities = _read_chain(self._authorities) if self._authorities else []
        loaded = [load(pair) for pair in pairs]
        if not loaded:
            raise CertificateRefused(f"{self._directory}: no folder with a fullchain.pem and a privkey.pem")
        by_name: dict[str, SSL.Context] = {}
        for each in loaded:
            each.context.set_tlsext_servername_callback(self._choose)
            _trust(each.context, authorities)
            for name in each.names:
                by_name.setdefault(name, each.context)
        self._by_name, self._stamps = by_name, stamps
        self._default = loaded[0].context if self._pair else self._find(self._hostname) or loaded[0].context

    def for_clients(self) -> Certificates | AskingForCertificates:
        """Return what also asks clients for a certificate, where there are authorities to verify one."""
        return AskingForCertificates(lambda: self._default) if self._authorities else self

    def _stamp(self) -> dict[object, object]:
        """Return what changes when any file does."""
        stamps: dict[object, object] = {pair: pair.stamp() for pair in self._pairs()}
        return stamps | ({self._authorities: _stamp(self._authorities)} if self._authorities else {})

    def _pairs(self) -> Iterable[KeyPair]:
        named = [self._pair] if self._pair else []
        return named + (pairs_in(self._directory) if self._directory else [])

    def _find(self, name: str) -> SSL.Context | None:
        """Look a name up, then its wildcard (RFC 6125 section 6.4.3: one label)."""
        return self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2])

    def _choose(self, connection: SSL.Connection) -> None:
        asked = connection.get_servername()
        context = self._find(asked.decode("ascii", "replace").lower()) if asked else None
        if context is not None:
            connection.set_context(context)

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """Make the TLS side of one connection."""
        return SSL.Connection(self._default, None)

    def watch(self, clock: Any) -> None:
        """Look at the files from time to time until `stop`."""
        self._timer = LoopingCall(self.refresh)
        self._timer.clock = clock
        self._timer.start(CHECK_INTERVAL, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None and self._timer.running:
            self._timer.stop()

    def refresh(self) -> None:
        """Load again if a file has changed; what cannot be used is logged, and what was loaded stays."""
        try:
            if self._stamp() != self._stamps:
                self.load()
                log.info("Certificates loaded again for {names}", names=sorted(self._by_name))
        except CertificateRefused as reason:
            log.error("Certificates stay as they were: {reason}", reason=str(reason))
