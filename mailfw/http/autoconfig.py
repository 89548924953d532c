"""Thunderbird's autoconfiguration, built from what listens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

#: What a client may use, best first: service, kind of server, its protocol's name, and how it is secured.
OFFERS = (
    ("imaps", "incomingServer", "imap", "SSL"),
    ("imap", "incomingServer", "imap", "STARTTLS"),
    ("pop3s", "incomingServer", "pop3", "SSL"),
    ("pop3", "incomingServer", "pop3", "STARTTLS"),
    ("submissions", "outgoingServer", "smtp", "SSL"),
    ("submission", "outgoingServer", "smtp", "STARTTLS"),
)


@dataclass(frozen=True, slots=True)
class Listener:
    """One open port: its key in ``[listen]``, and where it is; a UNIX socket has its path as `host`, and no port."""

    service: str
    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def autoconfig(hostname: str, domains: Sequence[str], listeners: Iterable[Listener]) -> bytes:
    """Return a ``config-v1.1.xml``."""
    open_ports = list(listeners)
    root = ET.Element("clientConfig", version="1.1")
    provider = ET.SubElement(root, "emailProvider", id=domains[0])
    for domain in domains:
        _add(provider, "domain", domain)
    _add(provider, "displayName", hostname)
    for service, kind, protocol, security in OFFERS:
        for listener in open_ports:
            if listener.service == service and listener.port:
                _offer(ET.SubElement(provider, kind, type=protocol), hostname, listener.port, security)
    octets: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return octets


def _offer(server: ET.Element, hostname: str, port: int, security: str) -> None:
    _add(server, "hostname", hostname)
    _add(server, "port", str(port))
    _add(server, "socketType", security)
    _add(server, "username", "%EMAILADDRESS%")
    _add(server, "authentication", "password-cleartext")


def _add(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = text
