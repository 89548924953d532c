"""Each limit of a session, one below it, at it, and one beyond."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailfw.allowance import Allowance
from mailfw.mail.envelope import Service
from mailfw.network import Networks
from mailfw.smtp.load import IN_MEMORY, Load
from mailfw.testing.dialogue import Dialogue
from mailfw.wire.limits import ConnectionLimits
from tests.smtp.house import House

HELLO = b"EHLO client.example\r\n"
SENDER = b"MAIL FROM:<eve@far.example>\r\n"
ANN = b"RCPT TO:<ann@here.example>\r\n"
MESSAGE = b"Subject: x\r\n\r\n.\r\n"


class LimitCase(SynchronousTestCase):
    def begin(self, place: House, octets: bytes = HELLO, address: str = "192.0.2.7", **options: Any) -> Dialogue:
        dialogue = Dialogue(place.factory(**options), address)
        dialogue.say(octets)
        dialogue.hear()
        return dialogue

    def ask(self, dialogue: Dialogue, octets: bytes) -> list[str]:
        dialogue.say(octets)
        return [line[:9].decode() for line in dialogue.hear().split(b"\r\n")[:-1]]

    def send(self, dialogue: Dialogue, message: bytes = MESSAGE) -> str:
        self.ask(dialogue, SENDER + ANN + b"DATA\r\n")
        return self.ask(dialogue, message)[-1]


class SessionTests(LimitCase):
    def test_command_line(self) -> None:
        for service in (Service.SMTP, Service.SUBMISSION):
            dialogue = self.begin(House(service, command_line=600))
            for length, answer in [(599, "250 2.0.0"), (600, "250 2.0.0"), (601, "500 5.5.6")]:
                self.assertEqual(self.ask(dialogue, b"NOOP ".ljust(length - 2, b"x") + b"\r\n"), [answer])

    def test_header(self) -> None:
        message = b"A: 1\r\nB: 2\r\n 3\r\nC: 4\r\n\r\nbody\r\n.\r\n"
        cases: list[tuple[dict[str, Any], str]] = [
            ({"header_size": 23}, "250 2.0.0"),
            ({"header_size": 22}, "250 2.0.0"),
            ({"header_size": 21}, "552 5.3.4"),
            ({"header_fields": 4}, "250 2.0.0"),
            ({"header_fields": 3}, "250 2.0.0"),
            ({"header_fields": 2}, "552 5.3.4"),
        ]
        for settings, answer in cases:
            self.assertEqual(self.send(self.begin(House(**settings)), message), answer, settings)

    def test_messages(self) -> None:
        dialogue = self.begin(House(max_messages=2))
        self.assertEqual([self.send(dialogue) for _ in range(2)], ["250 2.0.0"] * 2)
        self.assertEqual(self.ask(dialogue, SENDER), ["421 4.7.0"])
        self.assertTrue(dialogue.closed)

    def test_junk(self) -> None:
        for junk in (b"NOOP\r\n", b"RSET\r\n", b"VRFY ann\r\n", b"HELP\r\n"):
            dialogue = self.begin(House(junk_commands=6))
            answers = self.ask(dialogue, junk * 5)
            self.assertNotIn("421 4.7.0", answers)
            self.assertEqual(self.ask(dialogue, junk), ["421 4.7.0"])
            self.assertTrue(dialogue.closed)

    def test_a_message_makes_up_for_junk(self) -> None:
        dialogue = self.begin(House(junk_commands=3))
        for _ in range(4):
            self.assertEqual(self.ask(dialogue, b"RSET\r\nNOOP\r\n"), ["250 2.0.0"] * 2)
            self.assertEqual(self.send(dialogue), "250 2.0.0")

    def test_endless_greetings(self) -> None:
        dialogue = self.begin(House(junk_commands=5), b"")
        for _ in range(5):
            self.assertEqual(self.ask(dialogue, b"HELO a\r\n"), ["250 mail."])
        self.assertEqual(self.ask(dialogue, b"HELO a\r\n"), ["421 4.7.0"])

    def test_minimum_rate(self) -> None:
        for rate, answer in [(99, "250 2.0.0"), (100, "250 2.0.0"), (120, "421 4.4.2")]:
            place = House(timeout=10.0, minimum_rate=rate)
            dialogue = self.begin(place, HELLO + SENDER + ANN + b"DATA\r\n")
            dialogue.say(b"\r\n")
            for _ in range(100):
                dialogue.say(b"x" * 98 + b"\r\n")
                place.clock.advance(1.0)
            self.assertEqual(self.ask(dialogue, b".\r\n")[:1], [answer], rate)

    def test_a_deadline_for_each_request(self) -> None:
        """One octet every twenty seconds buys no time (Postfix's smtpd_per_request_deadline)."""
        place = House()
        dialogue = self.begin(place, b"")
        for _ in range(15):
            self.assertFalse(dialogue.closed)
            dialogue.say(b"x")
            place.clock.pump([1.0] * 20)
        place.clock.advance(1.0)
        self.assertEqual(self.ask(dialogue, b""), ["421 4.4.2"])


class PipeliningTests(LimitCase):
    def test_what_must_be_waited_for(self) -> None:
        login = {"allow_plaintext_auth": True}
        cases: list[tuple[bytes, bytes, dict[str, Any]]] = [
            (b"", HELLO + SENDER, {}),
            (b"", b"HELO a\r\nNOOP\r\n", {}),
            (b"HELO a\r\n", SENDER + ANN, {}),
            (HELLO + SENDER + ANN, b"DATA\r\nSubject: x\r\n", {}),
            (HELLO, b"STARTTLS\r\nEHLO evil\r\n", {"tls": object()}),
            (HELLO, b"AUTH LOGIN\r\nYW5u\r\n", {"service": Service.SUBMISSION, **login}),
        ]
        for begun, abuse, settings in cases:
            place = House(settings.pop("service", Service.SMTP), strict_pipelining=True, **settings)
            dialogue = Dialogue(place.factory())
            for line in begun.splitlines(keepends=True):
                dialogue.say(line)
            dialogue.hear()
            self.assertEqual(self.ask(dialogue, abuse), ["554 5.5.0"], abuse)
            self.assertTrue(dialogue.closed)
            self.assertFalse(dialogue.transport.tls_started)

    def test_what_may_be_sent_together(self) -> None:
        place = House(strict_pipelining=True)
        dialogue = self.begin(place)
        answers = self.ask(
            dialogue, b"RSET\r\n" + SENDER + ANN + b"BDAT 2\r\n\r\nBDAT 0 LAST\r\n" + SENDER + ANN + b"DATA\r\n"
        )
        self.assertEqual(answers[-1], "354 Send ")
        self.assertEqual(self.ask(dialogue, MESSAGE + SENDER + b"QUIT\r\n"), ["250 2.0.0", "250 2.1.0", "221 2.0.0"])

    def test_before_the_greeting(self) -> None:
        for early, answer in [(HELLO, "554 5.5.0"), (b"", "220 mail.")]:
            place = House(greeting_delay=2.0)
            dialogue = self.begin(place, early)
            self.assertEqual(self.ask(dialogue, b""), [])
            place.clock.advance(2.0)
            self.assertEqual(self.ask(dialogue, b""), [answer])
            self.assertEqual(dialogue.closed, bool(early))


class MistakeTests(LimitCase):
    """Refused commands of one address, over all its connections."""

    def test_limit(self) -> None:
        place = House(exempt=Networks(["203.0.113.0/24"]), soft_errors=99, hard_errors=99)
        for address, name in [("192.0.2.7", "192.0.2.8"), ("2001:db8::1", "2001:db8:0:1::1")]:
            mistakes = Allowance(10, 60.0, place.clock.seconds)
            self.begin(place, b"FOO\r\n" * 9, address, mistakes=mistakes)
            last = self.begin(place, b"FOO\r\n", address, mistakes=mistakes)
            self.assertFalse(last.closed)  # what is open goes on
            self.assertEqual(self.ask(last, HELLO)[0], "250-mail.")
            late = Dialogue(place.factory(mistakes=mistakes), address)
            self.assertEqual(late.hear()[:9], b"421 4.7.0")
            self.assertTrue(late.closed)
            for other in (name, "203.0.113.9", ""):
                self.assertEqual(Dialogue(place.factory(mistakes=mistakes), other).hear()[:4], b"220 ")
            place.clock.advance(7.0)
            self.assertEqual(Dialogue(place.factory(mistakes=mistakes), address).hear()[:4], b"220 ")

    def test_a_network_of_one_customer(self) -> None:
        place = House(soft_errors=99, hard_errors=99)
        mistakes = Allowance(3, 60.0, place.clock.seconds)
        for host in range(3):
            self.begin(place, b"FOO\r\n", f"2001:db8::{host}", mistakes=mistakes)
        self.assertEqual(Dialogue(place.factory(mistakes=mistakes), "2001:db8::ffff").hear()[:4], b"421 ")
        self.assertEqual(len(mistakes), 1)

    def test_exempt(self) -> None:
        place = House(exempt=Networks(["192.0.2.0/24"]), soft_errors=99, hard_errors=99)
        mistakes = Allowance(3, 60.0, place.clock.seconds)
        self.begin(place, b"FOO\r\n" * 9, mistakes=mistakes)
        self.assertEqual(len(mistakes), 0)

    def test_memory(self) -> None:
        place = House()
        mistakes = Allowance(3, 60.0, place.clock.seconds, remembered=10)
        for host in range(50):
            self.begin(place, b"FOO\r\n", f"192.0.2.{host}", mistakes=mistakes)
        self.assertEqual(len(mistakes), 10)


class OverloadTests(LimitCase):
    def test_messages_under_way(self) -> None:
        place, load = House(), Load(messages=2)
        factory = place.factory(load=load)
        dialogues = [Dialogue(factory) for _ in range(4)]
        for dialogue in dialogues:
            self.ask(dialogue, HELLO + SENDER + ANN)
        for dialogue in dialogues[:2]:
            self.assertEqual(self.ask(dialogue, b"DATA\r\n"), ["354 Send "])
        self.assertEqual(self.ask(dialogues[2], b"DATA\r\n"), ["452 4.3.2"])
        self.assertEqual(self.ask(dialogues[2], b"RSET\r\n" + SENDER), ["250 2.0.0", "452 4.3.2"])
        self.assertEqual(self.ask(dialogues[3], b"BDAT 6 LAST\r\nRSET\r\nNOOP\r\n"), ["452 4.3.2", "250 2.0.0"])
        self.assertEqual(Dialogue(factory).hear()[:9], b"421 4.3.2")
        self.assertEqual(self.ask(dialogues[0], MESSAGE), ["250 2.0.0"])
        self.assertEqual(self.ask(dialogues[2], SENDER + ANN + b"DATA\r\n")[-1], "354 Send ")
        dialogues[1].leave()
        self.ask(dialogues[2], MESSAGE)
        self.assertEqual((load.messages, load.octets), (0, 0))

    def test_octets_in_memory(self) -> None:
        place, load = House(), Load(octets=1000)
        factory = place.factory(load=load)
        first, second = Dialogue(factory), Dialogue(factory)
        for dialogue in (first, second):
            self.ask(dialogue, HELLO + SENDER + ANN + b"DATA\r\n")
        first.say(b"\r\n" + b"x" * 601 + b"\r\n")
        second.say(b"\r\n" + b"x" * 300)
        self.assertEqual(load.octets, 603 + 302)
        self.assertEqual(self.ask(second, b"x" * 100 + b"\r\n.\r\n"), ["452 4.3.2"])
        self.assertEqual(load.octets, 603)
        self.assertEqual(self.ask(first, b".\r\n"), ["250 2.0.0"])
        self.assertEqual((load.messages, load.octets), (0, 0))

    def test_what_is_on_disk_does_not_count(self) -> None:
        load = Load(octets=2 * IN_MEMORY)
        dialogue = self.begin(House(), HELLO + SENDER + ANN + b"DATA\r\n\r\n", load=load)
        for _ in range(60):
            dialogue.say(b"x" * 9998 + b"\r\n")
        self.assertEqual(load.octets, IN_MEMORY)
        self.assertEqual(self.ask(dialogue, b".\r\n"), ["250 2.0.0"])

    def test_whatever_ends_a_message(self) -> None:
        """Nothing stays counted: refusals, faults, and clients that leave."""
        place, load = House(max_size=100), Load(messages=5, octets=10_000)
        factory = place.factory(load=load)
        for end in (b"x" * 300 + b"\r\n.\r\n", b"a\nb\r\n.\r\n", b"\0\r\n.\r\n", b".\r\n"):
            dialogue = Dialogue(factory)
            self.ask(dialogue, HELLO + SENDER + ANN + b"DATA\r\n")
            self.ask(dialogue, b"\r\n" + end)
        place.intake.waits = Deferred()
        dialogue = Dialogue(factory)
        self.ask(dialogue, HELLO + SENDER + ANN + b"BDAT 2 LAST\r\n\r\n")
        dialogue.leave()
        self.assertEqual(load.messages, 1)
        place.intake.waits.errback(OSError("broken"))
        self.assertEqual((load.messages, load.octets), (0, 0))
        self.flushLoggedErrors(OSError)


class StressTests(LimitCase):
    def test_patience_wears_thin(self) -> None:
        """Beyond eighty of a hundred connections silence is borne for ten seconds, not three hundred."""
        for others, cut in [(7, False), (8, False), (9, True)]:
            place = House(timeout=300.0)
            factory = place.factory(limits=ConnectionLimits(10, 99, stress_timeout=10.0))
            silent = Dialogue(factory)
            self.ask(silent, HELLO)
            crowd = [Dialogue(factory, f"192.0.2.{n}") for n in range(others - 1)]
            place.clock.pump([1.0] * 9)
            self.assertFalse(silent.closed)
            for each in crowd:
                self.ask(each, b"NOOP\r\n")
            place.clock.pump([1.0] * 2)
            self.assertEqual(silent.closed, cut, others)
            self.assertFalse(any(each.closed for each in crowd))

    def test_work_is_not_cut_short(self) -> None:
        place = House()
        place.policies.waits = Deferred()
        factory = place.factory(limits=ConnectionLimits(1, 1, stress_timeout=10.0))
        busy = Dialogue(factory)
        self.ask(busy, HELLO + SENDER)
        place.clock.pump([1.0] * 60)
        place.policies.waits.callback(None)
        self.assertEqual(self.ask(busy, b"")[-1:], ["250 2.1.0"])
