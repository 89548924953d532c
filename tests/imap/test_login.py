"""From nobody to an account."""

import base64
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet import defer
from zope.interface import implementer

from mailfw.imap.factory import IMAPSettings
from mailfw.mail.failure import NoSuchAccount
from tests.imap.sessions import SessionCase


class BrokenPortal:
    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    def listCredentialsInterfaces(self) -> list[Any]:
        return [IUsernamePassword]

    def login(self, *args: Any) -> defer.Deferred[Any]:
        return defer.fail(self._failure)


@implementer(ICredentialsChecker)
class Anybody:
    """A checker that knows one password and no names."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, password: str) -> None:
        self._password = password.encode()

    def requestAvatarId(self, credentials: Any) -> Any:
        if credentials.checkPassword(self._password):
            return defer.succeed(b"ann@example.org")
        return defer.fail(UnauthorizedLogin())


def plain(name: str, password: str) -> bytes:
    return base64.b64encode(f"\0{name}\0{password}".encode())


class Login(SessionCase):
    def test_plain_with_and_without_an_initial_response(self) -> None:
        right = plain("ann@example.org", "secret")
        self.assertIn(b"a OK [CAPABILITY ", self.ask(self.connect(), b"a AUTHENTICATE PLAIN " + right))
        dialogue = self.connect()
        self.assertEqual(self.ask(dialogue, b"a authenticate plain"), b"+ \r\n")
        self.assertIn(b"a OK", self.ask(dialogue, right))

    def test_login_asks_twice(self) -> None:
        dialogue = self.connect()
        self.assertEqual(self.ask(dialogue, b"a AUTHENTICATE LOGIN"), b"+ VXNlcm5hbWU6\r\n")
        self.assertEqual(self.ask(dialogue, base64.b64encode(b"ann@example.org")), b"+ UGFzc3dvcmQ6\r\n")
        self.assertIn(b"a OK", self.ask(dialogue, base64.b64encode(b"secret")))

    def test_an_exchange_can_be_cancelled_or_go_wrong(self) -> None:
        dialogue = self.connect()
        self.ask(dialogue, b"a AUTHENTICATE PLAIN")
        self.assertTrue(self.ask(dialogue, b"*").startswith(b"a BAD"))
        self.ask(dialogue, b"a AUTHENTICATE PLAIN")
        self.assertTrue(self.ask(dialogue, b"!!!").startswith(b"a BAD"))
        self.assertTrue(self.ask(dialogue, b"a AUTHENTICATE GSSAPI").startswith(b"a NO"))
        self.assertTrue(self.ask(dialogue, b"a AUTHENTICATE PLAIN =").startswith(b"a NO [AUTHENTICATIONFAILED]"))
        self.assertTrue(self.ask(dialogue, b"a NOOP").startswith(b"a OK"))

    def test_unknown_users_and_wrong_passwords_hear_the_same_and_three_are_enough(self) -> None:
        dialogue = self.connect()
        first = self.ask(dialogue, b"a LOGIN ann@example.org wrong")
        self.assertTrue(first.startswith(b"a NO [AUTHENTICATIONFAILED] "))
        self.assertEqual(self.ask(dialogue, b"a LOGIN nobody secret"), first)
        self.assertFalse(dialogue.closed)
        answers = self.ask_lines(dialogue, b"a AUTHENTICATE PLAIN " + plain("x", "y"))
        self.assertEqual(answers[0] + b"\r\n", first)
        self.assertTrue(answers[1].startswith(b"* BYE "))
        self.assertTrue(dialogue.closed)

    def test_a_faulty_checker_is_no_wrong_password(self) -> None:
        self.portal: Any = BrokenPortal(RuntimeError("no database"))
        self.assertTrue(self.ask(self.connect(), b"a LOGIN a b").startswith(b"a NO [UNAVAILABLE]"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.portal = BrokenPortal(UnauthorizedLogin())
        self.assertIn(b"AUTHENTICATIONFAILED", self.ask(self.connect(), b"a LOGIN a b"))

    def test_a_store_that_does_not_open_is_logged(self) -> None:
        async def fail(account: str) -> None:
            raise NoSuchAccount

        self.store.open_account = fail
        dialogue = self.connect()
        self.assertTrue(self.ask(dialogue, b"a LOGIN ann@example.org secret").startswith(b"a NO [UNAVAILABLE]"))
        self.assertTrue(self.ask(dialogue, b"a SELECT INBOX").startswith(b"a BAD"))
        self.assertEqual(len(self.flushLoggedErrors(NoSuchAccount)), 1)
        self.assertEqual(self.realm.logouts, 1, "a login that came to nothing does not count until the end")
        dialogue.leave()
        self.assertEqual(self.realm.logouts, 1)

    def test_leaving_ends_the_watch_and_the_login(self) -> None:
        dialogue = self.open()
        account = self.store._accounts["ann@example.org"]
        self.assertEqual(len(account._watchers), 1)
        dialogue.leave()
        self.assertEqual(len(account._watchers), 0)
        self.assertEqual(self.realm.logouts, 1)

    def test_a_password_with_any_octets_fits_a_literal_and_quotes(self) -> None:
        self.portal = Portal(self.realm, [Anybody("pässwört €")])
        dialogue = self.connect()
        dialogue.say(b"a LOGIN x {14+}\r\n" + "pässwört €".encode() + b"\r\n")
        self.assertTrue(dialogue.hear().startswith(b"a OK"))
        self.assertIn(b"a OK", self.ask(self.connect(), 'a LOGIN x "pässwört €"'.encode()))


class TLS(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.settings = IMAPSettings("mail.example.org", tls=object())

    def test_no_password_goes_over_the_wire_in_the_clear(self) -> None:
        dialogue = self.connect()
        capabilities = self.ask(dialogue, b"a CAPABILITY")
        self.assertIn(b" STARTTLS LOGINDISABLED\r\n", capabilities)
        self.assertNotIn(b"AUTH=", capabilities)
        for line in (b"a LOGIN ann@example.org secret", b"a AUTHENTICATE PLAIN", b"a LOGIN {15}"):
            self.assertTrue(self.ask(dialogue, line).startswith(b"a NO [PRIVACYREQUIRED]"))

    def test_starttls_discards_what_came_in_the_clear(self) -> None:
        dialogue = self.connect()
        dialogue.say(b"a STARTTLS\r\nb LOGIN ann@example.org secret\r\nc NOOP\r\n")
        self.assertEqual(dialogue.hear(), b"a OK Begin TLS now\r\n")
        self.assertTrue(dialogue.transport.tls_started)
        capabilities = self.ask(dialogue, b"d CAPABILITY")
        self.assertIn(b"AUTH=PLAIN AUTH=LOGIN\r\n", capabilities)
        self.assertNotIn(b"STARTTLS", capabilities)
        self.assertTrue(self.ask(dialogue, b"e STARTTLS").startswith(b"e BAD"))
        self.assertIn(b"f OK", self.ask(dialogue, b"f LOGIN ann@example.org secret"))

    def test_half_a_command_in_the_clear_is_not_completed_under_tls(self) -> None:
        dialogue = self.connect()
        dialogue.say(b"a STARTTLS\r\nb LOGIN ann@example.org ")
        dialogue.hear()
        self.assertTrue(self.ask(dialogue, b"secret").startswith(b"secret BAD"))

    def test_starttls_is_refused_where_it_is_not_offered(self) -> None:
        self.settings = IMAPSettings("mail.example.org")
        dialogue = self.connect()
        self.assertNotIn(b"STARTTLS", self.ask(dialogue, b"a CAPABILITY"))
        self.assertTrue(self.ask(dialogue, b"a STARTTLS").startswith(b"a BAD"))
        self.assertFalse(dialogue.transport.tls_started)
