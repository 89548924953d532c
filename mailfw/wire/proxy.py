"""
The header that a proxy puts before a connection to say whose it is: the PROXY protocol of HAProxy, versions 1 and 2.

Sections are those of https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

#: Section 2.1: 107 octets are enough for any header of version 1, its CRLF among them.
V1_LIMIT = 107
#: What may follow the sixteen octets of version 2: 216 for the longest addresses, the rest for what else proxies tell.
V2_LIMIT = 4096

_V1 = b"PROXY "
#: Section 2.2: what begins no line of any text protocol.
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED = 16

# "PROXY" SP ("TCP4" / "TCP6") SP source SP destination SP port SP port CRLF                          section 2.1
_LINE = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]{2,39}) ([0-9A-Fa-f:.]{2,39}) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n"
)
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [\x20-\x7e]*)?\r\n")

#: Octets of the addresses of a family; the low four bits say how they are spoken to, 1 is a stream.  Section 2.2.
_UNSPECIFIED, _INET, _INET6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESSES = {_UNSPECIFIED: 0, _INET: 12, _INET6: 36, _UNIX: 216}


class ProxyRefused(Exception):
    """What came is no header of the PROXY protocol."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """
    A header of `length` octets; `source` is the client's address and port.

    It is None where the proxy speaks for itself (health checks: ``LOCAL``, ``UNKNOWN``) or has none to tell.
    """

    length: int
    source: tuple[str, int] | None = None


def parse_proxy(octets: bytes) -> ProxyHeader | None:
    """Read the header that `octets` begin with, None where there is not enough of it yet.  Raises `ProxyRefused`."""
    if octets.startswith(_V1[: len(octets)]):
        return _parse_v1(octets)
    if octets.startswith(_V2[: len(octets)]):
        return _parse_v2(octets)
    raise ProxyRefused("No signature")


def _parse_v1(octets: bytes) -> ProxyHeader | None:
    end = octets.find(b"\r\n", 0, V1_LIMIT)
    if end < 0:
        if len(octets) >= V1_LIMIT:
            raise ProxyRefused("Line too long")
        return None
    line = octets[: end + 2]
    if _UNKNOWN.fullmatch(line):
        return ProxyHeader(len(line))
    match = _LINE.fullmatch(line)
    if match is None:
        raise ProxyRefused("Not a PROXY line")
    version = 4 if match[1] == b"TCP4" else 6
    source, _ = _address(match[2], version), _address(match[3], version)
    port, _ = _port(match[4]), _port(match[5])
    return ProxyHeader(len(line), (source, port))


def _address(text: bytes, version: int) -> str:
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        raise ProxyRefused("Not an address")
    if address.version != version:
        raise ProxyRefused("An address of another family")
    return str(address)


def _port(text: bytes) -> int:
    if int(text) > 65535:
        raise ProxyRefused("Not a port")
    return int(text)


def _parse_v2(octets: bytes) -> ProxyHeader | None:
    if len(octets) < _V2_FIXED:
        return None
    version, command, family = octets[12] >> 4, octets[12] & 15, octets[13]
    length = int.from_bytes(octets[14:16], "big")
    if version != 2 or command > 1 or family not in _ADDRESSES or length > V2_LIMIT:
        raise ProxyRefused("Not a header of version 2 for a stream")
    if len(octets) < _V2_FIXED + length:
        return None
    if command == 0:  # LOCAL: whatever else is said is to be passed over
        return ProxyHeader(_V2_FIXED + length)
    told = octets[_V2_FIXED : _V2_FIXED + length]
    if length < _ADDRESSES[family]:
        raise ProxyRefused("Addresses cut short")
    _check_vectors(told[_ADDRESSES[family] :])
    return ProxyHeader(_V2_FIXED + length, _source(family, told))


def _source(family: int, told: bytes) -> tuple[str, int] | None:
    if family == _INET:
        return str(ipaddress.IPv4Address(told[:4])), int.from_bytes(told[8:10], "big")
    if family == _INET6:
        return str(ipaddress.IPv6Address(told[:16])), int.from_bytes(told[32:34], "big")
    return None


def _check_vectors(vectors: bytes) -> None:
    """Refuse type-length-values (section 2.2) that do not end where the header does."""
    while vectors:
        end = 3 + int.from_bytes(vectors[1:3], "big")
        if len(vectors) < end:
            raise ProxyRefused("A value cut short")
        vectors = vectors[end:]
