"""The networks that clients come from."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=4096)  # a client is asked about several times in each session, and comes again
def read_ip(text: str) -> IPAddress | None:
    """Return a client's address, IPv4 in IPv6 as IPv4; None for a UNIX socket or what is no IP address."""
    if not text:
        return None
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_name(text: str) -> str:
    """
    Return the name under which a client is counted: its IPv4 address, also in IPv6, or its /64 of IPv6.

    One customer has a whole /64 at least (RFC 6177 section 2).  What is no IP address is returned as it is.
    """
    if ":" not in text:
        return text
    address = read_ip(text)
    if address is None:
        return text
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


class Networks:
    """IP addresses and networks in CIDR notation.  Raises `ValueError` for one that is neither."""

    def __init__(self, written: Sequence[str] = ()) -> None:
        networks = [ipaddress.ip_network(text.strip(), strict=False) for text in written]
        self._addresses = {network.network_address for network in networks if network.num_addresses == 1}
        self._networks = [network for network in networks if network.num_addresses > 1]

    def __bool__(self) -> bool:
        return bool(self._addresses or self._networks)

    def __contains__(self, address: IPAddress) -> bool:
        return address in self._addresses or any(address in network for network in self._networks)

    def have(self, text: str) -> bool:
        """Whether a client's address, as text, is in one of them; a UNIX socket (``""``) is in none."""
        if not (self._addresses or self._networks):
            return False
        address = read_ip(text)
        return address is not None and address in self
