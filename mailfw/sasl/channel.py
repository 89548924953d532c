"""What a mechanism may know of the connection it is used on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Channel:
    """
    A connection to one client.

    `bindings` is what both ends of its TLS know and nobody between them can, by the type of the binding; `names` are
    those of a verified client certificate.
    """

    secure: bool = False
    address: str = ""
    bindings: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    names: tuple[str, ...] = ()


def channel_of(stream: Any) -> Channel:
    """Return what there is to know of a `Stream` now."""
    address: str = stream.peer[0]
    if not stream.is_secure:
        return Channel(address=address)
    connection = stream.tls
    if connection is None:
        return Channel(True, address)
    client_names = getattr(connection, "client_names", tuple)  # only where a certificate is asked for
    return Channel(True, address, channel_bindings(connection, connection.get_certificate()), client_names())


def channel_bindings(connection: Any, certificate: Any) -> Mapping[str, bytes]:
    """
    Return the binding data of a pyOpenSSL connection, which is the server, once its handshake is over.

    `certificate` is the server's.  ``tls-unique`` is not for TLS 1.3 (RFC 9266 section 3), and ``tls-exporter`` not for
    what came before without conditions that cannot be seen from here (section 4.2).
    """
    # The client's Finished comes first, for no session is ever resumed (RFC 5929 section 3.1).
    finished = connection.get_peer_finished()
    if finished is None:
        return {}
    bindings: dict[str, bytes] = {}
    version = connection.get_protocol_version_name()
    if version == "TLSv1.3":
        bindings["tls-exporter"] = connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    elif version == "TLSv1.2":
        bindings["tls-unique"] = finished
    if certificate is not None and (fingerprint := end_point(certificate)) is not None:
        bindings["tls-server-end-point"] = fingerprint
    return bindings


def end_point(certificate: Any) -> bytes | None:
    """Hash a certificate with the hash function of its signature, None where that has none (RFC 5929 section 4.1)."""
    algorithm = certificate.to_cryptography().signature_hash_algorithm
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    return bytes.fromhex(certificate.digest(name).replace(b":", b"").decode("ascii"))
