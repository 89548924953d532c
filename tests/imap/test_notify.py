"""NOTIFY (RFC 5465): a client hears of what happens elsewhere, and at once of what happens where it is."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from mailfw.imap import factory
from mailfw.imap.allowances import Allowance
from mailfw.imap.grammar_notify import Event, notify
from mailfw.imap.lexer import Cursor
from mailfw.imap.notifications import Notifications
from mailfw.imap.server import Session
from mailfw.mail.failure import NoSuchAccount
from mailfw.mail.mailbox import (
    DELETED,
    FLAGGED,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    Path,
    RenameMailbox,
    Subscribe,
)
from mailfw.testing.dialogue import Dialogue, run_now
from tests.imap.sessions import ANN, SessionCase

WORK: Path = ("Work",)


class NotifyCase(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.edit(CreateMailbox(WORK))

    def edit(self, edit: CreateMailbox | RenameMailbox | DeleteMailbox | Subscribe) -> None:
        run_now(self, self.store.edit_mailbox(ANN, edit))

    def wishing(self, wishes: bytes, mailbox: bytes = b"") -> Dialogue:
        dialogue = self.open(mailbox) if mailbox else self.log_in()
        self.assertIn(b"n OK", self.ask(dialogue, b"n NOTIFY " + wishes))
        return dialogue

    def flag(self, uids: list[int], flag: str, path: Path) -> None:
        store, id_ = self.store, self.info(path).id
        run_now(self, store.alter(ANN, id_, uids, FlagChange.ADD, frozenset({flag})))

    def expunge(self, uids: list[int], path: Path) -> None:
        self.flag(uids, DELETED, path)
        run_now(self, self.store.expunge(ANN, self.info(path).id, uids))


class OtherMailboxTests(NotifyCase):
    def test_messages_come_and_go(self) -> None:
        dialogue = self.wishing(b"SET (MAILBOXES Work (MessageNew MessageExpunge))")
        uids = self.put(2, path=WORK)
        validity = self.info(WORK).uid_validity
        told = b"* STATUS Work (MESSAGES 2 UIDNEXT 3 UIDVALIDITY %d UNSEEN 2)\r\n" % validity
        self.assertTrue(dialogue.hear().endswith(told))
        self.flag(uids, FLAGGED, WORK)
        self.assertEqual(dialogue.hear(), b"", "nobody asked for flags")
        self.expunge(uids[:1], WORK)
        self.assertIn(b"* STATUS Work (MESSAGES 1 ", dialogue.hear())
        self.put(1)
        self.assertEqual(dialogue.hear(), b"", "nobody asked for the inbox")

    def test_flags(self) -> None:
        uids = self.put(1, path=WORK)
        dialogue = self.log_in()
        self.ask(dialogue, b"e ENABLE CONDSTORE")
        self.ask(dialogue, b"n NOTIFY SET (PERSONAL (MessageNew MessageExpunge FlagChange))")
        self.flag(uids, FLAGGED, WORK)
        self.assertIn(b"HIGHESTMODSEQ %d)" % self.info(WORK).modseq, dialogue.hear())

    def test_how_it_is_now(self) -> None:
        self.put(3, path=WORK)
        dialogue = self.log_in()
        said = self.ask_lines(dialogue, b"n NOTIFY SET STATUS (SUBTREE Work (MessageNew MessageExpunge))")
        self.assertEqual([line.split(b" (")[0] for line in said[:-1]], [b"* STATUS Work"])
        self.assertIn(b"MESSAGES 3", said[0])

    def test_modification_sequences_as_they_are(self) -> None:
        """RFC 5465 section 3.1: of whose flags the client wants to hear, enabled or not."""
        dialogue = self.log_in()
        for events, told in ((b"MessageNew MessageExpunge", False), (b"MessageNew MessageExpunge FlagChange", True)):
            said = self.ask(dialogue, b"n NOTIFY SET STATUS (MAILBOXES Work (%b))" % events)
            self.assertIn(b"* STATUS Work (", said)
            self.assertEqual(b"HIGHESTMODSEQ" in said, told, said)

    def test_groups_add_up(self) -> None:
        """RFC 5465 section 6."""
        dialogue = self.wishing(b"SET (MAILBOXES Work (MessageNew MessageExpunge)) (PERSONAL (SubscriptionChange))")
        self.put(1, path=WORK)
        self.assertIn(b"* STATUS Work", dialogue.hear())
        self.edit(Subscribe(WORK))
        self.assertIn(b'\\Subscribed) "/" Work', dialogue.hear())

    def test_none_is_none(self) -> None:
        dialogue = self.wishing(b"SET (MAILBOXES Work NONE) (PERSONAL (MessageNew MessageExpunge))")
        self.put(1, path=WORK)
        self.assertEqual(dialogue.hear(), b"")
        self.put(1, path=("Sent",))
        self.assertIn(b"* STATUS Sent", dialogue.hear())

    def test_which(self) -> None:
        self.edit(CreateMailbox(("Work", "2026")))
        self.edit(CreateMailbox(("Workshop",)))
        self.edit(Subscribe(("Workshop",)))
        for where, heard in (
            (b"INBOXES", {("INBOX",), ("Junk",)}),
            (b"SUBTREE Work", {WORK, ("Work", "2026")}),
            (b"MAILBOXES (Work Workshop)", {WORK, ("Workshop",)}),
            (b"SUBSCRIBED", {info.path for info in run_now(self, self.store.mailboxes(ANN)) if info.subscribed}),
            (b"PERSONAL", {info.path for info in run_now(self, self.store.mailboxes(ANN))}),
        ):
            dialogue = self.wishing(b"SET (%b (MessageNew MessageExpunge))" % where)
            found = set()
            for info in run_now(self, self.store.mailboxes(ANN)):
                self.put(1, path=info.path)
                if dialogue.hear():
                    found.add(info.path)
            self.assertEqual(found, heard, where)

    def test_what_happens_during_a_command_comes_after_it(self) -> None:
        dialogue = self.wishing(b"SET (PERSONAL (MessageNew MessageExpunge))", b"INBOX")
        self.put(1)
        self.ask(dialogue, b"x NOOP")
        self.assertIn(b"c OK", said := self.ask(dialogue, b"c COPY 1 Work"))
        self.assertIn(b"* STATUS Work (MESSAGES 1", said)

    def test_during_idle(self) -> None:
        dialogue = self.wishing(b"SET (PERSONAL (MessageNew MessageExpunge))", b"INBOX")
        self.ask(dialogue, b"i IDLE")
        self.put(1, path=WORK)
        self.assertIn(b"* STATUS Work (MESSAGES 1", dialogue.hear())
        self.put(1)
        self.assertIn(b"* 1 EXISTS", dialogue.hear())

    def test_none(self) -> None:
        dialogue = self.wishing(b"SET (PERSONAL (MessageNew MessageExpunge))")
        self.assertIn(b"n OK", self.ask(dialogue, b"n NOTIFY NONE"))
        self.put(1, path=WORK)
        self.assertEqual(dialogue.hear(), b"")

    def test_too_much(self) -> None:
        from mailfw.imap import notifications

        self.patch(notifications, "_OVERFLOW", 2)
        dialogue = self.wishing(b"SET (PERSONAL (MessageNew MessageExpunge))", b"INBOX")
        dialogue.say(b"a APPEND INBOX {5}\r\n")
        dialogue.hear()
        for name in ("Sent", "Junk", "Trash"):
            self.put(1, path=(name,))
        dialogue.say(b"Hello\r\n")
        said = dialogue.hear()
        self.assertIn(b"a OK", said)
        self.assertIn(b"* OK [NOTIFICATIONOVERFLOW]", said)
        self.put(1, path=WORK)
        self.assertEqual(dialogue.hear(), b"")


class TreeTests(NotifyCase):
    def test_names(self) -> None:
        dialogue = self.wishing(b"SET (PERSONAL (MailboxName))")
        self.edit(CreateMailbox(("Work", "2026")))
        made = b'* LIST (\\HasNoChildren) "/" Work/2026\r\n* LIST (\\HasChildren) "/" Work\r\n'
        self.assertEqual(dialogue.hear(), made, "what is above is affected, too")
        self.edit(RenameMailbox(WORK, ("Play",)))
        self.assertEqual(dialogue.hear(), b'* LIST (\\HasChildren) "/" Play ("OLDNAME" (Work))\r\n', "and all below")
        self.edit(RenameMailbox(("Play", "2026"), ("Play", "2027")))
        self.assertEqual(dialogue.hear(), b'* LIST (\\HasNoChildren) "/" Play/2027 ("OLDNAME" (Play/2026))\r\n')
        self.edit(DeleteMailbox(("Play", "2027")))
        gone = b'* LIST (\\NonExistent) "/" Play/2027\r\n* LIST (\\HasNoChildren) "/" Play\r\n'
        self.assertEqual(dialogue.hear(), gone)
        self.edit(CreateMailbox(("No", "Way")))
        made = b'* LIST (\\HasNoChildren) "/" No/Way\r\n* LIST (\\NonExistent \\HasChildren) "/" No\r\n'
        self.assertEqual(dialogue.hear(), made)
        self.edit(Subscribe(("Play",)))
        self.assertEqual(dialogue.hear(), b"")

    def test_subscriptions(self) -> None:
        dialogue = self.wishing(b"SET (PERSONAL (SubscriptionChange))")
        self.edit(Subscribe(WORK))
        self.assertEqual(dialogue.hear(), b'* LIST (\\HasNoChildren \\Subscribed) "/" Work\r\n')
        self.edit(Subscribe(WORK, subscribed=False))
        self.assertEqual(dialogue.hear(), b'* LIST (\\HasNoChildren) "/" Work\r\n')


class AnnotationTests(NotifyCase):
    def test_of_a_mailbox_and_of_the_account(self) -> None:
        dialogue = self.wishing(b"SET (PERSONAL (MailboxMetadataChange ServerMetadataChange))")
        other = self.log_in()
        self.assertIn(b"s OK", self.ask(other, b's SETMETADATA Work (/private/comment "x")'))
        self.assertEqual(dialogue.hear(), b"* METADATA Work /private/comment\r\n")
        self.assertIn(b"s OK", self.ask(other, b's SETMETADATA "" (/private/comment "x")'))
        self.assertEqual(dialogue.hear(), b'* METADATA "" /private/comment\r\n')
        self.assertIn(b"s OK", self.ask(other, b's SETMETADATA Work (/private/comment "x")'))
        self.assertEqual(dialogue.hear(), b"", "it is as it was")

    def test_many_names_and_many_mailboxes_take_no_long(self) -> None:
        """The names of all groups are not gone through for each mailbox."""
        group = b" (SUBTREE (%b) (MailboxName))" % b" ".join(b"m%d" % number for number in range(900))
        wishes = notify(Cursor([b" SET" + group * 10]))
        assert wishes is not None
        notifications = Notifications(wishes)
        began = time.process_time()
        for number in range(2000):
            wanted = notifications._events_at(("m899", f"x{number}"), None)
            self.assertEqual(wanted, {Event.MAILBOX_NAME})
            self.assertFalse(notifications._events_at((f"x{number}", "m899"), None))
        self.assertLess(time.process_time() - began, 1.5)


class SelectedTests(NotifyCase):
    def test_at_once(self) -> None:
        uids = self.put(3)
        dialogue = self.wishing(
            b"SET (SELECTED (MessageNew (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)]) MessageExpunge FlagChange))", b"INBOX"
        )
        self.put(1)
        said = dialogue.hear()
        self.assertIn(b"* 4 EXISTS\r\n", said)
        self.assertIn(b"* 4 FETCH (UID 4 BODY[HEADER.FIELDS (SUBJECT)] {18}\r\nSubject: Hello\r\n\r\n)\r\n", said)
        self.flag(uids[:1], FLAGGED, ("INBOX",))
        self.assertIn(b"* 1 FETCH (UID 1 FLAGS (\\Flagged", dialogue.hear())
        self.expunge(uids[:1], ("INBOX",))
        self.assertIn(b"* 1 EXPUNGE\r\n", dialogue.hear())

    def test_of_results_that_are_kept_up_to_date(self) -> None:
        """RFC 5465 section 7: of new messages, before the result has them; not of those that have changed."""
        self.put(2)
        dialogue = self.open()
        self.assertIn(
            b"s OK", self.ask(dialogue, b"s UID SEARCH RETURN (COUNT UPDATE (FLAGS BODY.PEEK[TEXT])) UNFLAGGED")
        )
        self.flag([1], FLAGGED, ("INBOX",))
        self.assertIn(b"REMOVEFROM (0 1)", self.ask(dialogue, b"x NOOP"))
        run_now(self, self.store.alter(ANN, self.info().id, [1], FlagChange.REMOVE, frozenset({FLAGGED})))
        said = self.ask(dialogue, b"x NOOP")
        self.assertIn(b"ADDTO (0 1)", said)
        self.assertNotIn(b"BODY[TEXT]", said)
        self.put(1)
        said = self.ask(dialogue, b"x NOOP")
        places = [
            said.index(each) for each in (b"* 3 EXISTS", b"* 3 FETCH (FLAGS (\\Recent) BODY[TEXT]", b"ADDTO (0 3)")
        ]
        self.assertEqual(places, sorted(places))
        self.assertIn(b"s BAD", self.ask(dialogue, b"s SEARCH RETURN (UPDATE ()) ALL"))
        self.settings = replace(self.settings, allowance=Allowance(without=frozenset({b"NOTIFY"})))
        self.assertIn(b"s BAD", self.ask(self.open(), b"s SEARCH RETURN (UPDATE (FLAGS)) ALL"))

    def test_what_cannot_be_sent_of_such_ends_no_session(self) -> None:
        self.put(1)
        dialogue = self.open()
        self.ask(dialogue, b"s UID SEARCH RETURN (UPDATE (BODY.PEEK[TEXT])) ALL")
        self.put(1)

        def rows(*_: object) -> Any:
            raise RuntimeError("a fault")

        with patch.object(self.store, "rows", rows):
            said = self.ask(dialogue, b"x NOOP")
        self.assertIn(b'* NO [NOUPDATE "s"]', said)
        self.assertTrue(said.endswith(b"x OK Done\r\n"), said)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_what_is_not_to_be_sent_anyway_is_not_kept(self) -> None:
        """What the client makes itself would add up without end."""
        sessions: list[Session] = []

        def begin(*parts: Any) -> Session:
            sessions.append(Session(*parts))
            return sessions[-1]

        self.patch(factory, "Session", begin)
        self.put(1)
        for wishes in (b"SET (PERSONAL (MessageNew MessageExpunge))", b"SET (SELECTED (MessageNew MessageExpunge))"):
            dialogue = self.wishing(wishes, b"INBOX")
            for _ in range(3):
                self.assertIn(b"c OK", self.ask(dialogue, b"c COPY 1 INBOX"))
            wished = sessions[-1].notifications
            assert wished is not None
            self.assertEqual(wished._own, frozenset())

    def test_what_the_client_makes_itself_it_knows(self) -> None:
        """RFC 5465 section 5.2."""
        self.put(1)
        dialogue = self.wishing(b"SET (SELECTED (MessageNew (UID) MessageExpunge))", b"INBOX")
        dialogue.say(b"a APPEND INBOX {12+}\r\nSubject: x\r\n\r\n")
        said = (
            dialogue.hear()
            + self.ask(dialogue, b"a COPY 1 INBOX")
            + self.ask(dialogue, b"a UID REPLACE 1 INBOX {1+}\r\nx")
        )
        self.assertIn(b"* 3 EXISTS", said)
        self.assertNotIn(b"FETCH", said)
        self.put(1)
        self.assertIn(b"* 4 FETCH (UID 5)", dialogue.hear())

    def test_expunges_can_wait(self) -> None:
        uids = self.put(3)
        dialogue = self.wishing(b"SET (SELECTED-DELAYED (MessageNew MessageExpunge))", b"INBOX")
        self.expunge(uids[:1], ("INBOX",))
        self.assertNotIn(b"EXPUNGE", dialogue.hear())
        self.put(1)
        self.assertIn(b"* 4 EXISTS", dialogue.hear())
        self.assertIn(b"* 1 EXPUNGE", self.ask(dialogue, b"x NOOP"))

    def test_another_one_is_selected(self) -> None:
        self.put(2, path=WORK)
        dialogue = self.wishing(b"SET (SELECTED (MessageNew (UID) MessageExpunge))", b"INBOX")
        said = self.ask(dialogue, b"s SELECT Work")
        self.assertNotIn(b"FETCH", said)
        self.put(1, path=WORK)
        self.assertEqual(dialogue.hear(), b"* 3 EXISTS\r\n* 3 RECENT\r\n* 3 FETCH (UID 3)\r\n")

    def test_modification_sequences(self) -> None:
        dialogue = self.wishing(b"SET (SELECTED (MessageNew (MODSEQ) MessageExpunge))", b"INBOX")
        self.put(1)
        self.assertIn(b"* 1 FETCH (MODSEQ (%d) UID 1)" % self.info().modseq, dialogue.hear())
        self.ask(dialogue, b"e ENABLE QRESYNC")
        self.put(1)
        self.assertIn(b"* 2 FETCH (MODSEQ (%d) UID 2)" % self.info().modseq, dialogue.hear())

    def test_what_cannot_begin_changes_nothing(self) -> None:
        dialogue = self.wishing(b"SET (MAILBOXES Work (MessageNew MessageExpunge))")
        with patch.object(self.store, "subscriptions", side_effect=NoSuchAccount):
            self.assertIn(b"n NO", self.ask(dialogue, b"n NOTIFY SET (PERSONAL (MailboxName))"))
        self.put(1, path=WORK)
        self.assertIn(b"* STATUS Work", heard := dialogue.hear())
        self.assertNotIn(b"* LIST", heard)

    def test_a_store_that_fails(self) -> None:
        """Neither the session ends, nor is what has happened forgotten."""
        dialogue = self.wishing(b"SET (SELECTED (MessageNew (UID ENVELOPE) MessageExpunge)) (PERSONAL (MailboxName))")
        self.ask(dialogue, b"s SELECT INBOX")

        def fail(*arguments: Any) -> Any:
            raise ZeroDivisionError

        with patch.object(self.store, "rows", fail):
            self.put(1)
        with patch.object(self.store, "mailboxes", fail):
            self.edit(CreateMailbox(("Play",)))
        self.assertGreaterEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertNotIn(b"Play", dialogue.hear())
        self.put(1, path=WORK)
        self.assertIn(b"Play", dialogue.hear())
        self.assertIn(b"x OK", self.ask(dialogue, b"x NOOP"))


class RefusalTests(NotifyCase):
    def test_what_cannot_be_wished(self) -> None:
        dialogue = self.log_in()
        for wishes in (
            b"",
            b"SET",
            b"SET STATUS",
            b"SET (PERSONAL)",
            b"SET (PERSONAL ())",
            b"SET (NOWHERE (MessageNew MessageExpunge))",
            b"SET (PERSONAL (MessageNew))",
            b"SET (PERSONAL (FlagChange))",
            b"SET (SELECTED (MailboxName))",
            b"SET (SELECTED NONE) (SELECTED-DELAYED NONE)",
            b"SET (SELECTED (MessageNew (NOTHING) MessageExpunge))",
            b"SET (PERSONAL (MailboxName)",
            b"SET" + b" (PERSONAL NONE)" * 101,
        ):
            self.assertIn(b"n BAD", self.ask(dialogue, b"n NOTIFY " + wishes), wishes)

    def test_an_event_that_there_is_not(self) -> None:
        said = self.ask(self.log_in(), b"n NOTIFY SET (PERSONAL (AnnotationChange MailboxName))")
        self.assertIn(b"n NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName", said)
