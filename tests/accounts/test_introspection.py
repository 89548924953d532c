"""Access tokens: a small authorisation server on loopback says whose they are."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface.verify import verifyObject

from mailfw.accounts.introspection import (
    AT_ONCE,
    IntrospectionFailed,
    TokenIntrospection,
    basic,
    check_url,
    introspection,
)
from mailfw.mail.failure import Overloaded
from mailfw.plugins import PluginRefused, resolve
from mailfw.sasl.credentials import BearerToken
from mailfw.tls.certificates import Certificates, KeyPair
from mailfw.tls.self_signed import make_self_signed
from tests.accounts.test_passwords import make_site

ANN = b"ann@example.org"
ACTIVE = {"active": True, "username": "ann@example.org", "scope": "openid mail"}


class AnswerTests(SynchronousTestCase):
    """What is made of an answer, without a network."""

    def setUp(self) -> None:
        self.now = 1_000_000.0
        self.asked: list[str] = []
        self.answer: Any = ACTIVE
        self.waiting: list[Deferred[Any]] | None = None
        self.checker = self.make()

    def make(self, claim: str = "username", scope: str = "", cache: float = 60.0) -> TokenIntrospection:
        return TokenIntrospection(make_site("/nowhere"), self.ask, claim, scope, cache, lambda: self.now)

    def ask(self, token: str) -> Deferred[Any]:
        self.asked.append(token)
        if self.waiting is None:
            return succeed(self.answer)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def bring(self, username: bytes = b"", token: str = "t", checker: TokenIntrospection | None = None) -> Any:
        return (checker or self.checker).requestAvatarId(BearerToken(username, token))

    def refuses(self, answer: Any, **options: Any) -> None:
        self.answer = answer
        self.failureResultOf(self.bring(checker=self.make(**options)), UnauthorizedLogin)

    def test_is_a_checker(self) -> None:
        verifyObject(ICredentialsChecker, self.checker)

    def test_active(self) -> None:
        for username in (b"", b"ann", b"Ann@Example.org"):
            self.assertEqual(self.successResultOf(self.bring(username)), ANN)

    def test_somebody_elses(self) -> None:
        for username in (b"bob@example.org", b"ann@example.com", b"\xff", b"a b"):
            self.failureResultOf(self.bring(username), UnauthorizedLogin)

    def test_not_active(self) -> None:
        for answer in ({}, {"active": False}, {**ACTIVE, "active": "true"}, {**ACTIVE, "active": 1}):
            self.refuses(answer)

    def test_no_account_of_ours(self) -> None:
        for name in (None, 7, "", "ann@example.com", "a b", "../x"):
            self.refuses({**ACTIVE, "username": name})

    def test_other_claims(self) -> None:
        self.answer = {"active": True, "email": "bob@example.org", "username": "x"}
        self.assertEqual(self.successResultOf(self.bring(checker=self.make(claim="email"))), b"bob@example.org")

    def test_scope(self) -> None:
        self.assertEqual(self.successResultOf(self.bring(checker=self.make(scope="mail"))), ANN)
        self.refuses(ACTIVE, scope="mai")
        self.refuses({**ACTIVE, "scope": 7}, scope="mail")

    def test_expired(self) -> None:
        self.refuses({**ACTIVE, "exp": self.now})

    def test_answers_are_remembered_for_a_while(self) -> None:
        for _ in range(3):
            self.successResultOf(self.bring())
        self.successResultOf(self.bring(token="another"))
        self.assertEqual(self.asked, ["t", "another"])
        self.answer = {"active": False}
        self.now += 59
        self.successResultOf(self.bring())
        self.now += 1
        self.failureResultOf(self.bring(), UnauthorizedLogin)

    def test_no_longer_than_the_token(self) -> None:
        self.answer = {**ACTIVE, "exp": self.now + 5}
        self.successResultOf(self.bring())
        self.now += 5
        self.failureResultOf(self.bring(), UnauthorizedLogin)

    def test_memory_has_a_bound_and_no_tokens(self) -> None:
        self.patch(__import__("mailfw.accounts.introspection", fromlist=["x"]), "MOST_REMEMBERED", 3)
        for number in range(9):
            self.successResultOf(self.bring(token=f"token{number}"))
        self.assertEqual(len(self.checker._known), 3)
        self.assertNotIn("token", repr(self.checker._known))

    def test_too_many_at_once(self) -> None:
        self.waiting = []
        logins = [self.bring(token=str(number)) for number in range(AT_ONCE)]
        self.failureResultOf(self.bring(), Overloaded)
        for answer in self.waiting:
            answer.callback(ACTIVE)
        for login in logins:
            self.successResultOf(login)
        self.bring()
        self.assertEqual(len(self.waiting), AT_ONCE + 1)

    def test_urls(self) -> None:
        for url in (
            "https://id.example.org/introspect",
            "http://127.0.0.1:8080/x",
            "http://[::1]/x",
            "http://localhost/",
        ):
            check_url(url)
        for url in ("http://id.example.org/", "ftp://localhost/", "https://", "", "https://bücher.example/", "/x"):
            self.assertRaises(ValueError, check_url, url)

    def test_is_found_by_its_name(self) -> None:
        from twisted.internet import reactor

        recipe = resolve("auth", "introspection", {"url": "https://id.example.org/", "cache": 5, "client_id": "mail"})
        self.assertIsInstance(recipe.make(site=make_site("/nowhere", reactor=reactor)), TokenIntrospection)
        recipe = resolve("auth", "introspection", {"url": "http://id.example.org/"})
        self.assertRaises(PluginRefused, recipe.make, site=make_site("/nowhere", reactor=reactor))
        self.assertRaises(PluginRefused, resolve, "auth", "introspection", {})

    def test_client_credentials(self) -> None:
        """RFC 6749 section 2.3.1: both are form-encoded first."""
        self.assertEqual(basic("", ""), "")
        self.assertEqual(base64.b64decode(basic("a:b", "c d").partition(" ")[2]), b"a%3Ab:c+d")


class AuthorisationServer(Resource):
    isLeaf = True

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.seen: list[tuple[dict[bytes, list[bytes]], str | None]] = []

    def render_POST(self, request: Request) -> Any:
        assert request.content is not None
        self.seen.append((parse_qs(request.content.read()), request.getHeader("authorization")))
        return self.answer(request)


class EndpointTests(TestCase):
    """The same over HTTP."""

    def setUp(self) -> None:
        from twisted.internet import reactor as real

        reactor: Any = real
        self.reactor = reactor
        self.server = AuthorisationServer(lambda request: json.dumps(ACTIVE).encode())
        self.port: Any = self.reactor.listenTCP(0, Site(self.server), interface="127.0.0.1")
        self.data = Path(self.mktemp())
        self.data.mkdir()
        self.checkers: list[Any] = []
        self.addCleanup(lambda: Deferred.fromCoroutine(self.close()))

    async def close(self) -> None:
        await maybeDeferred(self.port.stopListening)
        for checker in self.checkers:
            await checker._ask.__self__._agent._pool.closeCachedConnections()

    def make(self, timeout: float = 20.0, **options: Any) -> TokenIntrospection:
        url = f"http://127.0.0.1:{self.port.getHost().port}/introspect"
        site = make_site(str(self.data), reactor=self.reactor)
        self.checkers.append(introspection(site, url, timeout=timeout, **options))
        checker: TokenIntrospection = self.checkers[-1]
        return checker

    async def bring(self, checker: TokenIntrospection, token: str = "a+b/c==") -> Any:
        return await checker.requestAvatarId(BearerToken(b"", token))

    async def test_question_and_answer(self) -> None:
        (self.data / "secret").write_text("s:e\n")
        checker = self.make(client_id="mail", client_secret_file="secret")
        self.assertEqual(await self.bring(checker), ANN)
        form, authorization = self.server.seen[0]
        self.assertEqual(form, {b"token": [b"a+b/c=="], b"token_type_hint": [b"access_token"]})
        self.assertEqual(authorization, "Basic " + base64.b64encode(b"mail:s%3Ae").decode())

    async def test_answers_that_are_none(self) -> None:
        def status(request: Request) -> bytes:
            request.setResponseCode(401)
            return b"{}"

        for answer in (
            status,
            lambda _: b"no json",
            lambda _: b"[]",
            lambda _: b"[" * 50_000,
            lambda _: b" " * 100_000,
            self._endless,
            self._cut,
        ):
            self.server.answer = answer
            with self.assertRaises(IntrospectionFailed) as raised:
                await self.bring(self.make())
            self.assertNotIn("a+b/c", repr(raised.exception))

    def _endless(self, request: Request) -> Any:
        request.setHeader("content-length", b"99999999")
        request.write(b" " * 200_000)
        return NOT_DONE_YET

    def _cut(self, request: Request) -> Any:
        request.setHeader("content-length", b"9999")
        request.write(b'{"active": true')
        transport: Any = request.transport
        self.reactor.callLater(0, transport.abortConnection)
        return NOT_DONE_YET

    async def test_over_tls(self) -> None:
        pair = KeyPair(self.data / "certificate.pem", self.data / "key.pem")
        make_self_signed(pair.certificate, pair.key, ["localhost"])
        site: Any = TLSMemoryBIOFactory(Certificates("localhost", pair), False, Site(self.server), self.reactor)
        port: Any = self.reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"https://localhost:{port.getHost().port}/"
        for authorities in ("", "certificate.pem"):
            checker = introspection(make_site(str(self.data), reactor=self.reactor), url, authorities=authorities)
            self.checkers.append(checker)
            if authorities:
                self.assertEqual(await self.bring(checker), ANN)
            else:
                with self.assertRaises(IntrospectionFailed):
                    await self.bring(checker)

    async def test_too_slow(self) -> None:
        self.server.answer = lambda request: NOT_DONE_YET
        with self.assertRaises(IntrospectionFailed):
            await self.bring(self.make(timeout=0.05))

    async def test_nobody_there(self) -> None:
        checker = self.make()
        await maybeDeferred(self.port.stopListening)
        with self.assertRaises(IntrospectionFailed):
            await self.bring(checker)
