from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailfw.testing.dialogue import Dialogue, hold_dialogue
from tests.pop3.house import House

#: With UTF-8 in its header (RFC 6532).
INTERNATIONAL = (
    "From: 하늘 <하늘@example.org>\r\nSubject: 제목\r\nMessage-ID: <하@example.org>\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n\r\n본문\r\n"
).encode()

DIALOGUES = Path(__file__).parent.parent / "dialogues"


class DialogueTests(SynchronousTestCase):
    """The long conversations, one file each."""

    def hold(self, name: str, *more: bytes, **settings: object) -> Dialogue:
        self.house = house = House(self, **settings)
        house.put(b"Subject: one\r\n\r\n.dot\r\n", b"two", *more)
        script = (DIALOGUES / f"pop3_{name}.txt").read_text(encoding="utf-8")
        return hold_dialogue(self, house.factory(), script)

    def test_authorization(self) -> None:
        self.assertTrue(self.hold("rfc1939_authorization").closed)

    def test_transaction(self) -> None:
        self.assertTrue(self.hold("rfc1939_transaction").closed)

    def test_capa(self) -> None:
        self.assertFalse(self.hold("rfc2449_capa").closed)

    def test_policies(self) -> None:
        self.assertTrue(self.hold("rfc2449_policies", expire=0, login_delay=60).closed)
        self.assertEqual(list(self.house.flags()), [1])

    def test_utf8_is_not_asked_for(self) -> None:
        self.assertTrue(self.hold("rfc6856_utf8", INTERNATIONAL).closed)

    def test_utf8(self) -> None:
        self.house = House(self, tls=object())
        self.house.put(INTERNATIONAL, account="하늘@example.org")
        script = (DIALOGUES / "pop3_rfc6856_utf8_on.txt").read_text(encoding="utf-8")
        self.assertTrue(hold_dialogue(self, self.house.factory(), script).closed)

    def test_lang(self) -> None:
        self.assertTrue(self.hold("rfc6856_lang", language="de").closed)

    def test_auth(self) -> None:
        self.assertTrue(self.hold("rfc5034_auth", login_attempts=5).closed)

    def test_stls(self) -> None:
        dialogue = self.hold("rfc2595_stls", allow_plaintext_auth=False, tls=object())
        self.assertTrue(dialogue.closed)
        self.assertTrue(dialogue.transport.tls_started)

    def test_unknown_commands(self) -> None:
        self.assertTrue(self.hold("unknown_commands").closed)
