"""The header of the PROXY protocol, version 1 and 2, and nothing that only looks like one."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.wire.proxy import ProxyHeader, ProxyRefused, parse_proxy

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = socket.inet_aton("203.0.113.9") + socket.inet_aton("192.0.2.1") + struct.pack(">HH", 4711, 25)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::9") * 2 + struct.pack(">HH", 4711, 25)


def v2(command: int, family: int, told: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(told) if length is None else length) + told


GOOD = [
    (b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 25\r\n", ("203.0.113.9", 4711)),
    (b"PROXY TCP6 2001:DB8::9 2001:db8::1 0 65535\r\n", ("2001:db8::9", 0)),
    (
        b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n",
        (":".join(["ffff"] * 8), 65535),
    ),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN anything 1 2\r\n", None),
    (v2(0x21, 0x11, V4), ("203.0.113.9", 4711)),
    (v2(0x21, 0x21, V6), ("2001:db8::9", 4711)),
    (v2(0x21, 0x31, b"\0" * 216), None),
    (v2(0x21, 0x00, b""), None),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, V4), None),
    (v2(0x21, 0x11, V4 + b"\x04\0\x03abc\x02\0\0"), ("203.0.113.9", 4711)),
]
BAD = [
    b"EHLO a\r\n",
    b"PROXX",
    b"proxy TCP4 203.0.113.9 192.0.2.1 4711 25\r\n",
    b"PROXY TCP4 203.0.113.9 192.0.2.1 4711\r\n",
    b"PROXY  TCP4 203.0.113.9 192.0.2.1 4711 25\r\n",
    b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 25 \r\n",
    b"PROXY TCP4 203.0.113.9 192.0.2.1 04711 25\r\n",
    b"PROXY TCP4 203.0.113.9 192.0.2.1 65536 25\r\n",
    b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 65536\r\n",
    b"PROXY TCP4 203.0.113.256 192.0.2.1 4711 25\r\n",
    b"PROXY TCP4 203.0.113.09 192.0.2.1 4711 25\r\n",
    b"PROXY TCP4 2001:db8::9 192.0.2.1 4711 25\r\n",
    b"PROXY TCP6 203.0.113.9 2001:db8::1 4711 25\r\n",
    b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 25\nEHLO a\r\n",
    b"PROXY UDP4 203.0.113.9 192.0.2.1 4711 25\r\n",
    b"PROXY UNKNOWN" + b"x" * 100,
    b"PROXY \r\n",
    v2(0x11, 0x11, V4),
    v2(0x22, 0x11, V4),
    v2(0x21, 0x12, V4),
    v2(0x21, 0x41, V4),
    v2(0x21, 0x11, V4[:11]),
    v2(0x21, 0x21, V4),
    v2(0x21, 0x11, V4 + b"\x04\0\x04abc"),
    v2(0x21, 0x11, V4 + b"\x04"),
    v2(0x21, 0x11, b"", 4097),
    SIGNATURE[:-1] + b"X",
]


class ParseTests(SynchronousTestCase):
    def test_good(self) -> None:
        for octets, source in GOOD:
            for rest in (b"", b"EHLO a\r\n", b"\0"):
                self.assertEqual(parse_proxy(octets + rest), ProxyHeader(len(octets), source))
            for cut in range(len(octets)):
                self.assertIsNone(parse_proxy(octets[:cut]), octets)

    def test_bad(self) -> None:
        for octets in BAD:
            self.assertRaises(ProxyRefused, parse_proxy, octets)

    def test_longest_line(self) -> None:
        self.assertEqual(parse_proxy(b"PROXY UNKNOWN ".ljust(105, b"x") + b"\r\n"), ProxyHeader(107))
        self.assertRaises(ProxyRefused, parse_proxy, b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n")

    @given(st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"]), st.binary(max_size=80))
    def test_nothing_else_is_raised(self, begun: bytes, octets: bytes) -> None:
        try:
            header = parse_proxy(begun + octets)
        except ProxyRefused:
            return
        self.assertTrue(header is None or header.length <= len(begun + octets))
