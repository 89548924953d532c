"""The order of things, other sessions, faults and abuse."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mailfw.mail.failure import NoSpace, OverQuota
from mailfw.mail.mailbox import DeleteMailbox, FlagChange, RenameMailbox
from mailfw.testing.dialogue import Dialogue, run_now
from mailfw.wire import stream
from mailfw.wire.limits import ConnectionLimits
from tests.imap.sessions import ANN, SessionCase


class OtherSessions(SessionCase):
    """What one session does, another hears at the right time."""

    def setUp(self) -> None:
        super().setUp()
        self.put(3)

    def test_new_mail_flags_and_expunges_come_with_the_next_command(self) -> None:
        here, there = self.open(), self.open()
        self.ask(there, b"x STORE 2 +FLAGS (\\Deleted)")
        self.ask(there, b"x STORE 3 +FLAGS (\\Seen)")
        self.ask(there, b"x EXPUNGE")
        self.put(1)
        self.assertEqual(here.hear(), b"")
        self.assertEqual(
            self.ask_lines(here, b"a NOOP"),
            [b"* 2 EXPUNGE", b"* 3 EXISTS", b"* 3 RECENT", b"* 2 FETCH (FLAGS (\\Seen \\Recent))", b"a OK Done"],
        )
        self.assertEqual(self.ask_lines(here, b"b NOOP"), [b"b OK Done"])

    def test_an_expunge_is_not_told_during_store(self) -> None:
        here, there = self.open(), self.open()
        self.ask(there, b"x STORE 1 FLAGS.SILENT (\\Deleted)")
        self.ask(there, b"x EXPUNGE")
        self.assertEqual(
            self.ask_lines(here, b"a STORE 2 +FLAGS (\\Seen)"),
            [b"* 2 FETCH (FLAGS (\\Seen \\Recent))", b"a OK Stored"],
        )
        self.assertEqual(
            self.ask_lines(here, b"a STORE 1:2 +FLAGS (\\Seen)"),
            [b"* 2 FETCH (FLAGS (\\Seen \\Recent))", b"a NO [EXPUNGEISSUED] Some of the messages are gone"],
        )
        self.assertEqual(self.ask_lines(here, b"a UID STORE 1 +FLAGS (\\Seen)"), [b"* 1 EXPUNGE", b"a OK Stored"])

    def test_a_copy_of_what_is_gone_copies_nothing(self) -> None:
        here, there = self.open(), self.open()
        self.ask(there, b"x STORE 1 FLAGS.SILENT (\\Deleted)")
        self.ask(there, b"x EXPUNGE")
        self.assertEqual(
            self.ask_lines(here, b"a COPY 1:2 Sent"),
            [b"* 1 EXPUNGE", b"a NO [EXPUNGEISSUED] Some of the messages are gone"],
        )
        self.assertEqual(self.info(("Sent",)).messages, 0)

    def test_a_silent_store_tells_what_the_client_cannot_know(self) -> None:
        here = self.open()
        run_now(self, self.store.alter(ANN, self.info().id, [1], FlagChange.ADD, frozenset({"\\Seen"})))
        self.assertEqual(
            self.ask_lines(here, b"a STORE 1:2 +FLAGS.SILENT (\\Flagged)"),
            [b"* 1 FETCH (FLAGS (\\Flagged \\Seen \\Recent))", b"a OK Stored"],
        )

    def test_a_silent_store_that_first_learns_modseqs_tells_it_too(self) -> None:
        here = self.open()
        run_now(self, self.store.alter(ANN, self.info().id, [1], FlagChange.ADD, frozenset({"\\Seen"})))
        heard = self.ask(here, b"a STORE 1:2 (UNCHANGEDSINCE %d) +FLAGS.SILENT (\\Flagged)" % self.info().modseq)
        self.assertRegex(heard, rb"\* 1 FETCH \(UID 1 FLAGS \(\\Flagged \\Seen \\Recent\) MODSEQ \(\d+\)\)")
        self.assertRegex(heard, rb"\* 2 FETCH \(UID 2 MODSEQ \(\d+\)\)")

    def test_keywords_that_differ_in_case_are_one(self) -> None:
        here = self.open()
        self.ask(here, b"a STORE 1 +FLAGS (Later LATER)")
        self.assertEqual(
            self.ask_lines(here, b"a STORE 1:2 +FLAGS (lateR \\Seen)"),
            [
                b"* 1 FETCH (FLAGS (\\Seen \\Recent Later))",
                b"* 2 FETCH (FLAGS (\\Seen \\Recent Later))",
                b"a OK Stored",
            ],
        )
        self.assertEqual(self.ask_lines(here, b"a STORE 2 -FLAGS.SILENT (later)"), [b"a OK Stored"])
        self.assertEqual(self.flags(), {1: {"Later", "\\Seen"}, 2: {"\\Seen"}, 3: set()})

    def test_idle_hears_at_once(self) -> None:
        here, there = self.open(), self.open()
        self.assertEqual(self.ask(here, b"a IDLE"), b"+ idling\r\n")
        self.put(1)
        self.assertEqual(here.hear(), b"* 4 EXISTS\r\n* 4 RECENT\r\n")
        self.ask(there, b"x STORE 1 +FLAGS (\\Deleted)")
        self.assertEqual(here.hear(), b"* 1 FETCH (FLAGS (\\Deleted \\Recent))\r\n")
        self.ask(there, b"x EXPUNGE")
        self.assertEqual(here.hear(), b"* 1 EXPUNGE\r\n")
        self.assertEqual(self.ask(here, b"DONE"), b"a OK Back to work\r\n")
        self.put(1)
        self.assertEqual(here.hear(), b"")

    def test_idle_tells_what_came_before_it(self) -> None:
        here = self.open()
        self.put(1)
        self.assertEqual(self.ask(here, b"a IDLE"), b"+ idling\r\n* 4 EXISTS\r\n* 4 RECENT\r\n")

    def test_idle_hears_nothing_of_other_mailboxes(self) -> None:
        here = self.open()
        self.ask(here, b"a IDLE")
        self.put(1, path=("Sent",))
        self.assertEqual(here.hear(), b"")

    def test_half_a_line_outlives_a_wakeup(self) -> None:
        here = self.open()
        self.ask(here, b"a IDLE")
        here.say(b"DO")
        self.put(1)
        self.assertIn(b"* 4 EXISTS", here.hear())
        self.assertIn(b"a OK", self.ask(here, b"NE"))

    def test_a_deleted_mailbox_ends_its_sessions(self) -> None:
        self.put(1, path=("Junk",))
        here, idle = self.open(b"Junk"), self.open(b"Junk")
        self.ask(idle, b"a IDLE")
        run_now(self, self.store.edit_mailbox(ANN, DeleteMailbox(("Junk",))))
        self.assertTrue(idle.hear().startswith(b"* BYE "))
        self.assertTrue(idle.closed)
        self.assertTrue(self.ask(here, b"a NOOP").startswith(b"* BYE "))
        self.assertTrue(here.closed)

    def test_the_own_selected_mailbox_can_be_deleted(self) -> None:
        here = self.open(b"Junk")
        answers = self.ask_lines(here, b"a DELETE Junk")
        self.assertTrue(answers[0].startswith(b"* OK [CLOSED]"))
        self.assertTrue(answers[1].startswith(b"a OK"))
        self.assertTrue(self.ask(here, b"a CHECK").startswith(b"a BAD"))

    def test_a_renamed_mailbox_stays_selected(self) -> None:
        here = self.open(b"Junk")
        run_now(self, self.store.edit_mailbox(ANN, RenameMailbox(("Junk",), ("Spam",))))
        self.put(1, path=("Spam",))
        self.assertIn(b"* 1 EXISTS", self.ask(here, b"a NOOP"))
        self.assertTrue(self.ask(here, b"a STATUS Junk (MESSAGES)").startswith(b"a NO [NONEXISTENT]"))
        self.assertIn(b"MESSAGES 1", self.ask(here, b"a STATUS Spam (MESSAGES)"))

    def test_recent_belongs_to_the_first_session_that_selects(self) -> None:
        self.assertIn(b"* 3 RECENT", self.ask(self.log_in(), b"a EXAMINE INBOX"))
        self.assertIn(b"* 3 RECENT", self.ask(self.log_in(), b"a SELECT INBOX"))
        self.assertIn(b"* 0 RECENT", self.ask(self.log_in(), b"a SELECT INBOX"))

    def test_close_expunges_without_a_word_and_unselect_not_at_all(self) -> None:
        here = self.open()
        self.ask(here, b"a STORE 1 +FLAGS.SILENT (\\Deleted)")
        self.ask(here, b"a UNSELECT")
        self.assertEqual(self.info().messages, 3)
        self.ask(here, b"a EXAMINE INBOX")
        self.ask(here, b"a CLOSE")
        self.assertEqual(self.info().messages, 3)
        self.ask(here, b"a SELECT INBOX")
        self.assertEqual(self.ask(here, b"a CLOSE"), b"a OK Closed\r\n")
        self.assertEqual(self.info().messages, 2)

    def test_a_failed_select_leaves_nothing_selected(self) -> None:
        here = self.open()
        self.ask(here, b"a SELECT nowhere")
        self.assertTrue(self.ask(here, b"a CHECK").startswith(b"a BAD"))


class Appending(SessionCase):
    def test_octets_flags_and_date_are_kept_as_they_came(self) -> None:
        here = self.open()
        message = b"Subject: x\n\r\r\n" + b"y" * 100_000 + b"\n"
        here.say(b'a APPEND INBOX (\\Seen $x) "01-Jan-1970 00:00:05 +0000" {%d}\r\n' % len(message))
        self.assertTrue(here.hear().startswith(b"+ "))
        here.say(message + b"\r\n")
        answers = here.hear()
        self.assertIn(b"* 1 EXISTS\r\n", answers)
        self.assertIn(b"a OK [APPENDUID %d 1]" % self.info().uid_validity, answers)
        self.assertEqual(bytes(self.drafts[0].octets), message)
        self.assertTrue(self.drafts[0].closed)
        self.assertEqual(self.flags(), {1: frozenset({"\\Seen", "$x"})})

    def test_what_cannot_be_kept_is_read_and_refused(self) -> None:
        here = self.open()
        self.room = 10
        here.say(b"a APPEND INBOX {20+}\r\nb LOGOUT\r\nb LOGOUT\r\n\r\nc NOOP\r\n")
        answers = here.hear().split(b"\r\n")
        self.assertTrue(answers[0].startswith(b"a NO [UNAVAILABLE] "), answers)
        self.assertTrue(answers[1].startswith(b"c OK"), answers)
        self.assertTrue(self.drafts[0].closed)
        self.room = 2**20
        here.say(b"a APPEND INBOX {3+}\r\na\0b\r\n")
        self.assertTrue(here.hear().startswith(b"a BAD "))
        self.assertEqual(self.info().messages, 0)

    def test_a_full_quota_is_said(self) -> None:
        async def refuse(*args: Any) -> None:
            raise OverQuota

        self.store.append = refuse
        here = self.open()
        here.say(b"a APPEND INBOX {3+}\r\nabc\r\n")
        self.assertTrue(here.hear().startswith(b"a NO [OVERQUOTA] "))

    def test_a_disk_without_room_is_said_before_the_message_comes(self) -> None:
        async def refuse(size: int) -> Any:
            raise NoSpace

        self._open_draft = refuse  # type: ignore[method-assign]  # a disk that is full
        here = self.open()
        self.assertTrue(self.ask(here, b"a APPEND INBOX {3}").startswith(b"a NO [UNAVAILABLE] "))

    def test_a_message_that_never_comes_is_given_up(self) -> None:
        here = self.open()
        self.ask(here, b"a APPEND INBOX {1000}")
        here.say(b"half")
        self.clock.advance(301)
        self.clock.advance(1)
        self.assertTrue(here.hear().startswith(b"* BYE "))
        self.assertTrue(self.drafts[0].closed)
        self.assertEqual(self.info().messages, 0)

    def test_who_leaves_within_a_message_leaves_nothing(self) -> None:
        here = self.open()
        self.ask(here, b"a APPEND INBOX {1000}")
        here.leave()
        self.assertTrue(self.drafts[0].closed)
        self.assertEqual(self.info().messages, 0)


class Faults(SessionCase):
    def test_a_fault_of_the_store_is_an_answer_and_one_log_entry(self) -> None:
        async def fail(*args: Any) -> None:
            raise ZeroDivisionError

        self.store.subscriptions = fail
        here = self.log_in()
        self.assertTrue(self.ask(here, b'a LSUB "" *').startswith(b"a NO [SERVERBUG] "))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.ask(here, b"a NOOP").startswith(b"a OK"))

    def test_news_that_cannot_be_had_do_not_stop_a_command(self) -> None:
        here = self.open()
        working = self.store.snapshot

        async def fail(*args: Any) -> None:
            raise ZeroDivisionError

        self.store.snapshot = fail
        self.put(1)
        self.assertTrue(self.ask(here, b"a NOOP").startswith(b"a OK"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.store.snapshot = working
        self.assertIn(b"* 1 EXISTS", self.ask(here, b"a NOOP"))

    def test_a_mailbox_that_is_numbered_anew(self) -> None:
        """What the client knows by UID are other messages now."""
        self.put(1)
        here = self.open()
        working = self.store.snapshot

        async def renumbered(*args: Any) -> Any:
            found = await working(*args)
            return replace(found, info=replace(found.info, uid_validity=found.info.uid_validity + 1))

        self.store.snapshot = renumbered
        self.put(1)
        self.assertTrue(self.ask(here, b"a NOOP").startswith(b"* BYE "))

    def test_a_close_that_fails_closes_nothing(self) -> None:
        self.put(1, "\\Deleted")
        here = self.open()

        async def fail(*args: Any) -> None:
            raise NoSpace

        self.patch(self.store, "expunge", fail)
        self.assertTrue(self.ask(here, b"a CLOSE").startswith(b"a NO [UNAVAILABLE]"))
        self.assertTrue(self.ask(here, b"a CHECK").startswith(b"a OK"))


class Abuse(SessionCase):
    def test_bad_commands_are_counted(self) -> None:
        dialogue = self.connect()
        for _ in range(19):
            self.assertTrue(self.ask(dialogue, b"a FOO").startswith(b"a BAD"))
        self.ask(dialogue, b"a NOOP")
        for _ in range(19):
            self.ask(dialogue, b"*")
        self.assertFalse(dialogue.closed)
        self.assertIn(b"* BYE ", self.ask(dialogue, b"\0"))
        self.assertTrue(dialogue.closed)

    def test_who_sends_nothing_but_empty_lines_gives_way_to_others(self) -> None:
        self.patch(stream, "TURN", 0.0)
        dialogue = self.connect()
        dialogue.say(b"\r\n" * 3 + b"a NOOP\r\n")
        self.assertEqual(dialogue.hear(), b"")
        self.clock.pump([0.0] * 4)
        self.assertEqual(dialogue.hear(), b"a OK Done\r\n")

    def test_browsers_are_sent_away(self) -> None:
        dialogue = self.connect()
        dialogue.say(b"POST / HTTP/1.1\r\nHost: x\r\n\r\na NOOP\r\n")
        self.assertTrue(dialogue.hear().startswith(b"* BYE "))
        self.assertTrue(dialogue.closed)

    def test_a_line_without_end_is_given_up(self) -> None:
        for dialogue, size in ((self.connect(), 14_000), (self.log_in(), 66_000)):
            dialogue.say(b"a " + b"x" * size)
            self.assertTrue(dialogue.hear().startswith(b"* BYE "))
            self.assertTrue(dialogue.closed)

    def test_long_lines_are_taken_after_login(self) -> None:
        self.put(1)
        here = self.open()
        uids = b",".join(b"%d" % uid for uid in range(1, 10_000))
        self.assertTrue(self.ask(here, b"a UID STORE " + uids + b" FLAGS.SILENT ()").startswith(b"a OK"))

    def test_literals_are_bounded_in_all(self) -> None:
        dialogue = self.connect()
        self.assertTrue(self.ask(dialogue, b"a LOGIN {14000}").startswith(b"a BAD [TOOBIG]"))
        self.assertTrue(self.ask(dialogue, b"a LOGIN {70000+}").startswith(b"* BYE "))
        here = self.log_in()
        for _ in range(20_000):
            here.say(b"{0+}\r\n" if _ else b"a ID {0+}\r\n")
        here.say(b"\r\nb NOOP\r\n")
        answers = here.hear()
        self.assertIn(b"a BAD [TOOBIG]", answers)
        self.assertTrue(answers.endswith(b"b OK Done\r\n"))

    def test_silence_ends_a_session(self) -> None:
        dialogue, here = self.connect(), self.log_in()
        for _ in range(121):
            self.clock.advance(1)
        self.assertIn(b"* BYE ", dialogue.hear())
        self.assertEqual(here.hear(), b"")
        for _ in range(1700):
            self.clock.advance(1)
        self.assertIn(b"* BYE ", here.hear())
        self.assertTrue(here.closed)

    def test_beyond_the_limits_one_hears_bye(self) -> None:
        self.limits = ConnectionLimits(total=0)
        dialogue = Dialogue(self.make_factory())
        self.assertTrue(dialogue.hear().startswith(b"* BYE "))
        self.assertTrue(dialogue.closed)

    def test_stopping_says_bye_to_who_waits_and_to_who_idles(self) -> None:
        factory = self.make_factory()
        first, second = Dialogue(factory), Dialogue(factory)
        self.ask(second, b"a LOGIN ann@example.org secret")
        self.ask(second, b"a IDLE")
        first.hear()
        run_now(self, factory.shut_down())
        for dialogue in (first, second):
            self.assertTrue(dialogue.hear().startswith(b"* BYE "))
            self.assertTrue(dialogue.closed)

    def test_empty_lines_are_passed_over(self) -> None:
        self.assertEqual(self.ask(self.connect(), b"\r\n\r\na NOOP"), b"a OK Done\r\n")

    def test_pipelined_commands_are_answered_in_order(self) -> None:
        self.put(2)
        here = self.log_in()
        here.say(
            b"a SELECT INBOX\r\nb FETCH 1:2 UID\r\nc STORE 1 +FLAGS (\\Seen)\r\nd STATUS INBOX (UNSEEN)\r\ne LOGOUT\r\n"
        )
        tags = [line[:1] for line in here.hear().splitlines() if line[1:4] in (b" OK", b" NO")]
        self.assertEqual([tag for tag in tags if tag != b"*"], [b"a", b"b", b"c", b"d", b"e"])

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from([
        b"a", b" ", b"\r\n", b"LOGIN", b"{3}", b"{3+}", b"abc", b'"', b"SELECT", b"INBOX", b"NOOP", b"(", b")", b"\0",
        b"APPEND", b"STORE 1:* FLAGS (x)", b"IDLE", b"DONE", b"UID", b"*", b"\xff", b"LIST", b"CLOSE", b"MOVE 1 Sent",
    ]), max_size=60))  # fmt: skip
    def test_no_words_break_a_session(self, words: list[bytes]) -> None:
        self.setUp()
        self.put(2)
        here = self.open()
        here.say(b" ".join(words).replace(b" \r\n ", b"\r\n"))
        here.say(b"\r\nDONE\r\n")
        here.hear()
        here.leave()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(len(self.store._accounts[ANN]._watchers), 0)
