"""The stub resolver: asks servers that recurse for us, and remembers what they said."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from mailfw.dns.cache import Cache
from mailfw.dns.codec import KINDS, LONGEST_CHAIN, Nonsense, Question, Refused
from mailfw.dns.exchange import NoAnswer, ask
from mailfw.dns.servers import Machine, Server, Trust, read_server
from mailfw.interfaces import IResolver
from mailfw.mail.lookup import Answer, Finding
from mailfw.site import Site
from mailfw.turns import Turns

log = Logger()

#: Questions under way at one time; others wait for their turn.
_MOST_AT_ONCE = 200
#: Times that a question is asked before we give up, at least and at most.
_FEWEST_TRIES, _MOST_TRIES = 3, 6


@implementer(IResolver)
class StubResolver:
    """
    Asks `servers` (``127.0.0.1``, ``192.0.2.1:5353``, ``[::1]:53``), by default those of ``/etc/resolv.conf``.

    The AD bit of a server in one of the networks `trust` is believed: whoever is on the way there can forge it, so
    only name servers on this machine, or behind a wire that is yours.  `timeout` is for each try, in seconds.  Names in
    ``/etc/hosts`` have the addresses it says.
    """

    def __init__(
        self,
        *,
        site: Site,
        servers: Sequence[str] = (),
        trust: Sequence[str] = ("127.0.0.0/8", "::1/128"),
        timeout: float = 3.0,
    ) -> None:
        trusted = Trust(trust)
        self._reactor = site.reactor
        self.machine = Machine(site.reactor, trusted, [read_server(text, trusted) for text in servers])
        self._timeout = timeout
        self._cache = Cache(site.reactor.seconds)
        self._turns = Turns(_MOST_AT_ONCE)
        self._under_way: dict[Question, list[Deferred[Answer[Any]]]] = {}

    async def look_up(self, name: str, kind: str) -> Answer[Any]:
        """Return what is known; never raises for what the network does."""
        if kind not in KINDS:
            raise ValueError(f"Nothing is known of {kind} records")
        question = Question(name.lower().removesuffix("."), kind)
        answer = self._cache.get(question) or _at_home(question)
        if answer is not None:
            return answer
        waiting: Deferred[Answer[Any]] = Deferred()
        others = self._under_way.get(question)
        if others is None:
            self._under_way[question] = [waiting]
            # Whoever stops waiting leaves the question to the others.
            Deferred.fromCoroutine(self._find_out(question)).addBoth(self._tell, question)
        else:
            others.append(waiting)
        return await waiting

    def _tell(self, answer: Any, question: Question) -> None:
        for waiting in self._under_way.pop(question):
            if not waiting.called:
                waiting.callback(answer)

    async def _find_out(self, question: Question) -> Answer[Any]:
        try:
            question.encode(0)
        except ValueError as impossible:
            return Answer(Finding.NO_NAME, name=question.name, why=str(impossible))
        servers = await self.machine.servers()
        known = self._from_hosts(question)
        if known is not None:
            return known
        async with self._turns:
            answer = await self._follow(question, servers)
        self._cache.put(question, answer)
        return answer

    def _from_hosts(self, question: Question) -> Answer[Any] | None:
        addresses = self.machine.hosts.get(question.name, ())
        return _of_family(question, addresses) if addresses and question.kind in ("A", "AAAA") else None

    async def _follow(self, question: Question, servers: Sequence[Server]) -> Answer[Any]:
        """Ask, and go on asking where a server leaves it to us to follow a CNAME."""
        secure, ttl, asked = True, None, {question.name}
        step = question
        for _ in range(LONGEST_CHAIN):
            answer = await self._ask(step, servers)
            secure = secure and answer.secure
            ttl = answer.ttl if ttl is None else min(ttl, answer.ttl)
            if answer.why != "CNAME":
                return replace(answer, secure=secure, ttl=ttl)
            if answer.name in asked:
                break
            asked.add(answer.name)
            step = Question(answer.name, question.kind)
        return Answer(Finding.FAILED, why="CNAMEs without end")

    async def _ask(self, question: Question, servers: Sequence[Server]) -> Answer[Any]:
        """Try the servers, each more than once; the last of their troubles is the reason."""
        tries = min(max(_FEWEST_TRIES, len(servers) * 2), _MOST_TRIES)
        why = ""
        for server in islice(cycle(servers), tries):
            try:
                return await ask(self._reactor, server, question, self._timeout)
            except NoAnswer as trouble:
                self.machine.demote(server)
                why = f"{server}: {trouble}"
            except (Refused, Nonsense) as trouble:
                why = f"{server}: {trouble}"
        log.debug("{name} {kind}: {why}", name=question.name, kind=question.kind, why=why)
        return Answer(Finding.FAILED, name=question.name, why=why)


def _at_home(question: Question) -> Answer[Any] | None:
    """Answer for the names that no server is to be asked for (RFC 6761 sections 6.3 and 6.4)."""
    last = question.name.rpartition(".")[2]
    if last == "localhost":
        return _of_family(question, ("127.0.0.1", "::1"))
    return Answer(Finding.NO_NAME, name=question.name, why="no such domain by RFC 6761") if last == "invalid" else None


def _of_family(question: Question, addresses: Sequence[str]) -> Answer[Any]:
    version = {"A": 4, "AAAA": 6}.get(question.kind)
    fitting = tuple(each for each in addresses if ipaddress.ip_address(each).version == version)
    return Answer(Finding.FOUND if fitting else Finding.NO_DATA, fitting, name=question.name)
