"""The conversations of tests/dialogues, whole."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.envelope import Service
from mailfw.testing.dialogue import Dialogue, hold_dialogue, parse_script
from tests.smtp.house import House

SCRIPTS = Path(__file__).parent.parent / "dialogues"
#: Limits of errors are tried elsewhere.
PATIENT: dict[str, Any] = {"soft_errors": 99, "hard_errors": 99}


def house(name: str) -> House:
    """Return the house that a script was written for."""
    if name.startswith("smtp_rfc4954"):
        return House(Service.SUBMISSION, allow_plaintext_auth=True, **PATIENT)
    return House(Service.LMTP if name.startswith("smtp_lmtp") else Service.SMTP, **PATIENT)


class DialogueTests(SynchronousTestCase):
    def play(self, name: str) -> tuple[House, Dialogue]:
        place = house(name)
        return place, hold_dialogue(self, place.factory(), (SCRIPTS / f"{name}.txt").read_text())

    def test_commands(self) -> None:
        place, dialogue = self.play("smtp_rfc5321_4_1_commands")
        self.assertTrue(dialogue.closed)
        [(client, envelope, content)] = place.intake.taken
        self.assertEqual(content, b"Subject: hello\r\n\r\n.dotted\r\n")
        self.assertEqual(place.intake.hints, [100])
        self.assertEqual((client.helo, client.protocol, envelope.body), ("client.example", "ESMTP", "8BITMIME"))
        self.assertEqual([str(each) for each in envelope.recipients], ["ann@here.example", "Bob@here.example"])

    def test_order(self) -> None:
        place, _ = self.play("smtp_rfc5321_4_1_4_order")
        self.assertEqual(place.intake.drafts, [])

    def test_open_relay(self) -> None:
        self.play("smtp_rfc5321_7_open_relay")

    def test_addresses(self) -> None:
        self.play("smtp_rfc5321_4_1_2_addresses")

    def test_parameters(self) -> None:
        self.play("smtp_rfc1869_parameters")

    def test_smtputf8(self) -> None:
        self.play("smtp_rfc6531_smtputf8")

    def test_auth(self) -> None:
        place, _ = self.play("smtp_rfc4954_auth")
        [(client, envelope, _)] = place.intake.taken
        self.assertEqual((client.account, client.protocol), ("ann@here.example", "ESMTPA"))
        self.assertEqual([str(each) for each in envelope.recipients], ["u@remote.example"])
        self.assertEqual(place.portal.left, 1)

    def test_auth_login(self) -> None:
        _, dialogue = self.play("smtp_rfc4954_auth_login")
        self.assertTrue(dialogue.closed)

    def test_lmtp(self) -> None:
        place, _ = self.play("smtp_lmtp_rfc2033")
        [(client, envelope, _)] = place.intake.taken
        self.assertEqual(client.protocol, "LMTP")
        self.assertEqual([str(each) for each in envelope.recipients], ["ann@here.example", "bob@here.example"])

    def test_cross_protocol(self) -> None:
        _, dialogue = self.play("smtp_cross_protocol")
        self.assertTrue(dialogue.closed)

    def test_unknown_commands(self) -> None:
        self.play("smtp_unknown_commands")


class SplitTests(SynchronousTestCase):
    """However the octets arrive, the conversation is the same."""

    @settings(deadline=None, max_examples=60)
    @given(
        st.sampled_from(sorted(path.stem for path in SCRIPTS.glob("smtp_*.txt"))),
        st.lists(st.integers(0, 2000), max_size=40),
    )
    def test_any_split(self, name: str, cuts: list[int]) -> None:
        steps = parse_script((SCRIPTS / f"{name}.txt").read_text())
        octets = b"".join(text.encode() + b"\r\n" for who, text in steps if who == "C")
        self.assertEqual(self.held(name, octets, cuts), self.held(name, octets, []))

    def held(self, name: str, octets: bytes, cuts: list[int]) -> bytes:
        place = house(name)
        ids = iter(range(99))
        factory = place.factory()
        dialogue = Dialogue(factory)
        edges = sorted({0, len(octets), *(cut for cut in cuts if cut < len(octets))})
        for start, end in itertools.pairwise(edges):
            dialogue.say(octets[start:end])
        heard = dialogue.hear()
        for _, envelope, _ in place.intake.taken:
            heard = heard.replace(envelope.id.encode(), b"message %d" % next(ids))
        return heard
