"""Access tokens of OAuth 2: the server that issued one says whose it is (RFC 7662)."""

from __future__ import annotations

import hashlib
import json
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from zope.interface import implementer

from mailfw.accounts import names
from mailfw.accounts.names import NotAName, full_name
from mailfw.fetch import FetchFailed, fetch
from mailfw.mail.failure import Overloaded
from mailfw.sasl.credentials import IBearerToken
from mailfw.site import Site

#: Octets of an answer; the facts about one token take a few hundred.
LONGEST_ANSWER = 64 * 1024
#: Questions under way at once; more logins than these are told to come back.
AT_ONCE = 64
#: Tokens remembered; the oldest goes first.
MOST_REMEMBERED = 10_000

#: What asks: takes the token, returns the answer's JSON; raises for whatever keeps it from that.
Ask = Callable[[str], "defer.Deferred[Mapping[str, Any]]"]


class IntrospectionFailed(Exception):
    """The server that knows tokens gave no answer that can be used; the text names neither token nor secret."""


@implementer(ICredentialsChecker)
class TokenIntrospection:
    """
    Lets in whoever brings an active token; `claim` is the part of the answer that names the account.

    An answer is good for `cache` seconds, though not longer than its token.  `scope` must be among the token's where
    it is not empty.
    """

    credentialInterfaces = (IBearerToken,)

    def __init__(self, site: Site, ask: Ask, claim: str, scope: str, cache: float, now: Callable[[], float]) -> None:
        self._site = site
        self._ask = ask
        self._claim = claim
        self._scope = scope
        self._cache = cache
        self._now = now
        self._asking = 0
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def requestAvatarId(self, credentials: Any) -> defer.Deferred[bytes | tuple[()]]:
        """Return the account's name as UTF-8, or fail with `UnauthorizedLogin`, `Overloaded`, `IntrospectionFailed`."""
        return defer.Deferred.fromCoroutine(self._check(credentials.username, credentials.token))

    async def _check(self, username: bytes, token: str) -> bytes | tuple[()]:
        name = await self._owner(token)
        if username and self._full(username.decode("utf-8", "replace")) != name:
            raise UnauthorizedLogin
        return name.encode("utf-8")

    async def _owner(self, token: str) -> str:
        key = hashlib.sha256(token.encode("utf-8")).digest()
        name, until = self._known.get(key, ("", 0.0))
        if self._now() < until:
            return name
        if self._asking >= AT_ONCE:
            raise Overloaded("Too many tokens at once")
        self._asking += 1
        try:
            answer = await self._ask(token)
        finally:
            self._asking -= 1
        name, until = self._read(answer)
        self._known[key] = name, until
        self._known.move_to_end(key)
        if len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        return name

    def _read(self, answer: Mapping[str, Any]) -> tuple[str, float]:
        """Return whose the token is and until when that is known (RFC 7662 section 2.2)."""
        if answer.get("active") is not True:
            raise UnauthorizedLogin
        scopes, expires = answer.get("scope", ""), answer.get("exp")
        if self._scope and not (isinstance(scopes, str) and self._scope in scopes.split(" ")):
            raise UnauthorizedLogin
        until = self._now() + self._cache
        if isinstance(expires, int | float):
            if expires <= self._now():
                raise UnauthorizedLogin
            until = min(until, expires)
        claimed = answer.get(self._claim)
        name = self._full(claimed) if isinstance(claimed, str) else None
        if name is None or name.rpartition("@")[2] not in self._site.domains:
            raise UnauthorizedLogin
        return name, until

    def _full(self, name: str) -> str | None:
        try:
            return full_name(name, names.default_domain(self._site))
        except NotAName:
            return None


class IntrospectionEndpoint:
    """Asks one URL, as one client of the authorisation server, over connections that are kept."""

    def __init__(self, agent: Any, url: str, authorization: str, timeout: float, clock: Any) -> None:
        self._agent = agent
        self._url = url
        self._headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"} | (
            {"Authorization": authorization} if authorization else {}
        )
        self._timeout = timeout
        self._clock = clock

    def ask(self, token: str) -> defer.Deferred[Mapping[str, Any]]:
        """Return what is known of a token; the whole question has `timeout` seconds."""
        return defer.Deferred.fromCoroutine(self._ask(token))

    async def _ask(self, token: str) -> Mapping[str, Any]:
        form = urlencode({"token": token, "token_type_hint": "access_token"}).encode("ascii")
        try:
            answered = await fetch(
                self._agent,
                self._clock,
                self._url,
                largest=LONGEST_ANSWER,
                patience=self._timeout,
                body=form,
                headers=self._headers,
            )
        except FetchFailed as reason:
            raise IntrospectionFailed(f"The introspection endpoint cannot be asked: {reason}") from reason
        if answered.code != 200:
            raise IntrospectionFailed(f"The introspection endpoint answers {answered.code}")
        try:
            answer = json.loads(answered.octets)
        except (ValueError, RecursionError):
            raise IntrospectionFailed("The introspection endpoint answers no JSON")
        if not isinstance(answer, dict):
            raise IntrospectionFailed("The introspection endpoint answers no JSON object")
        return answer


def introspection(
    site: Site,
    url: str,
    client_id: str = "",
    client_secret: str = "",
    client_secret_file: str = "",
    username_claim: str = "username",
    required_scope: str = "",
    cache: float = 60.0,
    timeout: float = 10.0,
    authorities: str = "",
) -> TokenIntrospection:
    """
    Access tokens, for OAUTHBEARER and XOAUTH2, judged by the server that issued them.

    `url` is its introspection endpoint: https, or http on this machine.  `client_id` and `client_secret`, or the file
    that the secret is the only line of, are how we log in there.  `username_claim` names the part of an answer that is
    the account's name, `required_scope` what a token must be for.  `cache` is how many seconds an answer is good for,
    `timeout` how many a question may take.  `authorities` is a PEM file of those that may vouch for the server in
    place of the system's.  Files are relative to the data directory.
    """
    check_url(url)
    if client_secret_file:
        client_secret = (site.data / client_secret_file).read_text("utf-8").strip()
    pool = HTTPConnectionPool(site.reactor)
    policy = BrowserLikePolicyForHTTPS(_trusted(site.data / authorities) if authorities else None)
    agent = Agent(site.reactor, policy, connectTimeout=timeout, pool=pool)
    endpoint = IntrospectionEndpoint(agent, url, basic(client_id, client_secret), timeout, site.reactor)
    return TokenIntrospection(site, endpoint.ask, username_claim, required_scope, cache, time.time)


def check_url(url: str) -> None:
    """Raise `ValueError` unless tokens may be sent there (RFC 7662 section 4 asks for TLS)."""
    parts = urlsplit(url)
    is_near = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not url.isascii() or not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and is_near)):
        raise ValueError("url must begin with https:// (or with http:// and be on this machine)")


def basic(client_id: str, secret: str) -> str:
    """Return the Authorization field of a client, empty for none (RFC 6749 section 2.3.1)."""
    if not client_id:
        return ""
    return "Basic " + b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode("ascii")


def _trusted(path: Any) -> Any:
    pieces = path.read_bytes().split(b"-----END CERTIFICATE-----")
    return trustRootFromCertificates([Certificate.loadPEM(each + b"-----END CERTIFICATE-----") for each in pieces[:-1]])
