"""Keywords: one for each word in whatever case, and no more in a mailbox than a client can be told of."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap.keywords import MOST, every_spelling, have_room, spelled
from mailfw.mail.mailbox import SEEN
from mailfw.testing.dialogue import Dialogue
from tests.imap.sessions import SessionCase


def words(start: int, count: int) -> list[str]:
    return [f"word{number}" for number in range(start, start + count)]


class SpellingTests(SynchronousTestCase):
    def test_a_mailbox_has_its_own(self) -> None:
        known = frozenset({"Project", "todo"})
        for flags, expected in (
            ({"project", SEEN}, {"Project", SEEN}),
            ({"Project", "other"}, {"Project", "other"}),
            ({"new", "New", "NEW"}, {"NEW"}),
            ({SEEN}, {SEEN}),
        ):
            self.assertEqual(spelled(frozenset(flags), known), expected)
        self.assertEqual(spelled(frozenset({"todo"}), frozenset({"todo", "Todo"})), {"todo"})

    def test_all_that_mean_the_same(self) -> None:
        known = frozenset({"Project", "project", "todo"})
        self.assertEqual(every_spelling(frozenset({"PROJECT", SEEN}), known), {"PROJECT", "Project", "project", SEEN})

    def test_room_for_what_is_there(self) -> None:
        known = frozenset(words(0, MOST + 10))
        self.assertTrue(have_room(frozenset({SEEN, "word3"}), known))
        self.assertFalse(have_room(frozenset({"another"}), known))


class KeywordTests(SessionCase):
    def append(self, here: Dialogue, *flags: str, mailbox: str = "INBOX") -> bytes:
        return self.ask(here, b"a APPEND %b (%b) {3+}\r\nx\r\n" % (mailbox.encode(), " ".join(flags).encode()))

    def change(self, here: Dialogue, words: str) -> bytes:
        return self.ask(here, b"a STORE " + words.encode())

    def fill(self, here: Dialogue) -> None:
        for start in range(0, MOST, 100):
            self.assertIn(b"a OK", self.append(here, *words(start, 100)))

    def test_no_more_come_in_by_any_way(self) -> None:
        here = self.log_in()
        self.fill(here)
        self.assertIn(b"a NO [LIMIT]", self.append(here, "another"))
        self.assertIn(b"a OK", self.append(here, "WORD7"))
        self.append(here, "another", mailbox="Sent")
        self.ask(here, b"a SELECT Sent")
        for command in (b"COPY 1 INBOX", b"MOVE 1 INBOX", b"REPLACE 1 INBOX (yetanother) {3+}\r\nx\r\n"):
            self.assertIn(b"a NO [LIMIT]", self.ask(here, b"a " + command))
        self.assertEqual([sorted(each) for each in self.flags(("Sent",)).values()], [["another"]])
        self.ask(here, b"a SELECT INBOX")
        self.assertIn(b"a NO [LIMIT]", self.change(here, "1 +FLAGS (another)"))

    def test_others_can_always_be_set(self) -> None:
        """Also in a mailbox that has too many, as other servers may leave them."""
        self.put(1, *words(0, MOST + 50))
        here = self.open()
        self.assertIn(b"a OK", self.change(here, "1 +FLAGS (\\Seen \\Deleted)"))
        self.assertIn(b"* 1 EXPUNGE", self.ask(here, b"a EXPUNGE"))

    def test_what_is_in_use_no_more_does_not_count(self) -> None:
        self.put(2)
        here = self.open()
        for start in range(0, 3 * MOST, 100):
            self.assertIn(b"a OK", self.change(here, f"1 FLAGS.SILENT ({' '.join(words(start, 100))})"))
        for start in range(0, MOST, 100):
            self.append(here, *words(start, 100), mailbox="Sent")
        self.assertIn(b"a NO [LIMIT]", self.append(here, "another", mailbox="Sent"))
        self.ask(here, b"a SELECT Sent")
        self.ask(here, b"a STORE 1:* +FLAGS.SILENT (\\Deleted)")
        self.ask(here, b"a EXPUNGE")
        self.assertIn(b"a OK", self.append(here, "another", mailbox="Sent"))

    def test_their_case_does_not_matter(self) -> None:
        here = self.log_in()
        self.append(here, "Project")
        self.append(here, "project")
        self.assertEqual(list(self.flags().values()), [{"Project"}] * 2)
        self.put(1, "project")  # as another program may
        self.ask(here, b"a SELECT INBOX")
        self.change(here, "1:3 -FLAGS.SILENT (PROJECT)")
        self.assertEqual(set(self.flags().values()), {frozenset()})

    def test_what_another_session_has_just_called_it(self) -> None:
        self.put(2)
        here, there = self.open(), self.open()
        self.change(here, "1 +FLAGS (Foo)")
        self.assertIn(b"* 2 FETCH (FLAGS (Foo", self.change(there, "2 +FLAGS (foo)").replace(b"\\Recent ", b""))
        self.change(there, "1:2 -FLAGS.SILENT (fOO)")
        self.assertEqual(set(self.flags().values()), {frozenset()})
