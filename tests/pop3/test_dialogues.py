from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailfw.testing.dialogue import Dialogue, hold_dialogue
from tests.pop3.house import House

DIALOGUES = Path(__file__).parent.parent / "dialogues"


class DialogueTests(SynchronousTestCase):
    """The long conversations, one file each."""

    def hold(self, name: str, **settings: object) -> Dialogue:
        house = House(self, **settings)
        house.put(b"Subject: one\r\n\r\n.dot\r\n", b"two")
        script = (DIALOGUES / f"pop3_{name}.txt").read_text(encoding="utf-8")
        return hold_dialogue(self, house.factory(), script)

    def test_authorization(self) -> None:
        self.assertTrue(self.hold("rfc1939_authorization").closed)

    def test_transaction(self) -> None:
        self.assertTrue(self.hold("rfc1939_transaction").closed)

    def test_capa(self) -> None:
        self.assertFalse(self.hold("rfc2449_capa").closed)

    def test_auth(self) -> None:
        self.assertTrue(self.hold("rfc5034_auth", login_attempts=5).closed)

    def test_stls(self) -> None:
        dialogue = self.hold("rfc2595_stls", allow_plaintext_auth=False, tls=object())
        self.assertTrue(dialogue.closed)
        self.assertTrue(dialogue.transport.tls_started)

    def test_unknown_commands(self) -> None:
        self.assertTrue(self.hold("unknown_commands").closed)
