"""Which servers are asked, and what this machine knows without asking."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

#: RFC 1035 section 4.2.
PORT = 53
RESOLV_CONF = Path("/etc/resolv.conf")
HOSTS = Path("/etc/hosts")
#: Seconds after which the machine's files are read again.
_READ_AGAIN = 60.0
#: Octets of such a file that are looked at.
_LONGEST_FILE = 1_000_000


@dataclass(frozen=True, slots=True)
class Server:
    """One name server; `trusted` says that its AD bit is believed."""

    host: str
    port: int = PORT
    trusted: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORT else f"{host}:{self.port}"


class Trust:
    """The networks whose servers' AD bit is believed.  Raises `ValueError` for what is no network."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(text, strict=False) for text in networks]

    def __contains__(self, host: str) -> bool:
        address = ipaddress.ip_address(host.partition("%")[0])
        return any(address in network for network in self._networks)


def read_server(text: str, trust: Trust) -> Server:
    """Read ``192.0.2.1``, ``192.0.2.1:5353``, ``::1``, ``[::1]`` or ``[::1]:5353``.  Raises `ValueError`."""
    host, port = text.strip(), ""
    if host.startswith("["):
        host, closed, port = host[1:].partition("]")
        host = host if closed else ""
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
        port = f":{port}"
    digits = port.removeprefix(":")
    try:
        ipaddress.ip_address(host.partition("%")[0])
        if port and not (port[0] == ":" and digits.isdecimal() and digits.isascii() and 0 < int(digits) < 65_536):
            raise ValueError
    except ValueError:
        raise ValueError(f"{text!r} is no name server: write an address, or address:port ([address]:port for IPv6)")
    return Server(host, int(digits or PORT), host in trust)


def read_resolv_conf(text: str, trust: Trust) -> list[Server]:
    """Return the servers of a ``resolv.conf``; without one it is the machine itself (resolv.conf(5))."""
    servers = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                servers.append(read_server(words[1], trust))
            except ValueError:
                continue
    return servers or [read_server("127.0.0.1", trust)]


def read_hosts(text: str) -> dict[str, list[str]]:
    """Return the addresses of each name in a hosts(5) file; names in lower case."""
    hosts: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        try:
            ipaddress.ip_address(address)
        except ValueError:
            continue
        for name in names:
            hosts.setdefault(name.lower().rstrip("."), []).append(address)
    return hosts


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_FILE).decode("utf-8", "replace")
    except OSError:
        return ""


@dataclass(slots=True)
class Machine:
    """
    What the machine's files say, read once a minute in a thread.

    `given` servers take the place of those in ``resolv.conf``.  One that did not answer is asked last from then on.
    """

    reactor: Any
    trust: Trust
    given: Sequence[Server] = ()
    resolv_conf: Path = RESOLV_CONF
    hosts_file: Path = HOSTS
    hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _servers: list[Server] = field(default_factory=list)
    _read_at: float | None = None
    _waiting: list[Deferred[None]] | None = None

    async def servers(self) -> list[Server]:
        """Return whom to ask, in order; `hosts` is fresh then too."""
        if self._waiting is not None:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting
        elif self._read_at is None or self.reactor.seconds() - self._read_at > _READ_AGAIN:
            self._waiting = []
            try:
                await self._read_files()
            finally:
                self._read_at = self.reactor.seconds()
                others, self._waiting = self._waiting, None
                for each in others:
                    each.callback(None)
        return list(self._servers)

    async def _read_files(self) -> None:
        pool = self.reactor.getThreadPool()
        self.hosts = read_hosts(await deferToThreadPool(self.reactor, pool, _read, self.hosts_file))
        servers = list(self.given)
        if not servers:
            text = await deferToThreadPool(self.reactor, pool, _read, self.resolv_conf)
            servers = read_resolv_conf(text, self.trust)
        if set(servers) != set(self._servers):
            self._servers = servers

    def demote(self, server: Server) -> None:
        """Ask this one last from now on."""
        if server in self._servers:
            self._servers.remove(server)
            self._servers.append(server)
