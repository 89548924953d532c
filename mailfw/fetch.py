"""HTTP as a client: one request, its answer bounded in octets and time, without redirects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import FileBodyProducer, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent


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
