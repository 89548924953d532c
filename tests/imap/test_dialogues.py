"""Whole conversations, from ``tests/dialogues/imap_*.txt``."""

from pathlib import Path

from mailfw.testing.dialogue import hold_dialogue, parse_script
from tests.imap.sessions import SessionCase

FOLDER = Path(__file__).parent.parent / "dialogues"


class Dialogues(SessionCase):
    """Two messages are in the inbox."""

    def hold(self, name: str) -> None:
        self.put(2)
        hold_dialogue(self, self.make_factory(), (FOLDER / f"imap_{name}.txt").read_text("utf-8"))

    def test_states(self) -> None:
        self.hold("rfc3501_states")

    def test_messages(self) -> None:
        self.hold("rfc3501_messages")

    def test_mailboxes(self) -> None:
        self.hold("rfc3501_mailboxes")

    def test_list_with_options(self) -> None:
        self.hold("rfc5258_list")

    def test_annotations(self) -> None:
        self.hold("rfc5464_metadata")

    def test_literals(self) -> None:
        self.hold("rfc7888_literals")

    def test_several_messages(self) -> None:
        self.hold("rfc3502_multiappend")

    def test_modification_sequences(self) -> None:
        self.hold("rfc7162_condstore")

    def test_coming_back(self) -> None:
        self.hold("rfc7162_qresync")

    def test_messages_without_numbers(self) -> None:
        self.hold("rfc9586_uidonly")

    def test_what_is_found(self) -> None:
        self.hold("rfc4731_esearch")

    def test_idle(self) -> None:
        self.hold("rfc2177_idle")


class Pieces(SessionCase):
    def test_any_split_of_the_octets_gives_the_same_dialogue(self) -> None:
        script = (FOLDER / "imap_rfc7888_literals.txt").read_text("utf-8")
        octets = b"".join(line.encode() + b"\r\n" for who, line in parse_script(script) if who == "C")
        heard = set()
        for size in (1, 2, 3, 7, 64, len(octets)):
            self.setUp()
            self.put(2)
            dialogue = self.connect()
            for start in range(0, len(octets), size):
                dialogue.say(octets[start : start + size])
            answers = dialogue.hear().splitlines()
            heard.add(b"\n".join(line for line in answers if b"APPENDUID" not in line))
        self.assertEqual(len(heard), 1)
