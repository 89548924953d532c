"""Nothing that anybody sends makes a line of the log, or shows a secret in it."""

from __future__ import annotations

import io
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.envelope import Client, Service
from mailfw.mail.outcome import Deferred, Failed
from mailfw.mail.reply import Reply
from mailfw.testing.dialogue import Dialogue, run_now
from tests.queue.fixture import ANN, CAROL, House, PretendCourier
from tests.smtp.house import House as SMTPHouse

HOSTILE = ("\n", "\r", "\0", "\x0b", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\udcff")
SECRET = "correct horse battery"


def is_harmless(character: str) -> bool:
    """Whether it neither ends a line, nor moves a cursor, nor turns the text around."""
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


class LogCase(SynchronousTestCase):
    def written(self, work: Callable[[], object]) -> str:
        """Return what a log file has after something was done; each event must be one line of it."""
        file, events = io.StringIO(), list[Any]()
        observers: list[Any] = [textFileLogObserver(file), events.append]
        for observer in observers:
            globalLogPublisher.addObserver(observer)
        try:
            work()
        finally:
            for observer in observers:
                globalLogPublisher.removeObserver(observer)
        text = file.getvalue()
        self.assertEqual(len(text.splitlines()), len(events), text)
        self.assertEqual([each for each in text if not is_harmless(each) and each != "\n"], [], repr(text))
        self.assertGreater(len(events), 0)
        return text


class SessionTests(LogCase):
    def talk(self, *commands: bytes, service: Service = Service.SMTP) -> None:
        place = SMTPHouse(service, allow_plaintext_auth=True, hard_errors=9999, soft_errors=9999)
        dialogue = Dialogue(place.factory())
        for command in commands:
            dialogue.say(command + b"\r\n")
            place.clock.advance(60.0)
        dialogue.say(b"QUIT\r\n")
        dialogue.leave()

    def test_commands(self) -> None:
        for hostile in HOSTILE:
            octets = hostile.encode("utf-8", "surrogateescape")
            for command in (
                b"EHLO a" + octets + b"b",
                b"FOO" + octets + b" x",
                b"XCLIENT NAME=a" + octets,
                b"VRFY a" + octets,
                b"ETRN a" + octets,
                b"MAIL FROM:<a" + octets + b"@b> SMTPUTF8",
                b"MAIL FROM:<a@b" + octets + b"> SMTPUTF8",
                b"MAIL FROM:<a@b> ENVID=a" + octets,
                b"BDAT 1" + octets,
            ):
                self.written(lambda command=command: self.talk(b"EHLO a", command, b"RCPT TO:<ann@here.example>"))  # type: ignore[misc]

    def test_recipients(self) -> None:
        for hostile in HOSTILE:
            octets = hostile.encode("utf-8", "surrogateescape")
            told = (b"RCPT TO:<ann" + octets + b"@here.example>", b"RCPT TO:<ann@here.example> ORCPT=rfc822;a" + octets)
            self.written(lambda told=told: self.talk(b"EHLO a", b"MAIL FROM:<> SMTPUTF8", *told))  # type: ignore[misc]

    def test_names_and_passwords(self) -> None:
        """What is within an AUTH could be a password, so nothing of it is shown."""
        for hostile in HOSTILE:
            name = f"ann{hostile}x@here.example".encode("utf-8", "surrogateescape")
            plain = b64encode(b"\0" + name + b"\0" + SECRET.encode())
            text = self.written(
                lambda plain=plain: self.talk(b"EHLO a", b"AUTH PLAIN " + plain, service=Service.SUBMISSION)  # type: ignore[misc]
            )
            for secret in (SECRET, plain.decode(), b64encode(SECRET.encode()).decode()):
                self.assertNotIn(secret, text)
        right = b64encode(b"\0ann@here.example\0a correct horse")
        text = self.written(lambda: self.talk(b"EHLO a", b"AUTH PLAIN " + right, service=Service.SUBMISSION))
        self.assertNotIn("horse", text)
        self.assertNotIn(right.decode(), text)


class DeliveryTests(LogCase):
    def test_answers_of_others(self) -> None:
        for hostile in HOSTILE:
            for kind in (Deferred, Failed):
                courier = PretendCourier()
                courier.outcomes = {
                    CAROL: kind(Reply(451 if kind is Deferred else 550, "", f"no{hostile}way"), f"h{hostile}")
                }
                house = House(Path(self.mktemp()), courier=courier)
                house.runner.startService()
                client = Client(Service.SMTP, "192.0.2.7", 4000, f"a{hostile}b")

                def send(house: House = house, client: Client = client) -> None:
                    run_now(self, house.send(CAROL, sender=ANN, client=client))
                    house.settle()

                self.written(send)
                house.runner.stopService()
