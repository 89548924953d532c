"""NOTIFY (RFC 5465): a client hears of what happens elsewhere, and at once of what happens where it is."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

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

    def test_the_first_group_counts(self) -> None:
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
        self.assertEqual(dialogue.hear(), b'* LIST (\\HasNoChildren) "/" Work/2026\r\n')
        self.edit(RenameMailbox(WORK, ("Play",)))
        self.assertEqual(
            sorted(dialogue.hear().splitlines()),
            [
                b'* LIST (\\HasChildren) "/" Play ("OLDNAME" (Work))',
                b'* LIST (\\HasNoChildren) "/" Play/2026 ("OLDNAME" (Work/2026))',
            ],
        )
        self.edit(DeleteMailbox(("Play", "2026")))
        self.assertEqual(dialogue.hear(), b'* LIST (\\NonExistent) "/" Play/2026\r\n')
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
        self.assertIn(b"* 1 FETCH (FLAGS (\\Flagged", dialogue.hear())
        self.expunge(uids[:1], ("INBOX",))
        self.assertIn(b"* 1 EXPUNGE\r\n", dialogue.hear())

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
        self.assertIn(b"* 1 FETCH (MODSEQ (%d))" % self.info().modseq, dialogue.hear())
        self.ask(dialogue, b"e ENABLE QRESYNC")
        self.put(1)
        self.assertIn(b"* 2 FETCH (UID 2 MODSEQ (%d))" % self.info().modseq, dialogue.hear())

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
