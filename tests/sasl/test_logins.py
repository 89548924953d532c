"""Logging in: the same exchanges, held over each protocol, end in the same way."""

from __future__ import annotations

import io
import json
import random
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailfw.accounts.attempts import AttemptLimits, LoginAttempts
from mailfw.accounts.passwords import PasswordFile
from mailfw.accounts.portal import build_portal
from mailfw.accounts.realm import MailRealm
from mailfw.imap.factory import IMAPSettings, imap_factory
from mailfw.mail.envelope import Service
from mailfw.pop3.factory import POP3Settings, pop3_factory
from mailfw.sasl.client import ClientExchange, client_exchange
from mailfw.sasl.credentials import IBearerToken
from mailfw.sasl.mechanisms import MECHANISMS
from mailfw.stores.memory import MemoryStore
from mailfw.testing.dialogue import Dialogue
from mailfw.wire.protocol import SessionFactory
from tests.accounts.pretend import PretendReactor
from tests.smtp.house import House

ANN, PASSWORD = "ann@example.org", "a correct horse"
SECRET = PASSWORD.encode()
TOKEN = "ya29.secret-token"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
LIMITS = AttemptLimits(per_address=4, per_account=100, delay=1.0, longest_delay=4.0, refusal=100.0)


@implementer(ICredentialsChecker)
class Tokens:
    """Knows one token; `fails` is raised for any."""

    credentialInterfaces = (IBearerToken,)
    fails: Exception | None = None

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        if self.fails is not None:
            return fail(self.fails)
        return succeed(ANN.encode()) if credentials.token == TOKEN else fail(UnauthorizedLogin())


@implementer(IRealm)
class CountingRealm:
    """Counts who has logged in and not out."""

    def __init__(self, store: MemoryStore) -> None:
        self._realm = MailRealm(store)
        self.inside = 0

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: Any) -> Deferred[Any]:  # noqa: N803
        return self._realm.requestAvatar(avatarId, mind, *interfaces).addCallback(self._enter)

    def _enter(self, login: Any) -> Any:
        self.inside += 1
        return (*login[:2], self._leave)

    def _leave(self) -> None:
        self.inside -= 1


class LoginCase(SynchronousTestCase):
    """A site with one account; `protocol` says how it is spoken to."""

    protocol = "pop3"

    def setUp(self) -> None:
        self.reactor = PretendReactor()
        self.path = Path(self.mktemp()) / "passwords"
        self.passwords = PasswordFile(self.path, self.reactor, "example.org", CHEAP)
        self.passwords.add(ANN, PASSWORD)
        self.tokens = Tokens()
        self.checkers: list[Any] = [self.passwords, self.tokens]
        self.attempts = LoginAttempts(self.reactor, LIMITS, "example.org")
        self.mechanisms: Sequence[str] = tuple(MECHANISMS)
        self.realm = CountingRealm(MemoryStore())

    def factory(self) -> SessionFactory:
        portal = build_portal(self.realm, self.checkers, "example.org")
        options: dict[str, Any] = {"portal": portal, "clock": self.reactor, "attempts": self.attempts}
        chosen: dict[str, Any] = {"allow_plaintext_auth": True, "mechanisms": self.mechanisms}
        if self.protocol == "pop3":
            return pop3_factory(POP3Settings("mail.example.org", **chosen), **options)
        if self.protocol == "imap":
            return imap_factory(IMAPSettings("mail.example.org", **chosen), open_draft=self._no_draft, **options)
        house = House(Service.SUBMISSION, **chosen)
        house.portal, house.clock = portal, self.reactor  # type: ignore[assignment]  # a real one
        return house.factory(attempts=self.attempts)

    async def _no_draft(self, size: int) -> Any:
        raise AssertionError("Nobody appends")

    def connect(self, address: str = "192.0.2.7") -> Dialogue:
        dialogue = Dialogue(self.factory(), address)
        dialogue.say({"pop3": b"", "imap": b"", "smtp": b"EHLO client.example\r\n"}[self.protocol])
        self.greeting = dialogue.hear()
        return dialogue

    def ask(self, dialogue: Dialogue, line: bytes) -> bytes:
        """Say a line, and return the one line of the answer that matters."""
        dialogue.say(line + b"\r\n")
        return dialogue.hear().removesuffix(b"\r\n")

    def begin(self, dialogue: Dialogue, mechanism: str, initial: bytes | None = None) -> bytes:
        verb = {"pop3": b"AUTH ", "imap": b"a AUTHENTICATE ", "smtp": b"AUTH "}[self.protocol]
        response = b"" if initial is None else b" " + (b64encode(initial) or b"=")
        return self.ask(dialogue, verb + mechanism.encode() + response)

    def challenge(self, answer: bytes) -> bytes:
        """Return the octets of a challenge."""
        prefix = b"334 " if self.protocol == "smtp" else b"+ "
        self.assertTrue(answer.startswith(prefix), answer)
        return b64decode(answer[len(prefix) :], validate=True)

    def run_exchange(self, dialogue: Dialogue, exchange: ClientExchange) -> bytes:
        """Let one of our clients speak, and return what the server says in the end."""
        answer = self.begin(dialogue, exchange.name, exchange.first())
        while answer.startswith((b"334 ", b"+ ")):
            answer = self.ask(dialogue, b64encode(exchange.next(self.challenge(answer))))
        return answer

    def log_in(self, dialogue: Dialogue, mechanism: str, name: str = ANN, password: str = PASSWORD) -> bytes:
        exchange = client_exchange([mechanism], name, password, True)
        assert exchange is not None
        answer = self.run_exchange(dialogue, exchange)
        self.assertEqual(exchange.is_complete, self.is_in(answer) or not mechanism.startswith("SCRAM"))
        return answer

    def is_in(self, answer: bytes) -> bool:
        return answer.startswith((b"+OK", b"235 2.7.0", b"a OK"))

    @property
    def words(self) -> dict[str, bytes]:
        """How the answers to what can go wrong begin."""
        return {
            "pop3": {
                "refused": b"-ERR [AUTH] Name or password is wrong",
                "throttled": b"-ERR [AUTH] Too many failed logins",
                "unavailable": b"-ERR [SYS/TEMP]",
                "cancelled": b"-ERR Cancelled",
                "malformed": b"-ERR This does not follow",
                "undecodable": b"-ERR This is not base64",
                "unknown": b"-ERR This mechanism is not known",
            },
            "imap": {
                "refused": b"a NO [AUTHENTICATIONFAILED]",
                "throttled": b"a NO [LIMIT]",
                "unavailable": b"a NO [UNAVAILABLE]",
                "cancelled": b"a BAD",
                "malformed": b"a NO [AUTHENTICATIONFAILED]",
                "undecodable": b"a BAD",
                "unknown": b"a NO [CANNOT]",
            },
            "smtp": {
                "refused": b"535 5.7.8",
                "throttled": b"454 4.7.0 Too many",
                "unavailable": b"454 4.7.0",
                "cancelled": b"501 5.7.0",
                "malformed": b"501 5.5.2",
                "undecodable": b"501 5.5.2",
                "unknown": b"504 5.5.4",
            },
        }[self.protocol]

    def assert_said(self, answer: bytes, what: str) -> None:
        self.assertTrue(answer.startswith(self.words[what]), (what, answer))

    def bearer(self, token: str = TOKEN, name: str = ANN) -> bytes:
        return f"n,a={name},\x01auth=Bearer {token}\x01\x01".encode()


class POP3LoginTests(LoginCase):
    def offered(self, dialogue: Dialogue) -> list[str]:
        said = {
            "pop3": lambda: self.ask(dialogue, b"CAPA").split(b"SASL ")[-1].split(b"\r\n")[0].split(),
            "imap": lambda: [
                word[5:] for word in self.ask(dialogue, b"a CAPABILITY").split() if word.startswith(b"AUTH=")
            ],
            "smtp": lambda: self.greeting.split(b"-AUTH ")[-1].split(b"\r\n")[0].split(),
        }[self.protocol]()
        return [word.decode() for word in said]

    def test_what_is_offered(self) -> None:
        self.assertEqual(
            self.offered(self.connect()), ["SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"]
        )
        self.checkers = [stock(ann=SECRET)]
        self.assertEqual(self.offered(self.connect()), ["PLAIN", "LOGIN", "CRAM-MD5"])
        self.mechanisms = ("PLAIN", "SCRAM-SHA-1")
        self.assertEqual(self.offered(self.connect()), ["PLAIN"])

    def test_what_is_not_offered_is_not_known(self) -> None:
        dialogue = self.connect()
        for name in ("CRAM-MD5", "EXTERNAL", "SCRAM-SHA-256-PLUS", "GSSAPI"):
            self.assert_said(self.begin(dialogue, name), "unknown")

    def test_every_mechanism_of_passwords(self) -> None:
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"):
            for name in (ANN, "Ann"):
                answer = self.log_in(self.connect(), mechanism, name)
                self.assertTrue(self.is_in(answer) or b"[IN-USE]" in answer, answer)

    def test_no_passwords(self) -> None:
        self.mechanisms = ("SCRAM-SHA-256",)
        dialogue = self.connect()
        if self.protocol == "pop3":
            self.assertEqual(self.ask(dialogue, b"USER ann"), b"-ERR [AUTH] No passwords are taken here")
            self.assertNotIn(b"USER", self.ask(dialogue, b"CAPA"))
        if self.protocol == "imap":
            self.assertTrue(self.ask(dialogue, b"a LOGIN ann secret").startswith(b"a NO [CANNOT]"))
            self.assertIn(b"LOGINDISABLED", self.ask(dialogue, b"a CAPABILITY"))
        self.assertTrue(self.is_in(self.log_in(dialogue, "SCRAM-SHA-256")))

    def test_cram_md5(self) -> None:
        self.attempts = None  # type: ignore[assignment]  # nothing is counted, and nobody waits
        self.checkers = [stock(ann=SECRET)]
        self.assertTrue(self.is_in(self.log_in(self.connect(), "CRAM-MD5", "ann@example.org")))
        self.assert_said(self.log_in(self.connect(), "CRAM-MD5", "ann", "wrong"), "refused")

    def test_unknown_users_and_wrong_passwords_hear_the_same(self) -> None:
        for mechanism in ("SCRAM-SHA-256", "PLAIN", "LOGIN"):
            heard = [
                self.late(self.connect(f"192.0.2.{number}"), mechanism, name, password)
                for number, (name, password) in enumerate(((ANN, "wrong"), ("nobody@example.org", PASSWORD)))
            ]
            self.assertEqual(heard[0], heard[1])
            self.assert_said(heard[0], "refused")
            self.attempts = LoginAttempts(self.reactor, LIMITS)

    def late(self, dialogue: Dialogue, mechanism: str, name: str, password: str) -> bytes:
        """Fail, and wait for the answer."""
        exchange = client_exchange([mechanism], name, password, True)
        assert exchange is not None
        self.assertEqual(self.run_exchange(dialogue, exchange), b"")
        self.reactor.advance(0.9)
        self.assertEqual(dialogue.hear(), b"")
        self.reactor.advance(0.1)
        return dialogue.hear().removesuffix(b"\r\n")

    def test_failures_are_counted_over_connections(self) -> None:
        for pause in (1.0, 2.0, 4.0, 4.0):
            dialogue = self.connect()
            self.assertEqual(self.log_in(dialogue, "PLAIN", ANN, "wrong"), b"")
            self.reactor.advance(pause - 0.1)
            self.assertEqual(dialogue.hear(), b"")
            self.reactor.advance(0.1)
            self.assert_said(dialogue.hear(), "refused")
        dialogue = self.connect()
        for mechanism in ("PLAIN", "SCRAM-SHA-256"):
            exchange = client_exchange([mechanism], ANN, PASSWORD, True)
            assert exchange is not None
            self.assert_said(self.run_exchange(dialogue, exchange), "throttled")
        self.assertTrue(self.is_in(self.log_in(self.connect("198.51.100.1"), "PLAIN")))
        self.reactor.advance(100)
        answer = self.log_in(self.connect(), "PLAIN")
        self.assertTrue(self.is_in(answer) or b"[IN-USE]" in answer)

    def test_three_failures_end_the_connection(self) -> None:
        self.attempts = None  # type: ignore[assignment]  # nothing is counted, and nobody waits
        dialogue = self.connect()
        for _ in range(2):
            self.assert_said(self.log_in(dialogue, "PLAIN", ANN, "wrong"), "refused")
            self.assertFalse(dialogue.closed)
        self.log_in(dialogue, "PLAIN", ANN, "wrong")
        self.assertTrue(dialogue.closed)

    def test_tokens(self) -> None:
        self.assertTrue(self.is_in(self.begin(self.connect(), "OAUTHBEARER", self.bearer())))
        self.attempts = None  # type: ignore[assignment]
        dialogue = self.connect()
        for mechanism, response in (
            ("OAUTHBEARER", self.bearer("stolen")),
            ("XOAUTH2", f"user={ANN}\x01auth=Bearer stolen\x01\x01".encode()),
        ):
            why = json.loads(self.challenge(self.begin(dialogue, mechanism, response)))
            self.assertIn(why["status"], ("invalid_token", "401"))
            self.assert_said(self.ask(dialogue, b64encode(b"\x01")), "refused")

    def test_checker_that_cannot_tell(self) -> None:
        self.tokens.fails = OSError("no network")
        self.assert_said(self.begin(self.connect(), "OAUTHBEARER", self.bearer()), "unavailable")
        self.path.unlink()
        self.path.mkdir()
        self.passwords._file.forget()
        self.assert_said(self.log_in(self.connect(), "PLAIN"), "unavailable")
        self.assert_said(self.begin(self.connect(), "SCRAM-SHA-1", b"n,,n=ann,r=x"), "unavailable")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 3)

    def test_cancelling(self) -> None:
        dialogue = self.connect()
        for mechanism, responses in (
            ("PLAIN", []),
            ("LOGIN", [b"ann"]),
            ("SCRAM-SHA-1", []),
            ("SCRAM-SHA-1", [b"n,,n=ann,r=x"]),
        ):
            self.begin(dialogue, mechanism)
            for response in responses:
                self.ask(dialogue, b64encode(response))
            self.assert_said(self.ask(dialogue, b"*"), "cancelled")
        self.assertTrue(self.is_in(self.log_in(dialogue, "PLAIN")))

    def test_a_client_that_does_not_believe_us_is_not_logged_in(self) -> None:
        dialogue = self.connect()
        exchange = client_exchange(["SCRAM-SHA-256"], ANN, PASSWORD, True)
        assert exchange is not None
        answer = self.begin(dialogue, "SCRAM-SHA-256", exchange.first())
        answer = self.ask(dialogue, b64encode(exchange.next(self.challenge(answer))))
        self.assertTrue(self.challenge(answer).startswith(b"v="))
        self.assertEqual(self.realm.inside, 1)
        self.assert_said(self.ask(dialogue, b"*"), "cancelled")
        self.assertEqual(self.realm.inside, 0)
        self.assertTrue(self.is_in(self.log_in(dialogue, "PLAIN")))
        dialogue.leave()
        self.assertEqual(self.realm.inside, 0)

    def test_where_the_owner_was_before(self) -> None:
        self.log_in(first := self.connect(), "PLAIN")
        first.leave()
        for _ in range(4):
            self.log_in(self.connect(), "PLAIN", "bob", "wrong")
            self.reactor.advance(4)
        self.assert_said(self.log_in(self.connect(), "PLAIN", "bob", "wrong"), "throttled")
        self.assertTrue(self.is_in(self.log_in(self.connect(), "PLAIN")))

    def test_what_cannot_be_read(self) -> None:
        dialogue = self.connect()
        for mechanism in ("PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2"):
            dialogue = self.connect()
            self.begin(dialogue, mechanism)
            self.assert_said(self.ask(dialogue, b"!!!"), "undecodable")
            self.begin(dialogue, mechanism)
            self.assert_said(self.ask(dialogue, b64encode(b"\xff\0\xff")), "malformed")

    def test_keys_are_made_where_they_are_missing(self) -> None:
        self.path.write_text(" ".join(self.path.read_text().split("\n")[1].split(" ")[:2]) + "\n")
        self.passwords._file.forget()
        self.assertEqual(self.log_in(self.connect(), "SCRAM-SHA-256"), b"")
        self.assertTrue(self.is_in(self.log_in(self.connect(), "PLAIN")))
        answer = self.log_in(self.connect("198.51.100.1"), "SCRAM-SHA-256")
        self.assertTrue(self.is_in(answer) or b"[IN-USE]" in answer)

    def test_any_split_of_the_octets(self) -> None:
        chance = random.Random(5)
        octets = b"\r\n".join([self.start_line("LOGIN"), b64encode(b"ann"), b64encode(SECRET), self.after()])
        whole = self.connect()
        whole.say(octets)
        expected = whole.hear()
        self.assertIn(b"UGFzc3dvcmQ6", expected)
        whole.leave()
        for _ in range(20):
            pieces = self.connect("198.51.100.1")
            rest = octets
            while rest:
                length = chance.randint(1, 9)
                pieces.say(rest[:length])
                rest = rest[length:]
            self.assertEqual(pieces.hear(), expected)
            pieces.leave()

    def start_line(self, mechanism: str) -> bytes:
        return {"pop3": b"AUTH ", "imap": b"a AUTHENTICATE ", "smtp": b"AUTH "}[self.protocol] + mechanism.encode()

    def after(self) -> bytes:
        return {"pop3": b"NOOP\r\n", "imap": b"b NOOP\r\n", "smtp": b"NOOP\r\n"}[self.protocol]

    def test_no_secret_in_the_log(self) -> None:
        written = io.StringIO()
        observer = textFileLogObserver(written)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.attempts = None  # type: ignore[assignment]
        secrets = [PASSWORD, TOKEN, "guess"]
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"):
            for password in (PASSWORD, "guess"):
                dialogue = self.connect()
                self.log_in(dialogue, mechanism, ANN, password)
                dialogue.leave()
        said = [self.bearer(), self.bearer("guess"), f"\0{ANN}\0{PASSWORD}".encode(), SECRET, b"guess"]
        for response in said[:2]:
            dialogue = self.connect()
            self.begin(dialogue, "OAUTHBEARER", response)
            self.ask(dialogue, b64encode(b"\x01"))
            dialogue.leave()
        self.tokens.fails = OSError("no network")
        for line in (self.start_line("OAUTHBEARER") + b" " + b64encode(self.bearer()), b64encode(said[2]), SECRET):
            dialogue = self.connect()
            self.ask(dialogue, line)
            self.ask(dialogue, line)
            dialogue.leave()
        self.flushLoggedErrors(OSError)
        log = written.getvalue()
        self.assertIn("no network", log)
        self.assertGreater(len(log.splitlines()), 10)
        for secret in (*secrets, *(b64encode(each).decode() for each in said)):
            self.assertNotIn(secret, log)


class IMAPLoginTests(POP3LoginTests):
    protocol = "imap"


class SMTPLoginTests(POP3LoginTests):
    protocol = "smtp"

    def test_a_long_initial_response(self) -> None:
        """RFC 4954 section 4: 12288 octets of AUTH, and no more of anything else."""
        dialogue = self.connect()
        self.tokens.requestAvatarId = lambda _: succeed(ANN.encode())  # type: ignore[assignment,method-assign]  # anybody's
        room = 12288 - len(b"AUTH XOAUTH2 \r\n")
        response = f"user={ANN}\x01auth=Bearer ".encode()
        response = response.ljust(room // 4 * 3 - 2, b"t") + b"\x01\x01"
        self.assertTrue(self.is_in(self.begin(dialogue, "XOAUTH2", response)))
        dialogue = self.connect()
        self.assertTrue(self.begin(dialogue, "XOAUTH2", response + b"...").startswith(b"500 5.5.6"))
        self.assertTrue(self.ask(dialogue, b"NOOP".ljust(3000)).startswith(b"500 5.5.6"))


class SharedTests(LoginCase):
    def test_one_count_for_all_protocols(self) -> None:
        for self.protocol in ("pop3", "imap", "smtp", "pop3"):
            dialogue = self.connect()
            self.log_in(dialogue, "PLAIN", ANN, "wrong")
            self.reactor.advance(4)
            self.assert_said(dialogue.hear(), "refused")
        for self.protocol in ("pop3", "imap", "smtp"):
            self.assert_said(self.log_in(self.connect(), "PLAIN"), "throttled")


def stock(**users: bytes) -> InMemoryUsernamePasswordDatabaseDontUse:
    made = InMemoryUsernamePasswordDatabaseDontUse()
    for name, password in users.items():
        made.addUser(name.encode(), password)
    return made
