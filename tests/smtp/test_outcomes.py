"""What becomes of a message, told as SMTP tells it and as LMTP does."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.envelope import Envelope, Service
from mailfw.mail.failure import NoSpace
from mailfw.mail.outcome import Deferred, Delivered, Failed, Outcome
from mailfw.mail.reply import Reply
from mailfw.mail.verdict import Discard
from mailfw.testing.dialogue import Dialogue
from tests.smtp.house import House

LATER, FULL = Deferred(Reply(450, "4.2.1", "Busy")), Deferred(Reply(452, "4.2.2", "Full"))
NEVER = Failed(Reply(554, "5.6.0", "Never\r\n250 OK"))
TO = b"RCPT TO:<ann@here.example>\r\nRCPT TO:<bob@here.example>\r\nRCPT TO:<o'neil@here.example>\r\n"


class OutcomeCase(SynchronousTestCase):
    def answers(self, place: House, *outcomes: Outcome, recipients: bytes = TO, body: bytes = b"x\r\n") -> list[str]:
        place.intake.answer = lambda envelope: list(outcomes)
        dialogue = Dialogue(place.factory())
        hello = b"LHLO" if place.settings.service is Service.LMTP else b"EHLO"
        dialogue.say(hello + b" a\r\nMAIL FROM:<eve@far.example>\r\n" + recipients + b"DATA\r\n")
        dialogue.hear()
        dialogue.say(body + b".\r\nNOOP\r\n")
        heard = dialogue.hear().decode().split("\r\n")[:-1]
        self.assertEqual(heard.pop(), "250 2.0.0 OK")
        return [line.partition(" Taken as")[0] for line in heard]


class FoldingTests(OutcomeCase):
    def test_smtp(self) -> None:
        table: list[tuple[tuple[Outcome, ...], list[str]]] = [
            ((Delivered(), Delivered(), Delivered()), ["250 2.0.0"]),
            ((NEVER, LATER, Delivered()), ["250 2.0.0"]),
            ((NEVER, LATER, FULL), ["450 4.2.1 Busy"]),
            ((NEVER, NEVER, FULL), ["452 4.2.2 Full"]),
            ((NEVER, NEVER, NEVER), ["554-5.6.0 Never", "554 5.6.0 250 OK"]),
        ]
        for outcomes, answers in table:
            self.assertEqual(self.answers(House(), *outcomes), answers)

    def test_lmtp(self) -> None:
        """RFC 2033 section 4.2: one for each RCPT that was accepted, in order."""
        place = House(Service.LMTP)
        answers = self.answers(place, LATER, Delivered(), NEVER)
        self.assertEqual(answers, ["450 4.2.1 Busy", "250 2.0.0", "554-5.6.0 Never", "554 5.6.0 250 OK"])

    def test_lmtp_with_one_twice_and_one_discarded(self) -> None:
        place = House(Service.LMTP)
        place.policies.recipients = {"bob@here.example": Discard("away")}
        recipients = TO + b"RCPT TO:<ann@here.example>\r\nRCPT TO:<nobody@here.example>\r\n"
        answers = self.answers(place, LATER, Delivered(), recipients=recipients)
        self.assertEqual(answers, ["450 4.2.1 Busy", "250 2.0.0", "250 2.0.0", "450 4.2.1 Busy"])

    def test_lmtp_refuses_for_each(self) -> None:
        place = House(Service.LMTP, max_size=5)
        self.assertEqual(self.answers(place, body=b"too long\r\n"), ["552 5.3.4 Message too large"] * 3)
        self.assertEqual(place.intake.taken, [])


class FaultTests(OutcomeCase):
    def break_down(self, service: Service, fault: Exception) -> list[str]:
        def answer(envelope: Envelope) -> list[Outcome]:
            raise fault

        place = House(service)
        place.intake.answer = answer
        dialogue = Dialogue(place.factory())
        hello = b"LHLO" if service is Service.LMTP else b"EHLO"
        dialogue.say(hello + b" a\r\nMAIL FROM:<>\r\n" + TO + b"DATA\r\n")
        dialogue.hear()
        dialogue.say(b"x\r\n.\r\n")
        self.assertEqual(place.intake.drafts[0].closed, 1)
        return [line[:9].decode() for line in dialogue.hear().split(b"\r\n")[:-1]]

    def test_an_intake_at_fault(self) -> None:
        self.assertEqual(self.break_down(Service.SMTP, OSError("broken")), ["451 4.3.0"])
        self.assertEqual(self.break_down(Service.LMTP, OSError("broken")), ["451 4.3.0"] * 3)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)

    def test_no_space(self) -> None:
        self.assertEqual(self.break_down(Service.SMTP, NoSpace()), ["452 4.3.1"])

    def test_too_few_outcomes(self) -> None:
        self.assertEqual(self.answers(House(), Delivered()), ["451 4.3.0 Local error; try again later"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_draft_that_cannot_be_closed(self) -> None:
        place = House()

        async def close() -> None:
            raise OSError("broken")

        make = place.intake.make

        def broken() -> object:
            draft = make()
            draft.close = close  # type: ignore[method-assign]  # one draft alone is to fail
            return draft

        place.intake.make = broken  # type: ignore[assignment]  # as above
        self.assertEqual(self.answers(place, *[Delivered()] * 3), ["250 2.0.0"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
