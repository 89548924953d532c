"""Client certificates: asked for, never required, and believed only when an authority of ours has signed them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

#: Names taken from one certificate; each may cost a look at the accounts.
MOST_NAMES = 16


class AskingConnection(SSL.Connection):
    """
    A server's side of TLS that asks its client for a certificate.

    One that nobody vouches for does not end the handshake: its owner may still have a password.
    """

    def __init__(self, context: SSL.Context) -> None:
        super().__init__(context, None)
        self.is_trusted = True
        self._names: tuple[str, ...] | None = None
        self.set_verify(SSL.VERIFY_PEER, _judge)

    def client_names(self) -> tuple[str, ...]:
        """Return what a verified certificate calls its owner, once the handshake is done; nothing without one."""
        if self._names is None:
            certificate = self.get_peer_certificate() if self.is_trusted else None
            self._names = names_in(certificate.to_cryptography()) if certificate is not None else ()
        return self._names


def _judge(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, fits: int) -> bool:
    """Hear what OpenSSL thinks of each certificate of the chain."""
    if not fits:
        assert isinstance(connection, AskingConnection)
        connection.is_trusted = False
    return True


def names_in(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the mail addresses of a certificate's owner: of the best kind there is, else his common name."""
    try:
        found = _alternative_addresses(certificate)
        for kind in (NameOID.EMAIL_ADDRESS, NameOID.COMMON_NAME):
            found = found or [str(each.value) for each in certificate.subject.get_attributes_for_oid(kind)]
    except (ValueError, x509.DuplicateExtension):
        return ()  # signed by an authority of ours, and still not well formed
    return tuple(name for name in found if name)[:MOST_NAMES]


def _alternative_addresses(certificate: x509.Certificate) -> list[str]:
    """Return each rfc822Name (RFC 5280 section 4.2.1.6)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.RFC822Name)


@implementer(IOpenSSLServerConnectionCreator)
class AskingForCertificates:
    """Makes connections that ask their clients for a certificate, with the context that `choose` returns."""

    def __init__(self, choose: Callable[[], SSL.Context]) -> None:
        self._choose = choose

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """Make the TLS side of one connection."""
        return AskingConnection(self._choose())
