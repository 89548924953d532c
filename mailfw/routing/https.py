"""HTTPS to other people's servers, verified, at addresses that our own resolver finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.web.client import URI, Agent
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from mailfw.interfaces import IResolver
from mailfw.routing.names import interleave, is_public

#: Seconds for a connection to one address.
_CONNECT = 15
#: Addresses of one server that are tried.
_MOST_ADDRESSES = 4


def https_agent(
    reactor: Any, resolver: IResolver, *, trust: Any = None, port: int | None = None, allow_loopback: bool = False
) -> IAgent:
    """
    Return an agent that looks names up with `resolver`, and speaks https alone.

    `trust` are authorities to believe instead of the system's, `port` is used instead of the URL's: for tests.
    """
    endpoints = _Endpoints(reactor, resolver, trust, port, allow_loopback)
    agent: IAgent = Agent.usingEndpointFactory(reactor, endpoints)
    return agent


@implementer(IAgentEndpointFactory)
@dataclass(frozen=True, slots=True)
class _Endpoints:
    reactor: Any
    resolver: IResolver
    trust: Any
    port: int | None
    allow_loopback: bool

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802  # Twisted's name
        """Return where a URL leads."""
        if uri.scheme != b"https":
            raise SchemeNotSupported(f"not https: {uri.scheme!r}")
        host = uri.host.decode("ascii")
        endpoint = _Resolved(self.reactor, self.resolver, host, self.port or uri.port, self.allow_loopback)
        wrapped: IStreamClientEndpoint = wrapClientTLS(optionsForClientTLS(host, trustRoot=self.trust), endpoint)
        return wrapped


@implementer(IStreamClientEndpoint)
@dataclass(frozen=True, slots=True)
class _Resolved:
    """Connects to the addresses of a host, one after the other."""

    reactor: Any
    resolver: IResolver
    host: str
    port: int
    allow_loopback: bool

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect."""
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        answers = [await self.resolver.look_up(self.host, kind) for kind in ("AAAA", "A")]
        addresses = interleave(address for answer in answers for address in answer.records)
        trouble: Exception = DNSLookupError(f"no address of {self.host}")
        for address in addresses[:_MOST_ADDRESSES]:
            if not (self.allow_loopback or is_public(address)):
                continue
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            try:
                return await kind(self.reactor, address, self.port, timeout=_CONNECT).connect(factory)
            except ConnectError as refused:
                trouble = refused
        raise trouble
