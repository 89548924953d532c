"""What a session does beyond the words of its commands: policies, limits, pipelining, ends."""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.envelope import Service
from mailfw.mail.verdict import Accept, Defer, Discard, Modify, Quarantine, Refuse
from mailfw.smtp.settings import EnvelopeIds
from mailfw.testing.dialogue import Dialogue
from mailfw.wire.limits import ConnectionLimits
from tests.smtp.house import House

HELLO = b"EHLO client.example\r\n"
SENDER = b"MAIL FROM:<eve@far.example>\r\n"
ANN = b"RCPT TO:<ann@here.example>\r\n"
BOB = b"RCPT TO:<bob@here.example>\r\n"
MESSAGE = b"Subject: x\r\n\r\n.\r\n"


class SessionCase(SynchronousTestCase):
    def begin(self, place: House, octets: bytes = b"") -> Dialogue:
        """Begin a dialogue and pass over what it says."""
        dialogue = Dialogue(place.factory())
        dialogue.say(octets)
        dialogue.hear()
        return dialogue

    def ask(self, dialogue: Dialogue, octets: bytes) -> list[str]:
        """Return the codes and statuses of the replies."""
        dialogue.say(octets)
        return [line[:9].decode() for line in dialogue.hear().split(b"\r\n")[:-1]]

    def events(self) -> list[dict[str, Any]]:
        """Collect what is logged from now on, not by sessions that earlier tests have left behind."""
        gc.collect()
        found: list[dict[str, Any]] = []
        observer: Any = found.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return found


class PipeliningTests(SessionCase):
    def test_one_segment_one_answer(self) -> None:
        """RFC 2920 section 3.2: the replies to a group leave together, in order."""
        place = House()
        dialogue = self.begin(place, HELLO)
        written: list[bytes] = []
        write = StringTransport.write

        def note(transport: StringTransport, data: bytes) -> None:
            written.append(data)
            write(transport, data)

        self.patch(StringTransport, "write", note)
        codes = self.ask(dialogue, SENDER + ANN + b"RCPT TO:<nobody@here.example>\r\n" + BOB + b"DATA\r\n")
        self.assertEqual(codes, ["250 2.1.0", "250 2.1.5", "550 5.1.1", "250 2.1.5", "354 Send "])
        self.assertEqual(len(written), 1)
        codes = self.ask(dialogue, MESSAGE + SENDER + ANN + b"QUIT\r\n" + SENDER)
        self.assertEqual(codes, ["250 2.0.0", "250 2.1.0", "250 2.1.5", "221 2.0.0"])
        self.assertEqual(len(written), 2)

    def test_one_at_a_time_and_in_order(self) -> None:
        """A slow policy holds back what follows: RSET cannot overtake MAIL."""
        place = House()
        dialogue = self.begin(place, HELLO)
        place.policies.waits = Deferred()
        self.assertEqual(self.ask(dialogue, SENDER + ANN + b"RSET\r\n" + ANN), [])
        place.policies.waits.callback(None)
        self.assertEqual(self.ask(dialogue, b""), ["250 2.1.0", "250 2.1.5", "250 2.0.0", "503 5.5.1"])

    def test_two_messages(self) -> None:
        place = House()
        dialogue = self.begin(place, HELLO)
        self.ask(dialogue, SENDER + ANN + b"DATA\r\n" + MESSAGE)
        self.ask(dialogue, b"MAIL FROM:<>\r\n" + BOB + b"DATA\r\n" + MESSAGE)
        first, second = (envelope for _, envelope, _ in place.intake.taken)
        self.assertLess(first.id, second.id)
        self.assertIsNone(second.sender)
        self.assertEqual([str(each) for each in second.recipients], ["bob@here.example"])


class PolicyTests(SessionCase):
    def test_refused_at_once(self) -> None:
        """RFC 5321 section 3.1: 554 in place of the greeting, then only QUIT."""
        place = House()
        place.policies.connect = Refuse("We know\r\nyou\0", "5.7.1", 550)
        dialogue = Dialogue(place.factory())
        self.assertEqual(dialogue.hear(), b"554-5.7.1 We know\r\n554 5.7.1 you\r\n")
        self.assertFalse(dialogue.closed)
        self.assertEqual(self.ask(dialogue, HELLO + SENDER + b"QUIT\r\n"), ["503 5.5.1", "503 5.5.1", "221 2.0.0"])
        self.assertTrue(dialogue.closed)

    def test_deferred_at_once(self) -> None:
        place = House()
        place.policies.connect = Defer("Busy", "4.7.1")
        dialogue = Dialogue(place.factory())
        self.assertEqual(dialogue.hear(), b"421 4.7.1 Busy\r\n")
        self.assertTrue(dialogue.closed)

    def test_each_stage(self) -> None:
        place = House()
        dialogue = self.begin(place)
        place.policies.helo = Refuse("A liar", "5.7.1", 550)
        self.assertEqual(self.ask(dialogue, HELLO + SENDER), ["550 5.7.1", "503 5.5.1"])
        place.policies.helo = None
        self.ask(dialogue, HELLO)
        place.policies.sender = Defer("Later", "4.7.1", 450)
        self.assertEqual(self.ask(dialogue, SENDER + ANN), ["450 4.7.1", "503 5.5.1"])
        place.policies.sender = Accept()
        place.policies.recipients = {"ann@here.example": Refuse("Not her"), "bob@here.example": Modify(())}
        self.assertEqual(
            self.ask(dialogue, SENDER + ANN + BOB + b"DATA\r\n"),
            ["250 2.1.0", "550 5.7.1", "250 2.1.5", "354 Send "],
        )
        self.ask(dialogue, MESSAGE)
        self.assertEqual([str(each) for each in place.intake.taken[0][1].recipients], ["bob@here.example"])

    def test_a_421_closes(self) -> None:
        place = House()
        dialogue = self.begin(place, HELLO)
        place.policies.sender = Defer("Enough", "4.7.0", 421)
        self.assertEqual(self.ask(dialogue, SENDER + ANN), ["421 4.7.0"])
        self.assertTrue(dialogue.closed)

    def test_what_policies_hear(self) -> None:
        place = House()
        self.begin(place, HELLO + SENDER + ANN)
        stages = [each[0] for each in place.policies.asked]
        self.assertEqual(stages, ["connect", "helo", "sender", "recipient"])
        connect, helo, sender, recipient = place.policies.asked
        self.assertEqual((connect[1].address, connect[1].port, connect[1].helo), ("192.0.2.7", 40000, ""))
        self.assertEqual((helo[1].helo, helo[1].extended, helo[1].service), ("client.example", True, Service.SMTP))
        self.assertEqual(str(sender[2]), "eve@far.example")
        self.assertEqual((str(recipient[2]), str(recipient[3])), ("eve@far.example", "ann@here.example"))

    def test_who_is_known_to_another_server(self) -> None:
        """A rule about an address of ours has its mail taken elsewhere: whether anybody has it is said there."""
        dialogue = self.begin(House(), HELLO)
        both = b"RCPT TO:<gateway@here.example>\r\nRCPT TO:<nobody@here.example>\r\n"
        codes = self.ask(dialogue, SENDER + both)
        self.assertEqual(codes, ["250 2.1.0", "250 2.1.5", "550 5.1.1"])

    def test_nobody_is_asked_about_who_does_not_exist(self) -> None:
        place = House()
        self.begin(place, HELLO + SENDER + b"RCPT TO:<nobody@here.example>\r\nRCPT TO:<u@far.example>\r\n" + ANN + ANN)
        self.assertEqual([each[0] for each in place.policies.asked].count("recipient"), 1)

    def test_a_refused_helo_leaves_all_as_it_was(self) -> None:
        place = House()
        dialogue = self.begin(place, HELLO + SENDER)
        place.policies.helo = Refuse("No")
        self.assertEqual(self.ask(dialogue, HELLO + b"EHLO\r\n" + ANN), ["550 5.7.1", "501 5.5.4", "250 2.1.5"])

    def test_a_discarded_recipient(self) -> None:
        place = House()
        place.policies.recipients = {"ann@here.example": Discard("away")}
        dialogue = self.begin(place, HELLO)
        self.ask(dialogue, SENDER + ANN + BOB + b"DATA\r\n" + MESSAGE)
        self.assertEqual([str(each) for each in place.intake.taken[0][1].recipients], ["bob@here.example"])
        self.assertEqual(self.ask(dialogue, SENDER + ANN + b"DATA\r\n" + MESSAGE)[-1], "250 2.0.0")
        self.assertEqual(len(place.intake.drafts), 1)

    def test_a_discarded_sender(self) -> None:
        place = House()
        place.policies.sender = Discard("spam")
        dialogue = self.begin(place, HELLO)
        codes = self.ask(dialogue, SENDER + ANN + b"RCPT TO:<u@far.example>\r\nDATA\r\n" + MESSAGE)
        self.assertEqual(codes, ["250 2.1.0", "250 2.1.5", "550 5.7.1", "354 Send ", "250 2.0.0"])
        place.policies.sender = None
        self.ask(dialogue, SENDER + ANN + b"DATA\r\n" + MESSAGE)
        self.assertEqual(len(place.intake.taken), 1)

    def test_quarantine_is_left_for_the_intake(self) -> None:
        place = House()
        place.policies.sender = Quarantine("odd")
        dialogue = self.begin(place, HELLO + SENDER + ANN + b"DATA\r\n" + MESSAGE)
        place.policies.sender = None
        dialogue.say(SENDER + ANN + b"DATA\r\n" + MESSAGE)
        first, second = (client.findings for client, _, _ in place.intake.taken)
        self.assertEqual((first, second), ({"smtp.quarantine": "odd"}, {}))

    def test_a_directory_at_fault(self) -> None:
        place = House()
        place.directory.fails = OSError("the database is away")
        dialogue = self.begin(place, HELLO + SENDER)
        self.assertEqual(self.ask(dialogue, ANN), ["451 4.3.0"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        place.directory.fails = None
        self.assertEqual(self.ask(dialogue, ANN), ["250 2.1.5"])


class LimitTests(SessionCase):
    def test_line(self) -> None:
        dialogue = self.begin(House())
        self.assertEqual(self.ask(dialogue, b"NOOP ".ljust(2046, b"x") + b"\r\n"), ["250 2.0.0"])
        self.assertEqual(self.ask(dialogue, b"NOOP ".ljust(2047, b"x") + b"\r\n"), ["500 5.5.6"])
        self.assertEqual(self.ask(dialogue, b"x" * 100_000), ["500 5.5.6"])
        self.assertLess(len(dialogue.protocol.stream.buffered), 10)
        self.assertEqual(self.ask(dialogue, b"x" * 100_000 + b"\r\nNOOP\r\n"), ["250 2.0.0"])

    def test_recipients(self) -> None:
        place = House(max_recipients=2)
        dialogue = self.begin(place, HELLO + SENDER)
        self.assertEqual(self.ask(dialogue, ANN + BOB + ANN), ["250 2.1.5", "250 2.1.5", "452 4.5.3"])

    def test_size(self) -> None:
        place = House(max_size=100)
        dialogue = self.begin(place, HELLO)
        self.assertEqual(self.ask(dialogue, b"MAIL FROM:<> SIZE=101\r\n" + ANN), ["552 5.3.4", "503 5.5.1"])
        self.ask(dialogue, b"MAIL FROM:<> SIZE=100\r\n" + ANN + b"DATA\r\n")
        self.assertEqual(self.ask(dialogue, b"x" * 99 + b"\r\n.\r\nNOOP\r\n"), ["552 5.3.4", "250 2.0.0"])
        self.ask(dialogue, b"MAIL FROM:<> SIZE=100\r\n" + ANN + b"DATA\r\n")
        self.assertEqual(self.ask(dialogue, b"x" * 98 + b"\r\n.\r\n"), ["250 2.0.0"])

    def test_errors(self) -> None:
        """Ten are answered at once, ten more after a second each, then no more."""
        place = House()
        dialogue = self.begin(place)
        self.assertEqual(self.ask(dialogue, b"FOO\r\n" * 30), ["500 5.5.1"] * 10)
        for _ in range(10):
            self.assertFalse(dialogue.closed)
            self.assertEqual(self.ask(dialogue, b""), [])
            place.clock.advance(0.5)
            self.assertEqual(self.ask(dialogue, b""), [])
            place.clock.advance(0.5)
            heard = self.ask(dialogue, b"")
            self.assertEqual(heard[0], "500 5.5.1")
        self.assertEqual(heard, ["500 5.5.1", "421 4.7.0"])
        self.assertTrue(dialogue.closed)

    def test_a_message_forgives_errors(self) -> None:
        dialogue = self.begin(House(), HELLO)
        for _ in range(5):
            self.assertEqual(self.ask(dialogue, b"FOO\r\n" * 10), ["500 5.5.1"] * 10)
            self.assertEqual(self.ask(dialogue, SENDER + ANN + b"DATA\r\n" + MESSAGE)[-1], "250 2.0.0")

    def test_our_own_trouble_is_no_error_of_theirs(self) -> None:
        place = House()
        dialogue = self.begin(place, HELLO)
        place.policies.sender = Defer("Later")
        self.assertEqual(self.ask(dialogue, SENDER * 40), ["451 4.7.1"] * 40)

    def test_connections(self) -> None:
        factory = House().factory(limits=ConnectionLimits(3, 2))
        dialogues = [Dialogue(factory, address=address) for address in ("192.0.2.1", "192.0.2.1")]
        third = Dialogue(factory, address="192.0.2.1")
        self.assertEqual(third.hear(), b"421 4.3.2 Too many connections\r\n")
        self.assertTrue(third.closed)
        self.assertEqual(Dialogue(factory, address="192.0.2.2").hear()[:4], b"220 ")
        self.assertEqual(Dialogue(factory, address="192.0.2.3").hear()[:4], b"421 ")
        dialogues[0].leave()
        self.assertEqual(Dialogue(factory, address="192.0.2.1").hear()[:4], b"220 ")


class EndTests(SessionCase):
    def test_timeout(self) -> None:
        place = House(timeout=60.0)
        dialogue = self.begin(place, b"NOO")
        place.clock.pump([1.0] * 59)
        self.assertFalse(dialogue.closed)
        place.clock.pump([1.0] * 2)
        self.assertEqual(dialogue.hear(), b"421 4.4.2 Timeout; closing the connection\r\n")
        self.assertTrue(dialogue.closed)

    def test_one_octet_at_a_time_buys_no_time(self) -> None:
        place = House(timeout=60.0)
        dialogue = self.begin(place)
        for _ in range(61):
            dialogue.say(b"x")
            place.clock.advance(1.0)
        self.assertEqual(dialogue.hear()[:9], b"421 4.4.2")

    def test_slow_data(self) -> None:
        """What comes slower than 500 octets a second is cut off once its grace is spent."""
        place = House(timeout=60.0)
        dialogue = self.begin(place, HELLO + SENDER + ANN + b"DATA\r\n")
        for _ in range(70):
            dialogue.say(b"x" * 20)
            place.clock.advance(1.0)
        self.assertEqual(dialogue.hear()[:9], b"421 4.4.2")
        self.assertEqual([draft.closed for draft in place.intake.drafts], [1])
        self.assertEqual(place.intake.taken, [])

    def test_fast_enough_data(self) -> None:
        place = House(timeout=60.0)
        dialogue = self.begin(place, HELLO + SENDER + ANN + b"DATA\r\n")
        dialogue.say(b"Subject: x\r\n\r\n")
        for _ in range(300):
            dialogue.say(b"x" * 600 + b"\r\n")
            place.clock.advance(1.0)
        self.assertEqual(self.ask(dialogue, b".\r\n"), ["250 2.0.0"])

    def test_leaving_within_data(self) -> None:
        place = House()
        dialogue = self.begin(place, HELLO + SENDER + ANN + b"DATA\r\nSubject: half")
        dialogue.leave()
        self.assertEqual([draft.closed for draft in place.intake.drafts], [1])
        self.assertEqual(place.intake.taken, [])

    def test_leaving_while_it_is_kept(self) -> None:
        """A client that goes while we commit changes nothing; the session ends behind it."""
        place = House()
        place.intake.waits = Deferred()
        dialogue = self.begin(place, HELLO + SENDER + ANN + b"DATA\r\n" + MESSAGE)
        dialogue.leave()
        self.assertEqual(place.intake.drafts[0].closed, 0)
        place.intake.waits.callback(None)
        self.assertEqual(len(place.intake.taken), 1)
        self.assertEqual(place.intake.drafts[0].closed, 1)

    def test_half_closed(self) -> None:
        """Whoever says all it has to say and closes its side is answered."""
        place = House()
        dialogue = self.begin(place)
        dialogue.say(HELLO + SENDER + ANN + b"DATA\r\n" + MESSAGE)
        dialogue.protocol.readConnectionLost()
        self.assertIn(b"250 2.0.0 Taken", dialogue.hear())
        self.assertTrue(dialogue.closed)

    def test_shut_down(self) -> None:
        place = House()
        factory = place.factory()
        idle, busy = Dialogue(factory), Dialogue(factory)
        busy.say(HELLO + SENDER + ANN + b"DATA\r\nSubject: ")
        idle.hear(), busy.hear()
        stopped = Deferred.fromCoroutine(factory.shut_down())
        self.assertEqual(idle.hear(), b"421 4.3.2 Shutting down; come back later\r\n")
        self.assertTrue(idle.closed)
        self.assertNoResult(stopped)
        self.assertEqual(self.ask(busy, b"x\r\n.\r\nNOOP\r\n"), ["250 2.0.0", "421 4.3.2"])
        self.assertEqual(len(place.intake.taken), 1)
        self.successResultOf(stopped)


class LogTests(SessionCase):
    def test_one_event_a_message_and_one_a_connection(self) -> None:
        events = self.events()
        dialogue = self.begin(House(), HELLO + SENDER + ANN + b"RCPT TO:<\xc3\xbc@x>\r\nFOO \x1b[2J\r\n")
        self.ask(dialogue, b"DATA\r\n" + MESSAGE + b"QUIT\r\n")
        message, connection = events
        self.assertEqual((message["sender"], message["recipients"]), ("eve@far.example", ["ann@here.example"]))
        self.assertEqual((message["size"], message["helo"], message["address"]), (14, "client.example", "192.0.2.7"))
        self.assertEqual(message["answers"], [f"250 2.0.0 Taken as {message['id']}"])
        self.assertEqual((connection["end"], connection["messages"], connection["errors"]), ("quit", 1, 0))
        self.assertEqual(connection["refusals"], ["553 5.6.7 'RCPT TO:<\\xfc@x>'", "500 5.5.2 'FOO'"])

    def test_ends(self) -> None:
        events = self.events()
        self.begin(House()).leave()
        place = House()
        self.begin(place)
        place.clock.pump([1.0] * 301)
        self.begin(House(), b"GET / HTTP/1.1\r\n")
        self.assertEqual([event["end"] for event in events], ["disconnection", "timeout", "refused"])


class IdTests(SynchronousTestCase):
    def test_in_the_order_of_time(self) -> None:
        now = iter([5_000, 5_000, 9_000, 7_000])
        ids = EnvelopeIds(lambda: next(now))
        made = [ids() for _ in range(4)]
        self.assertEqual([int(each[:13], 16) for each in made], [5, 6, 9, 10])
        self.assertEqual({len(each) for each in made}, {18})
        self.assertEqual(len({each[13:] for each in made}), 1)
