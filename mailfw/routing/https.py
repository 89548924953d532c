"""HTTPS to other people's servers: verified, without redirects, bounded in octets and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, FileBodyProducer, ResponseFailed
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from mailfw.interfaces import IResolver
from mailfw.routing.names import interleave, is_public

#: Seconds for a connection to one address.
_CONNECT = 15
#: Addresses of one server that are tried.
_MOST_ADDRESSES = 4


class FetchFailed(Exception):
    """Nothing usable came; `certificate` says that the server's certificate was the reason."""

    def __init__(self, reason: str, certificate: bool = False) -> None:
        super().__init__(reason)
        self.certificate = certificate


@dataclass(frozen=True, slots=True)
class Fetched:
    """A response: `kind` is its media type in lower case, without parameters."""

    code: int
    kind: str
    octets: bytes


async def fetch(
    agent: IAgent,
    reactor: Any,
    url: str,
    *,
    largest: int,
    patience: float,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Fetched:
    """GET a URL, or POST `body` to it.  Raises `FetchFailed`; redirects are answers like any other."""
    going = Deferred.fromCoroutine(_fetch(agent, url, largest, body, headers or {}))
    timer = reactor.callLater(patience, going.cancel)
    try:
        return await going
    except FetchFailed:
        raise
    except Exception as trouble:
        if timer.active():
            raise _explain(trouble) from trouble
        raise FetchFailed("no answer in time")  # what was cancelled may say so in any way
    finally:
        if timer.active():
            timer.cancel()


async def _fetch(agent: IAgent, url: str, largest: int, body: bytes | None, headers: Mapping[str, str]) -> Fetched:
    fields = Headers({name: [value] for name, value in {"User-Agent": "mailfw", **headers}.items()})
    producer = FileBodyProducer(BytesIO(body)) if body is not None else None
    method = b"GET" if body is None else b"POST"
    response: Any = await agent.request(method, url.encode("ascii"), fields, producer)
    gathering = _Body(largest)
    response.deliverBody(gathering)
    octets = await gathering.done
    kind = (response.headers.getRawHeaders("content-type") or [""])[0]
    return Fetched(response.code, kind.partition(";")[0].strip().lower(), octets)


def _explain(trouble: Exception) -> FetchFailed:
    """Find what was the matter: Twisted wraps failures of the connection."""
    causes = [trouble]
    if isinstance(trouble, ResponseFailed):
        causes = [failure.value for failure in trouble.reasons]
    certificate = any(isinstance(each, SSL.Error | VerificationError | CertificateError) for each in causes)
    text = "; ".join(str(each) or type(each).__name__ for each in causes)
    return FetchFailed("the certificate is not valid" if certificate else text[:200], certificate)


class _Body(Protocol):
    """Gathers a body, and no more of it than is wanted."""

    def __init__(self, largest: int) -> None:
        self._left = largest
        self._octets = bytearray()
        self.done: Deferred[bytes] = Deferred(lambda _: self._leave())

    def dataReceived(self, data: bytes) -> None:
        """Take some."""
        self._left -= len(data)
        if self._left < 0 and not self.done.called:
            self.done.errback(Failure(FetchFailed("too large")))
            self._leave()
            return
        self._octets += data

    def _leave(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        """The body is here, or the connection is gone."""
        if self.done.called:
            return
        if reason is not None and reason.type.__name__ in ("ResponseDone", "PotentialDataLoss"):
            self.done.callback(bytes(self._octets))
        else:
            self.done.errback(reason or Failure(FetchFailed("the connection was lost")))


# ---------------------------------------------------------------- connections through our own resolver


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
