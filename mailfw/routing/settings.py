"""What a site decides about finding other servers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HopSettings:
    """
    What the configuration says of delivery to other servers.

    `port` is where they listen.  `listening` is where we do, as interface (``""``: all) and port: mail is not sent
    there.  `own_addresses` are ours too, in the eyes of others: behind a router that translates addresses.
    `allow_loopback` lets MX records lead to this machine, for tests.  `contact` is the address that TLS reports name.
    """

    port: int = 25
    listening: tuple[tuple[str, int], ...] = ()
    own_addresses: frozenset[str] = frozenset()
    allow_loopback: bool = False
    mta_sts: bool = True
    dane: bool = True
    tls_reports: bool = True
    contact: str = ""


def read_listening(endpoints: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """
    Return where Twisted's endpoint strings listen, as interface and port.

    A socket that systemd opens is taken for port 25 of every address; UNIX sockets are left out.
    """
    found = []
    for endpoint in endpoints:
        kind, *arguments = endpoint.removeprefix("haproxy:").replace("\\:", "\0").split(":")
        if kind in ("tcp", "tcp6", "ssl", "tls"):
            given = dict(each.split("=", 1) for each in arguments if "=" in each)
            port = given.get("port") or next((each for each in arguments if "=" not in each), "")
            interface = given.get("interface", "").replace("\0", ":").strip("[]")
            if port.isdecimal():
                found.append(("" if interface in ("0.0.0.0", "::") else interface, int(port)))  # noqa: S104  # a comparison
        elif kind == "systemd":
            found.append(("", 25))
    return tuple(found)
