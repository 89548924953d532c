"""AUTH and STARTTLS: who may, when, and what is forgotten."""

from __future__ import annotations

import base64
import io
from typing import Any

from twisted.cred.credentials import IAnonymous
from twisted.internet.defer import Deferred
from twisted.logger import FilteringLogObserver, globalLogPublisher, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.envelope import Service
from mailfw.testing.dialogue import Dialogue
from tests.smtp.house import NAME, PASSWORD, House

HELLO = b"EHLO a\r\n"
PLAIN = base64.b64encode(b"\0" + NAME + b"\0" + PASSWORD)
WRONG = base64.b64encode(b"\0" + NAME + b"\0wrong")
STRANGER = base64.b64encode(b"\0stranger@here.example\0" + PASSWORD)


class SubmissionCase(SynchronousTestCase):
    def open(self, octets: bytes = HELLO, **settings: Any) -> tuple[House, Dialogue]:
        place = House(Service.SUBMISSION, **settings)
        dialogue = Dialogue(place.factory())
        dialogue.say(octets)
        return place, dialogue

    def ask(self, dialogue: Dialogue, octets: bytes) -> bytes:
        dialogue.hear()
        dialogue.say(octets)
        return dialogue.hear()


class WhenTests(SubmissionCase):
    def test_only_under_tls(self) -> None:
        _, dialogue = self.open(tls=object())
        heard = dialogue.hear()
        self.assertIn(b"250-STARTTLS\r\n", heard)
        self.assertNotIn(b"AUTH", heard)
        self.assertEqual(self.ask(dialogue, b"AUTH PLAIN " + PLAIN + b"\r\n")[:10], b"538 5.7.11")
        self.assertEqual(self.ask(dialogue, b"MAIL FROM:<>\r\n"), b"530 5.7.0 STARTTLS first\r\n")
        dialogue.say(b"STARTTLS\r\n")
        heard = self.ask(dialogue, HELLO)
        self.assertIn(b"250-AUTH PLAIN LOGIN\r\n", heard)
        self.assertNotIn(b"STARTTLS", heard)
        self.assertEqual(self.ask(dialogue, b"MAIL FROM:<>\r\n")[:9], b"530 5.7.0")
        self.assertEqual(self.ask(dialogue, b"AUTH PLAIN " + PLAIN + b"\r\n")[:9], b"235 2.7.0")
        self.assertEqual(self.ask(dialogue, b"MAIL FROM:<>\r\n")[:9], b"250 2.1.0")

    def test_only_on_submission(self) -> None:
        for service in (Service.SMTP, Service.LMTP):
            place = House(service, allow_plaintext_auth=True)
            dialogue = Dialogue(place.factory())
            dialogue.say(b"LHLO a\r\n" if service is Service.LMTP else HELLO)
            self.assertNotIn(b"AUTH", dialogue.hear())
            self.assertEqual(self.ask(dialogue, b"AUTH PLAIN " + PLAIN + b"\r\n")[:1], b"5")

    def test_out_of_order(self) -> None:
        _, dialogue = self.open(b"", allow_plaintext_auth=True, require_auth=False)
        self.assertEqual(self.ask(dialogue, b"AUTH PLAIN " + PLAIN + b"\r\n")[:9], b"503 5.5.1")
        self.ask(dialogue, HELLO + b"MAIL FROM:<>\r\n")
        self.assertEqual(self.ask(dialogue, b"AUTH PLAIN " + PLAIN + b"\r\n")[:9], b"503 5.5.1")

    def test_only_what_the_portal_can_judge(self) -> None:
        place = House(Service.SUBMISSION, allow_plaintext_auth=True)
        place.portal.credentials = [IAnonymous]
        dialogue = Dialogue(place.factory())
        dialogue.say(HELLO)
        self.assertNotIn(b"AUTH", dialogue.hear())
        self.assertEqual(self.ask(dialogue, b"AUTH PLAIN " + PLAIN + b"\r\n")[:9], b"504 5.5.4")


class LoginTests(SubmissionCase):
    def test_the_same_answer_for_an_unknown_user(self) -> None:
        _, dialogue = self.open(allow_plaintext_auth=True)
        unknown = self.ask(dialogue, b"AUTH PLAIN " + STRANGER + b"\r\n")
        wrong = self.ask(dialogue, b"AUTH PLAIN " + WRONG + b"\r\n")
        self.assertEqual(unknown, wrong)
        self.assertEqual(wrong, b"535 5.7.8 Authentication credentials invalid\r\n")
        self.assertFalse(dialogue.closed)
        self.assertEqual(
            self.ask(dialogue, b"AUTH PLAIN " + WRONG + b"\r\nAUTH PLAIN " + PLAIN + b"\r\n")[:9], b"421 4.7.0"
        )
        self.assertTrue(dialogue.closed)

    def test_a_checker_at_fault(self) -> None:
        place, dialogue = self.open(allow_plaintext_auth=True)
        place.portal.fails = OSError("the file is gone")
        for _ in range(4):
            self.assertEqual(self.ask(dialogue, b"AUTH PLAIN " + PLAIN + b"\r\n")[:9], b"454 4.7.0")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 4)

    def test_line_limit(self) -> None:
        """RFC 4954 section 4: 12288 octets, the CRLF among them."""
        _, dialogue = self.open(allow_plaintext_auth=True)
        for length, answer in ((12284, b"535 5.7.8"), (12288, b"500 5.5.6"), (500_000, b"500 5.5.6")):
            self.assertEqual(self.ask(dialogue, b"AUTH PLAIN\r\n"), b"334 \r\n")
            response = base64.b64encode((b"\0a\0").ljust(length // 4 * 3, b"x"))
            self.assertEqual(len(response), length)
            self.assertEqual(self.ask(dialogue, response + b"\r\n")[:9], answer)
        self.assertEqual(self.ask(dialogue, b"NOOP\r\n")[:9], b"250 2.0.0")

    def test_logging_out(self) -> None:
        place, dialogue = self.open(allow_plaintext_auth=True)
        self.ask(dialogue, b"AUTH PLAIN " + PLAIN + b"\r\n" + HELLO)
        self.assertEqual(place.portal.left, 0)
        dialogue.leave()
        self.assertEqual(place.portal.left, 1)

    def test_pipelined_behind_a_slow_checker(self) -> None:
        place, dialogue = self.open(allow_plaintext_auth=True)
        place.portal.waits = Deferred()
        self.assertEqual(self.ask(dialogue, b"AUTH PLAIN " + PLAIN + b"\r\nMAIL FROM:<>\r\n"), b"")
        place.portal.waits.callback(None)
        self.assertEqual([line[:3] for line in dialogue.hear().split(b"\r\n")], [b"235", b"250", b""])

    def test_no_password_in_the_log(self) -> None:
        written = io.StringIO()
        observer = FilteringLogObserver(textFileLogObserver(written), [])
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        place, dialogue = self.open(allow_plaintext_auth=True)
        place.portal.fails = OSError("broken")
        self.ask(
            dialogue, b"AUTH PLAIN " + PLAIN + b"\r\nauth plain " + PLAIN + b"\r\nAUTH PLAIN\r\n" + PLAIN + b"\r\n"
        )
        place.portal.fails = None
        self.ask(dialogue, b"AUTH PLAIN " + WRONG + b"\r\nAUTH PLAIN " + PLAIN + b"!\r\nAUTHPLAIN " + PLAIN + b"\r\n")
        self.ask(dialogue, b"AUTH LOGIN\r\n" + base64.b64encode(NAME) + b"\r\n" + base64.b64encode(PASSWORD) + b"\r\n")
        dialogue.leave()
        self.flushLoggedErrors(OSError)
        log = written.getvalue()
        self.assertIn("ended by disconnection", log)
        self.assertIn("535 5.7.8 'AUTH'", log)
        for secret in (PASSWORD, PLAIN, WRONG, base64.b64encode(PASSWORD)):
            self.assertNotIn(secret.decode(), log)


class StartTLSTests(SubmissionCase):
    """RFC 3207, and CVE-2011-0411: what came in the clear is not a word of what was encrypted."""

    def test_injection(self) -> None:
        place, dialogue = self.open(tls=object(), require_auth=False)
        heard = self.ask(dialogue, b"STARTTLS\r\nMAIL FROM:<evil@far.example>\r\nRCPT TO:<ann@here.example>\r\n")
        self.assertEqual(heard, b"220 2.0.0 Go ahead with TLS\r\n")
        self.assertTrue(dialogue.transport.tls_started)
        self.assertEqual(self.ask(dialogue, b"RCPT TO:<bob@here.example>\r\n"), b"503 5.5.1 Say hello first\r\n")
        self.assertEqual([each[0] for each in place.policies.asked], ["connect", "helo"])

    def test_half_a_command_is_discarded_too(self) -> None:
        _, dialogue = self.open(tls=object())
        self.ask(dialogue, b"STARTTLS\r\nEHLO ev")
        self.assertEqual(self.ask(dialogue, b"NOOP\r\n")[:4], b"250 ")

    def test_when_not(self) -> None:
        _, dialogue = self.open(tls=object(), require_auth=False, allow_plaintext_auth=True)
        self.assertEqual(self.ask(dialogue, b"STARTTLS now\r\n")[:9], b"501 5.5.4")
        self.ask(dialogue, b"MAIL FROM:<>\r\n")
        self.assertEqual(self.ask(dialogue, b"STARTTLS\r\n")[:9], b"503 5.5.1")
        self.ask(dialogue, b"RSET\r\n")
        self.assertEqual(self.ask(dialogue, b"STARTTLS\r\n")[:3], b"220")
        self.assertEqual(self.ask(dialogue, b"STARTTLS\r\n")[:9], b"503 5.5.1")

    def test_what_is_forgotten_and_what_is_known(self) -> None:
        place, dialogue = self.open(tls=object(), require_auth=False)
        self.ask(dialogue, b"STARTTLS\r\nEHLO a\r\n")
        self.assertEqual(self.ask(dialogue, b"MAIL FROM:<>\r\n")[:9], b"503 5.5.1")
        self.ask(dialogue, b"EHLO b\r\n")
        client = place.policies.asked[-1][1]
        self.assertEqual((client.helo, client.tls, client.protocol), ("b", "TLS", "ESMTPS"))
