"""Domains and addresses as routing compares them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

import idna

#: Domains that are not in the DNS: RFC 6761 sections 6.3 and 6.4, RFC 7686 section 2.
SPECIAL_USE = frozenset({"localhost", "invalid", "onion"})

_NO_NAME = re.compile(r"[\x00-\x20\x7f]")


def a_labels(domain: str) -> str:
    """Return a domain as the DNS has it (RFC 5891, with the mapping of UTS 46).  Raises `ValueError`."""
    labels = domain.lower() if domain.isascii() else _encoded(domain)
    # Spaces of other alphabets are mapped to one that no name can have.
    if _NO_NAME.search(labels) or len(labels) > 253 or not all(0 < len(label) < 64 for label in labels.split(".")):
        raise ValueError(f"{domain} is no domain name")  # RFC 1035 section 2.3.4
    return labels


def _encoded(domain: str) -> str:
    """Encode as RFC 5891 does; names that IDNA 2003 allowed, such as those of emoji, are still about."""
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as refused:
        try:
            return domain.encode("idna").decode("ascii")
        except UnicodeError:
            raise ValueError(f"{domain} is no domain name: {refused}") from refused


def is_special(domain: str) -> bool:
    """Whether no mail can be for this domain, whatever a name server says."""
    return domain.rpartition(".")[2] in SPECIAL_USE


def literal_address(domain: str) -> str | None:
    """Return the address in ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]`` (RFC 5321 section 4.1.3), else None."""
    if not (domain.startswith("[") and domain.endswith("]")):
        return None
    text = domain[1:-1]
    return ip_text(text[5:] if text[:5].lower() == "ipv6:" else text)


def ip_text(text: str) -> str | None:
    """Return an IP address in its usual form, None for what is none."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def is_public(address: str) -> bool:
    """Whether another machine can have this address: no loopback, nothing unspecified, multicast or reserved."""
    ip = ipaddress.ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    this_network = ip.version == 4 and int(ip) >> 24 == 0  # RFC 1122 section 3.2.1.3
    return not (ip.is_loopback or ip.is_unspecified or ip.is_multicast or ip.is_reserved or this_network)


def interleave(addresses: Iterable[str]) -> list[str]:
    """Put IPv6 and IPv4 in turn, IPv6 first: where one does not work, the other is tried soon (RFC 8305 section 4)."""
    known = list(dict.fromkeys(addresses))
    v6 = [each for each in known if ":" in each]
    v4 = [each for each in known if ":" not in each]
    pairs = zip(v6, v4, strict=False)
    both = min(len(v6), len(v4))
    return [each for pair in pairs for each in pair] + v6[both:] + v4[both:]
