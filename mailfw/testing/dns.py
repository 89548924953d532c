"""
A small name server for tests, over UDP and TCP: ``python -m mailfw.testing.dns ZONEFILE --port 5353``.

A zone is lines of a name, a type and the record, or the same as a mapping of names to lists of ``TYPE RECORD``::

    example.net             MX    10 mx.example.net.
    mx.example.net          A     127.0.0.2
    _25._tcp.mx.example.net TLSA  3 1 1 0b9f...
    quiet.example           MX    0 .
    broken.example          !     SERVFAIL
    mx.example.net          !     DROP AAAA
    signed.example          !     SECURE

A name ``*.example.net`` stands for all below it that are not named.  What has ``!`` for a type is how the server
misbehaves for that name, or for one type of it (see `MANNERS`); ``SECURE`` sets the AD bit, for the name alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol

#: Seconds of TTL of everything.
TTL = 300
#: Octets of an answer by UDP to somebody without EDNS (RFC 1035 section 4.2.1).
_SMALL = 512
#: How the server can misbehave.
MANNERS: Mapping[str, str] = {
    "SERVFAIL": "answers with that code; so do the next four",
    "REFUSED": "",
    "NOTIMP": "",
    "FORMERR": "",
    "NXDOMAIN": "",
    "DROP": "says nothing",
    "TRUNCATE": "answers over UDP that it does not fit, so that TCP is tried",
    "TRUNCATE-DROP": "the same, and says nothing over TCP",
    "GARBAGE": "answers with octets that are no message, but for the header",
    "SHORT": "answers with less than a header",
    "OTHER-ID": "answers with another id, then rightly",
    "OTHER-QUESTION": "answers another question, then rightly",
    "ONLY-OTHER": "answers another question, and never rightly",
    "NO-EDNS": "answers FORMERR to whoever uses EDNS",
    "REFERRAL": "points to other name servers, as one that does not recurse",
    "HUGE": "answers with more than anybody wants, over TCP",
    "NO-SOA": "leaves the SOA out where there is nothing",
    "SECURE": "sets the AD bit",
}

Zone = Mapping[str, Sequence[str]]
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question that came in: `transport` is ``udp`` or ``tcp``."""

    name: str
    kind: str
    transport: str


def parse_zone(text: str) -> dict[str, list[str]]:
    """Read a zone's lines; ``#`` begins a comment.  Raises `ValueError` with the number of a bad line."""
    zone: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split(None, 1)
        if not words:
            continue
        if len(words) < 2:
            raise ValueError(f"line {number}: write NAME TYPE RECORD")
        zone.setdefault(words[0], []).append(words[1].strip())
    return zone


class DNSServer:
    """
    Serves a zone on a loopback address: over UDP and TCP, on the same port.

    ``await start()`` before and ``await stop()`` after use; then `address` is what a resolver is told.  `asked` is
    every question, in order.  `put` changes the zone while it runs.
    """

    def __init__(
        self, zone: Zone | str = "", *, reactor: Any = None, interface: str = "127.0.0.1", port: int = 0
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self._interface = interface
        self.port = port
        self.asked: list[Asked] = []
        self._records: dict[_Key, list[dns.rdata.Rdata]] = {}
        self._manners: dict[_Key, str] = {}
        self._secure: set[_Key] = set()
        self._names: set[str] = set()
        self._open: list[Any] = []
        for name, records in (parse_zone(zone) if isinstance(zone, str) else zone).items():
            self.put(name, *records)

    @property
    def address(self) -> str:
        """What a resolver's option `servers` takes."""
        return f"[{self._interface}]:{self.port}" if ":" in self._interface else f"{self._interface}:{self.port}"

    def put(self, name: str, *records: str) -> None:
        """Replace what is known of a name; without records it is gone.  Raises `ValueError`."""
        name = name.lower().rstrip(".")
        self._names.discard(name)
        self._secure = {key for key in self._secure if key[0] != name}
        for known in (self._records, self._manners):
            for key in [key for key in known if key[0] == name]:
                del known[key]
        for record in records:
            self._names.add(name)
            self._put(name, record)

    def _put(self, name: str, record: str) -> None:
        kind, _, value = record.partition(" ")
        if kind == "!":
            manner, _, only = value.strip().partition(" ")
            if manner not in MANNERS:
                raise ValueError(f"{name}: nobody behaves like {manner!r}; there is {', '.join(MANNERS)}")
            if manner == "SECURE":
                self._secure.add((name, only.strip()))
            else:
                self._manners[name, only.strip()] = manner
            return
        try:
            rdata = dns.rdata.from_text(dns.rdataclass.IN, kind, value.strip(), origin=dns.name.root, relativize=False)
        except dns.exception.DNSException as broken:
            raise ValueError(f"{name}: {record!r}: {broken}") from broken
        self._records.setdefault((name, kind.upper()), []).append(rdata)

    async def start(self) -> None:
        """Open the ports.  With port 0 the system picks one that is free for both."""
        for attempt in range(20):
            udp = self._reactor.listenUDP(self.port, _Datagrams(self), self._interface, 4096)
            try:
                tcp = self._reactor.listenTCP(udp.getHost().port, _Streams(self), interface=self._interface)
            except CannotListenError:
                await maybeDeferred(udp.stopListening)
                if self.port or attempt == 19:
                    raise
                continue
            self._open = [udp, tcp]
            self.port = udp.getHost().port
            return

    async def stop(self) -> None:
        """Close the ports; `start` opens the same again."""
        ports, self._open = self._open, []
        for port in ports:
            await maybeDeferred(port.stopListening)

    # ------------------------------------------------------------ answering

    def answer(self, octets: bytes, transport: str) -> Iterator[bytes]:
        """Yield what is said to a query: nothing, one answer, or something else before it."""
        try:
            query = dns.message.from_wire(octets)
            [question] = query.question
        except (dns.exception.DNSException, ValueError):
            return
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(Asked(name, kind, transport))
        manner = self._lookup(self._manners, name, kind) or ""
        yield from self._behave(manner, query, name, kind, transport)

    def _behave(self, manner: str, query: dns.message.Message, name: str, kind: str, transport: str) -> Iterator[bytes]:
        reply = self._reply(query, name, kind, manner)
        right = self._fit(reply, query, transport)
        if manner == "DROP" or (manner == "TRUNCATE-DROP" and transport == "tcp"):
            return
        if manner in ("GARBAGE", "SHORT"):
            yield right[:5] if manner == "SHORT" else right[:12] + b"\xff" * 30
            return
        if manner == "HUGE" and transport == "tcp":
            yield right.ljust(60_000, b"\0")
            return
        if manner in ("TRUNCATE", "TRUNCATE-DROP", "HUGE") and transport == "udp":
            yield _truncated(query)
            return
        if manner == "OTHER-ID":
            yield bytes([right[0] ^ 0xFF]) + right[1:]
        if manner in ("OTHER-QUESTION", "ONLY-OTHER"):
            other = dns.message.make_query("other.example", "A", id=query.id)
            yield self._reply(other, "other.example", "A", "").to_wire()
        if manner != "ONLY-OTHER":
            yield right

    def _reply(self, query: dns.message.Message, name: str, kind: str, manner: str) -> dns.message.Message:
        reply = dns.message.make_response(query, recursion_available=manner != "REFERRAL")
        if manner == "REFERRAL":
            reply.authority.append(dns.rrset.from_text(".", TTL, "IN", "NS", "ns.example."))
            return reply
        if manner in ("SERVFAIL", "REFUSED", "NOTIMP", "FORMERR") or (manner == "NO-EDNS" and query.edns >= 0):
            reply.set_rcode(dns.rcode.from_text("FORMERR" if manner == "NO-EDNS" else manner))
            return reply
        reply.flags |= dns.flags.AA
        if self._is_secure(name, kind) and (query.flags & dns.flags.AD or query.ednsflags & dns.flags.DO):
            reply.flags |= dns.flags.AD
        exists = self._fill(reply, name, kind)
        if manner == "NXDOMAIN" or not exists:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        if manner != "NO-SOA" and not any(each.rdtype == dns.rdatatype.from_text(kind) for each in reply.answer):
            soa = "ns.example. hostmaster.example. 1 3600 600 86400 60"
            reply.authority.append(dns.rrset.from_text("example.", TTL, "IN", "SOA", soa))
        return reply

    def _fill(self, reply: dns.message.Message, name: str, kind: str) -> bool:
        """Add the records, along CNAMEs, twice round a loop; return whether the last name exists."""
        for _ in range(20):
            found = self._lookup(self._records, name, kind)
            alias = None if found or kind == "CNAME" else self._lookup(self._records, name, "CNAME")
            if alias is None:
                if found:
                    reply.answer.append(dns.rrset.from_rdata_list(dns.name.from_text(name), TTL, found))
                return self._exists(name)
            owner = dns.name.from_text(name)
            if reply.get_rrset(reply.answer, owner, dns.rdataclass.IN, dns.rdatatype.CNAME) is not None:
                return True
            reply.answer.append(dns.rrset.from_rdata_list(owner, TTL, alias))
            name = alias[0].to_text().lower().rstrip(".")
        return True

    def _lookup(self, known: Mapping[_Key, Any], name: str, kind: str) -> Any:
        wild = "" if name in self._names else "*." + name.partition(".")[2]
        for key in ((name, kind), (name, ""), (wild, kind), (wild, "")):
            if key in known:
                return known[key]
        return None

    def _exists(self, name: str) -> bool:
        below = f".{name}"
        return "*." + name.partition(".")[2] in self._names or any(
            known == name or known.endswith(below) for known in self._names
        )

    def _is_secure(self, name: str, kind: str) -> bool:
        return (name, kind) in self._secure or (name, "") in self._secure

    def _fit(self, reply: dns.message.Message, query: dns.message.Message, transport: str) -> bytes:
        octets = reply.to_wire(max_size=65_535)
        room = 65_535 if transport == "tcp" else max(query.payload, _SMALL)
        return octets if len(octets) <= room else _truncated(query)


def _truncated(query: dns.message.Message) -> bytes:
    reply = dns.message.make_response(query, recursion_available=True)
    reply.flags |= dns.flags.TC
    return reply.to_wire()


class _Datagrams(DatagramProtocol):
    def __init__(self, server: DNSServer) -> None:
        self._server = server

    def datagramReceived(self, octets: bytes, addr: Any) -> None:  # noqa: N802  # Twisted's name
        for answer in self._server.answer(octets, "udp"):
            assert self.transport is not None
            self.transport.write(answer, addr)


class _Streams(Factory):
    noisy = False

    def __init__(self, server: DNSServer) -> None:
        self._server = server

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _Stream(self._server)


class _Stream(Protocol):
    def __init__(self, server: DNSServer) -> None:
        self._server = server
        self._received = b""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self._received += data
        while len(self._received) >= 2:
            length = int.from_bytes(self._received[:2], "big")
            if len(self._received) < 2 + length:
                return
            query, self._received = self._received[2 : 2 + length], self._received[2 + length :]
            for answer in self._server.answer(query, "tcp"):
                self.transport.write(len(answer).to_bytes(2, "big") + answer)


def main(arguments: Sequence[str]) -> int:
    """Serve a zone file until interrupted."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    parser = argparse.ArgumentParser(prog="python -m mailfw.testing.dns", description="A name server for tests.")
    parser.add_argument("zone", type=Path, help="a file of lines NAME TYPE RECORD")
    parser.add_argument("--interface", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0: one that is free, which is printed")
    given = parser.parse_args(arguments)
    try:
        server = DNSServer(given.zone.read_text("utf-8"), reactor=reactor, interface=given.interface, port=given.port)
    except (ValueError, OSError) as reason:
        parser.error(f"{given.zone}: {reason}")
    loop: Any = reactor
    failed: list[Any] = []

    def refuse(failure: Any) -> None:
        failed.append(failure.value)
        loop.stop()

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def begin() -> None:
        started = Deferred.fromCoroutine(server.start())
        started.addCallbacks(lambda _: say(f"Listening on {server.address}"), refuse)

    loop.callWhenRunning(begin)
    loop.run()
    if failed:
        say(str(failed[0]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
