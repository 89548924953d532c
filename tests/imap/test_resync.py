"""Modification sequences, and coming back to a mailbox: RFC 7162 where several sessions are at work."""

from __future__ import annotations

import re
from array import array
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap import grammar, resync
from mailfw.imap.allowances import Rule
from mailfw.imap.capabilities import switched_off
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.modseqs import Modseqs
from mailfw.imap.view import View
from mailfw.mail.mailbox import DeleteMailbox, MailboxInfo, Snapshot
from mailfw.testing.dialogue import Dialogue, run_now
from tests.imap.sessions import ANN, SessionCase


class Numbers(SynchronousTestCase):
    """`Modseqs` beside a list."""

    @given(
        st.lists(st.integers(0, 2**63 - 1) | st.integers(2**40, 2**40 + 100)),
        st.lists(st.tuples(st.sampled_from(["extend", "set", "drop", "keep"]), st.integers(0, 2**63 - 1))),
    )
    def test_they_are_what_a_list_is(self, values: list[int], steps: list[tuple[str, int]]) -> None:
        modseqs, plain = Modseqs(values), list(values)
        for step, value in steps:
            if step == "extend":
                modseqs.extend([value, value // 2])
                plain += [value, value // 2]
            elif plain:
                place = value % len(plain)
                if step == "set":
                    modseqs[place] = plain[place] = value
                elif step == "drop":
                    modseqs.drop(place)
                    del plain[place]
                else:
                    kept = [each % 2 == 0 for each in range(len(plain))]
                    modseqs.keep(kept)
                    plain = plain[::2]
        self.assertEqual([modseqs[place] for place in range(len(modseqs))], plain)
        self.assertEqual(modseqs.at(range(len(plain))), plain)

    def test_they_take_half_the_room(self) -> None:
        self.assertEqual(Modseqs([2**50 + each for each in range(1000)])._kept.itemsize, 4)
        self.assertEqual(Modseqs([2**50 - 1, 2**50])._kept.itemsize, 8)


class Sets(SynchronousTestCase):
    @given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)))
    def test_what_two_have_in_common(self, here: set[int], there: set[int]) -> None:
        def drawn(numbers: set[int]) -> list[tuple[int, int]]:
            return [(each, each) for each in sorted(numbers)]

        found = resync.common(drawn(here), drawn(there))
        self.assertEqual([low for low, _ in found], sorted(here & there))

    def test_in_order(self) -> None:
        def normal(text: bytes) -> list[tuple[int, int]]:
            return resync.normal(Cursor((text,)).sequence_set())

        self.assertEqual(normal(b"9,1:3,4,8:6"), [(1, 4), (6, 9)])
        self.assertEqual(normal(b"5:*"), [(5, 2**32 - 1)])

    def test_select(self) -> None:
        def select(text: bytes) -> Any:
            return grammar.select(Cursor((text,)))

        found = select(b" INBOX (CONDSTORE QRESYNC (7 9223372036854775807 1:5,9 (1,3 2,5)))")
        self.assertTrue(found.condstore)
        self.assertEqual((found.resync.uid_validity, found.resync.modseq), (7, 2**63 - 1))
        self.assertEqual(found.resync.known.ranges, ((1, 5), (9, 9)))
        self.assertIsNone(select(b" INBOX (QRESYNC (7 5 (1 2)))").resync.known)
        for wrong in (
            b" INBOX ()",
            b" INBOX (CONDSTORE CONDSTORE)",
            b" INBOX (QRESYNC (7 9223372036854775808))",
            b" INBOX (QRESYNC (7))",
            b" INBOX (QRESYNC (7 1 $))",
            b" INBOX (QRESYNC (7 1 1:*))",
            b" INBOX (QRESYNC (7 1) ",
            b" INBOX (CONDSTORE) x",
        ):
            with self.assertRaises(BadSyntax, msg=wrong):
                select(wrong)


def code(answer: bytes, name: bytes) -> int:
    found = re.search(rb"\[%b (\d+)" % name, answer)
    assert found is not None, answer
    return int(found[1])


class Case(SessionCase):
    def come(self, enable: bytes = b"QRESYNC") -> Dialogue:
        dialogue = self.log_in()
        self.assertIn(b"* ENABLED " + enable, self.ask(dialogue, b"en ENABLE " + enable))
        return dialogue

    def validity(self) -> int:
        return self.info().uid_validity

    def delete(self, *uids: int) -> None:
        named = ",".join(map(str, uids)).encode()
        other = self.open()
        self.ask(other, b"x UID STORE " + named + rb" +FLAGS.SILENT (\Deleted)")
        self.ask(other, b"x UID EXPUNGE " + named)
        other.leave()

    def flag(self, uid: int, flags: bytes = rb"\Flagged") -> None:
        other = self.open()
        self.ask(other, b"x UID STORE %d FLAGS.SILENT (%b)" % (uid, flags))
        other.leave()

    def changes(self, dialogue: Dialogue, modseq: int, more: bytes = b"", validity: int | None = None) -> list[bytes]:
        """Return what SELECT tells besides what it always does."""
        asked = b"q SELECT INBOX (QRESYNC (%d %d%b))" % (validity or self.validity(), modseq, more)
        lines = self.ask_lines(dialogue, asked)
        self.assertTrue(lines[-1].startswith(b"q OK"), lines)
        return [line for line in lines if b" VANISHED" in line or b" FETCH (" in line or b" UIDFETCH (" in line]


class ComingBack(Case):
    def setUp(self) -> None:
        super().setUp()
        self.put(6)
        self.before = self.info().modseq

    def test_what_has_changed_and_gone(self) -> None:
        self.delete(2, 3, 5)
        self.flag(4)
        [new] = self.put()
        gone, *told = self.changes(self.come(), self.before)
        self.assertEqual(gone, b"* VANISHED (EARLIER) 2:3,5")
        self.assertRegex(told[0], rb"\* 2 FETCH \(UID 4 FLAGS \(\\Flagged\) MODSEQ \(\d+\)\)")
        self.assertRegex(told[1], rb"\* 4 FETCH \(UID %d FLAGS \(\\Recent\) MODSEQ \(\d+\)\)" % new)
        self.assertEqual(len(told), 2)

    def test_nothing(self) -> None:
        self.assertEqual(self.changes(self.come(), self.info().modseq), [])

    def test_only_of_what_is_known(self) -> None:
        self.delete(2, 3, 5)
        self.flag(4)
        self.flag(6)
        told = self.changes(self.come(), self.before, b" 1:3,6")
        self.assertEqual(told[0], b"* VANISHED (EARLIER) 2:3")
        self.assertEqual(len(told), 2)
        self.assertIn(b"UID 6 ", told[1])

    def test_another_mailbox_of_that_name(self) -> None:
        self.delete(2)
        self.assertEqual(self.changes(self.come(), self.before, validity=self.validity() + 1), [])

    def test_a_client_that_knows_more_than_there_is(self) -> None:
        """A mailbox put back from a backup: it is told everything."""
        self.delete(2)
        told = self.changes(self.come(), self.info().modseq + 1000)
        self.assertEqual(told[0], b"* VANISHED (EARLIER) 2")
        self.assertEqual(len(told), 6)

    def test_zero_is_everything(self) -> None:
        self.delete(6)
        told = self.changes(self.come(), 0)
        self.assertEqual((told[0], len(told)), (b"* VANISHED (EARLIER) 6", 6))

    def test_numbers_that_still_fit_save_what_is_certain(self) -> None:
        self.delete(2, 5)
        told = self.changes(self.come(), self.before, b" (1,2,4 1,2,4)")
        self.assertEqual(told, [b"* VANISHED (EARLIER) 2,5"])
        self.delete(6)
        told = self.changes(self.come(), self.before, b" 1:6 (1,3 1,4)")
        self.assertEqual(told, [b"* VANISHED (EARLIER) 5:6"], "3 is still 4, so that 2 is known to be gone")

    def test_by_uids_alone(self) -> None:
        self.delete(2)
        self.flag(4)
        dialogue = self.come(b"UIDONLY")
        self.ask(dialogue, b"a ENABLE QRESYNC")
        told = self.changes(dialogue, self.before)
        self.assertEqual(told[0], b"* VANISHED (EARLIER) 2")
        self.assertRegex(told[1], rb"\* 4 UIDFETCH \(FLAGS \(\\Flagged\) MODSEQ \(\d+\)\)")
        answer = self.ask(dialogue, b"q SELECT INBOX (QRESYNC (%d 1 (1 1)))" % self.validity())
        self.assertIn(b"q BAD [UIDREQUIRED]", answer)

    def test_very_many_gone(self) -> None:
        """No line is endless, and all ranges are told."""
        uids = self.put(4500)
        since = self.info().modseq
        self.delete(*uids[::2])
        told = self.changes(self.come(), since)
        self.assertEqual(len(told), 3)
        named = b",".join(line.split()[-1] for line in told)
        self.assertEqual([int(uid) for uid in named.split(b",")], uids[::2])
        self.assertLess(max(map(len, told)), 12_000)


class Forgetful(SynchronousTestCase):
    """A store that has forgotten what went."""

    def view(self, *uids: int) -> View:
        return View(self.snapshot(uids, ()), with_modseqs=True)

    def snapshot(self, uids: Any, vanished: Any) -> Snapshot:
        info = MailboxInfo("m", ("INBOX",), None, 7, 1_000_000, 9, 1, len(uids), 0, 0, 0, True)
        return Snapshot(info, array("I", uids), array("Q", [9] * len(uids)), [frozenset()] * len(uids), vanished)

    def test_all_that_is_not_there_is_told(self) -> None:
        view = self.view(3, 5)
        changes = self.snapshot((), range(1, 900_000))
        wanted = grammar.Resync(7, 5)
        self.assertEqual(resync.Missed(wanted, changes, False).gone(view), [(1, 2), (4, 4), (6, 999_999)])
        known = replace(wanted, known=Cursor((b"2:5,10",)).sequence_set())
        self.assertEqual(resync.Missed(known, changes, False).gone(view), [(2, 2), (4, 4), (10, 10)])
        numbers, uids = Cursor((b"1:2",)).sequence_set(), Cursor((b"3,5",)).sequence_set()
        certain = replace(wanted, numbers=numbers, uids=uids)
        self.assertEqual(resync.Missed(certain, changes, False).gone(view), [(6, 999_999)])

    def test_endless_pairs(self) -> None:
        huge = Cursor((b"1:4294967295",)).sequence_set()
        missed = resync.Missed(grammar.Resync(7, 5, None, huge, huge), self.snapshot((), [1]), False)
        self.assertEqual(missed.gone(self.view(3)), [(1, 1)])


class Conditions(Case):
    """STORE with UNCHANGEDSINCE."""

    def setUp(self) -> None:
        super().setUp()
        self.put(4)

    def test_what_others_changed_is_left_alone_and_told(self) -> None:
        here = self.open()
        since = code(self.ask(here, b"a FETCH 1 MODSEQ"), b"HIGHESTMODSEQ")
        self.flag(2, b"theirs")
        answer = self.ask_lines(here, rb"a STORE 1:3 (UNCHANGEDSINCE %d) +FLAGS.SILENT (mine)" % since)
        fetched = [line for line in answer if b" FETCH (" in line]
        self.assertRegex(fetched[0], rb"\* 1 FETCH \(UID 1 MODSEQ \(\d+\)\)")
        self.assertRegex(fetched[1], rb"\* 3 FETCH \(UID 3 MODSEQ \(\d+\)\)")
        self.assertRegex(fetched[2], rb"\* 2 FETCH \(UID 2 FLAGS \(\\Recent theirs\) MODSEQ \(\d+\)\)")
        self.assertTrue(answer[-1].startswith(b"a OK [MODIFIED 2]"), answer)
        self.assertEqual(self.flags()[2], {"theirs"})

    def test_by_uid(self) -> None:
        self.delete(1)
        here = self.open()
        self.assertIn(b"a OK [MODIFIED 2:4]", self.ask(here, rb"a UID STORE 1:9 (UNCHANGEDSINCE 1) +FLAGS (\Seen)"))

    def test_what_was_expunged_meanwhile(self) -> None:
        """Neither is stored, and MODIFIED names what has changed: RFC 7162 section 3.1.3, example 11."""
        here = self.open()
        self.ask(here, b"a FETCH 1 MODSEQ")
        self.delete(2)
        answer = self.ask_lines(here, rb"a STORE 1:2 (UNCHANGEDSINCE 0) +FLAGS.SILENT (\Seen)")
        self.assertTrue(answer[-1].startswith(b"a NO [MODIFIED 1]"), answer)
        self.assertFalse([line for line in answer if b"EXPUNGE" in line])
        self.assertIn(b"* 2 EXPUNGE\r\n", self.ask(here, b"a NOOP"))

    def test_each_that_passes_is_told(self) -> None:
        """Also where nothing had to be changed: RFC 7162 section 3.1.3."""
        here = self.open()
        self.ask(here, rb"a STORE 1 +FLAGS (\Seen)")
        lines = self.ask_lines(here, rb"a STORE 1:2 (UNCHANGEDSINCE 99999) +FLAGS.SILENT (\Seen)")
        self.assertEqual([line for line in lines if b"FLAGS" in line], [])
        self.assertEqual(len([line for line in lines if b"MODSEQ (" in line]), 2, lines)

    def test_every_changed_message_has_the_modseq_that_is_told(self) -> None:
        here = self.open()
        told = self.ask(here, rb"a STORE 1:4 (UNCHANGEDSINCE 99999) +FLAGS.SILENT (\Seen)")
        modseqs = {int(each) for each in re.findall(rb"MODSEQ \((\d+)\)", told)}
        snapshot = run_now(self, self.store.snapshot(ANN, self.info().id, 0))
        self.assertEqual(modseqs, set(snapshot.modseqs))


class Telling(Case):
    """What the clients of RFC 7162 and others hear of each other."""

    def setUp(self) -> None:
        super().setUp()
        self.put(3)

    def test_a_client_that_knows_nothing_of_it_hears_nothing_of_it(self) -> None:
        here = self.open()
        self.flag(2)
        self.delete(1)
        heard = self.ask(here, b"a NOOP")
        self.assertEqual(heard, b"* 1 EXPUNGE\r\n* 1 FETCH (FLAGS (\\Flagged \\Recent))\r\na OK Done\r\n")

    def test_enabling_late(self) -> None:
        here = self.open()
        self.flag(2)
        heard = self.ask(here, b"a ENABLE QRESYNC")
        self.assertIn(b"* ENABLED QRESYNC\r\n", heard)
        self.assertRegex(heard, rb"\* OK \[HIGHESTMODSEQ \d+\]")
        self.assertRegex(heard, rb"\* 2 FETCH \(UID 2 FLAGS \(\\Flagged \\Recent\) MODSEQ \(\d+\)\)")

    def test_vanished_waits_as_expunge_does(self) -> None:
        here = self.come()
        self.ask(here, b"a SELECT INBOX")
        self.delete(2)
        for command in (b"FETCH 3 FLAGS", rb"STORE 3 +FLAGS (\Seen)", b"SEARCH ALL"):
            self.assertNotIn(b"VANISHED", self.ask(here, b"a " + command))
        self.assertIn(b"* VANISHED 2\r\n", self.ask(here, b"a UID FETCH 3 FLAGS"))

    def test_a_page_of_all_and_what_of_it_has_changed(self) -> None:
        """RFC 9394 section 3.4."""
        here = self.come()
        since = code(self.ask(here, b"a SELECT INBOX"), b"HIGHESTMODSEQ")
        self.flag(1)
        self.flag(3)
        self.ask(here, b"a NOOP")
        for modifiers in (b"PARTIAL -1:-2 CHANGEDSINCE %d", b"CHANGEDSINCE %d PARTIAL -1:-2"):
            told = self.ask(here, b"a UID FETCH 1:* (FLAGS) (" + modifiers % since + b")")
            self.assertEqual(re.findall(rb"FETCH \(UID (\d) FLAGS", told), [b"3"])

    def test_a_search_by_number_keeps_the_numbers(self) -> None:
        """RFC 7162 section 3.2.10.2."""
        here = self.come()
        self.ask(here, b"a SELECT INBOX")
        self.delete(2)
        for command in (b"UID SEARCH 1:*", b"UID SEARCH NOT 3", b"UID SORT (ARRIVAL) UTF-8 OR SEEN 1"):
            self.assertNotIn(b"VANISHED", self.ask(here, b"a " + command))
        self.assertIn(b"* VANISHED 2\r\n", self.ask(here, b"a UID SEARCH UID 1:*"))

    def test_while_vanished_waits_the_client_is_told_to_come_back_for_it(self) -> None:
        """RFC 7162 section 3.2: its own changes have later modification sequences."""
        here = self.come()
        before = code(self.ask(here, b"a SELECT INBOX"), b"HIGHESTMODSEQ")
        self.delete(2)
        told = self.ask(here, rb"a STORE 3 +FLAGS (\Seen)")
        self.assertEqual(code(told, b"HIGHESTMODSEQ"), before)
        self.assertNotIn(b"HIGHESTMODSEQ", self.ask(here, b"a NOOP"))

    def test_uids_come_with_modseqs(self) -> None:
        """RFC 7162 section 3.2.4: QRESYNC need not be enabled, and of FETCH the UID comes with \\Seen alone."""
        here = self.open()
        self.ask(here, b"a ENABLE CONDSTORE")
        self.assertRegex(self.ask(here, b"a STORE 1 +FLAGS (x)"), rb"\* 1 FETCH \(UID 1 FLAGS \(\\Recent x\) MODSEQ")
        self.flag(2)
        self.assertRegex(self.ask(here, b"a NOOP"), rb"\* 2 FETCH \(UID 2 FLAGS")
        self.assertIn(b"\r\n UID 3 FLAGS (\\Seen", self.ask(here, b"a FETCH 3 BODY[]"))
        self.assertNotIn(b"UID", self.ask(here, b"a FETCH 3 (BODY[TEXT] MODSEQ)"))

    def test_what_is_gone_but_was_not_told_has_not_vanished_earlier(self) -> None:
        here = self.come()
        since = code(self.ask(here, b"a SELECT INBOX"), b"HIGHESTMODSEQ")
        self.delete(2)
        heard = self.ask(here, b"a UID FETCH 1:* FLAGS (CHANGEDSINCE %d VANISHED)" % since)
        self.assertIn(b"* VANISHED 2\r\n", heard)
        self.assertNotIn(b"EARLIER", heard)

    def test_a_change_back_is_told_by_its_modseq(self) -> None:
        here = self.come()
        self.ask(here, b"a SELECT INBOX")
        self.flag(2, b"x")
        self.flag(2, b"")
        self.assertRegex(self.ask(here, b"a NOOP"), rb"\* 2 FETCH \(UID 2 FLAGS \(\\Recent\) MODSEQ \(\d+\)\)")

    def test_highestmodseq_never_passes_what_was_not_told(self) -> None:
        here = self.come()
        before = code(self.ask(here, b"a SELECT INBOX"), b"HIGHESTMODSEQ")
        self.delete(1)
        self.flag(3)
        self.ask(here, b"a FETCH 1:2 FLAGS")
        kept = code(self.ask(here, b"a SELECT INBOX"), b"HIGHESTMODSEQ")
        self.assertGreater(kept, before)
        view_before = self.open()
        self.delete(2)
        heard = self.ask(view_before, b"a FETCH 1:2 MODSEQ")
        self.assertEqual(code(heard, b"HIGHESTMODSEQ"), kept)

    def test_news_between_select_and_idle(self) -> None:
        here = self.come()
        self.ask(here, b"a SELECT INBOX")
        self.delete(2)
        self.put()
        heard = self.ask(here, b"a IDLE")
        self.assertIn(b"* VANISHED 2\r\n* 3 EXISTS\r\n", heard)
        self.flag(3)
        self.assertRegex(here.hear(), rb"\* 2 FETCH \(UID 3 FLAGS \(\\Flagged \\Recent\) MODSEQ \(\d+\)\)")

    def test_implicit_seen_has_its_modseq(self) -> None:
        here = self.come()
        self.ask(here, b"a SELECT INBOX")
        self.assertRegex(self.ask(here, b"a UID FETCH 1 BODY[TEXT]"), rb"FLAGS \(\\Seen \\Recent\) MODSEQ \(\d+\)\)")
        self.assertRegex(self.ask(here, b"a UID FETCH 2 (FLAGS BODY[TEXT])"), rb" MODSEQ \(\d+\)\)")

    def test_close_tells_no_modseq(self) -> None:
        here = self.come()
        self.ask(here, b"a SELECT INBOX")
        self.ask(here, rb"a STORE 1 +FLAGS.SILENT (\Deleted)")
        self.assertEqual(self.ask(here, b"a CLOSE"), b"a OK Closed\r\n")
        self.assertEqual(len(self.flags()), 2)

    def test_a_mailbox_that_is_deleted(self) -> None:
        here = self.come()
        self.ask(here, b"a SELECT Junk")
        run_now(self, self.store.edit_mailbox(ANN, DeleteMailbox(("Junk",))))
        self.assertIn(b"* BYE", self.ask(here, b"a UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)"))


class Traps(Case):
    """Clients that others have stumbled over."""

    def test_outlook_enables_uidonly_and_goes_on_with_numbers(self) -> None:
        """It is not offered there, and so numbers stay."""
        self.put(1)
        rule = Rule(programs=("*outlook*",), without=frozenset({b"UIDONLY"}))
        self.settings = replace(self.settings, rules=[rule])
        here = self.log_in()
        told = self.ask(here, b'a ID ("name" "Microsoft Outlook")') + self.ask(here, b"b CAPABILITY")
        self.assertNotIn(b"UIDONLY", told)
        self.assertIn(b"* ENABLED CONDSTORE\r\n", self.ask(here, b"c ENABLE UIDONLY CONDSTORE"))
        self.ask(here, b"d SELECT INBOX")
        self.assertIn(b"* 1 FETCH (FLAGS ", self.ask(here, b"e FETCH 1:* (FLAGS)"))

    def test_condstore_that_is_switched_off(self) -> None:
        rule = Rule(without=switched_off(["CONDSTORE"]))
        self.settings = replace(self.settings, rules=[rule])
        here = self.log_in()
        self.assertNotIn(b"QRESYNC", self.ask(here, b"a CAPABILITY"))
        self.assertEqual(self.ask(here, b"a ENABLE CONDSTORE QRESYNC"), b"* ENABLED\r\na OK Done\r\n")
        self.assertIn(b"a BAD", self.ask(here, b"a SELECT INBOX (CONDSTORE)"))
        self.assertNotIn(b"HIGHESTMODSEQ", self.ask(here, b"a SELECT INBOX"))
        self.assertIn(b"a BAD", self.ask(here, b"a FETCH 1:* MODSEQ"))

    def test_ios_asks_for_what_changed_since_0(self) -> None:
        self.put(2)
        here = self.open()
        self.assertEqual(self.ask(here, b"a UID FETCH 1:* (FLAGS) (CHANGEDSINCE 0)").count(b" FETCH (UID "), 2)
        self.assertIn(b"b OK", self.ask(self.open(b"Junk"), b"b FETCH 1:* (FLAGS) (CHANGEDSINCE 0)"))

    def test_ios_sends_an_empty_line_first_and_moves_what_is_gone(self) -> None:
        self.put(1)
        here = self.open()
        here.say(b'\r\nB41 UID MOVE 475 "Trash"\r\n')
        self.assertTrue(here.hear().startswith(b"B41 OK "))
        self.delete(1)
        self.assertIn(b"B42 OK", self.ask(here, b'B42 UID MOVE 1 "Trash"'))

    def test_vanished_never_comes_before_enable(self) -> None:
        """Clients delete mail that they believe to be gone: everything but ENABLE QRESYNC leaves them with EXPUNGE."""
        self.put(2)
        here = self.log_in()
        self.assertEqual(self.ask(here, b"a ENABLE NO SUCH"), b"* ENABLED\r\na OK Done\r\n")
        for asked in (b"SELECT INBOX (QRESYNC (%d 1))" % self.validity(), b"SELECT INBOX (CONDSTORE QRESYNC (1 1))"):
            self.assertIn(b"a BAD", self.ask(here, b"a " + asked))
        self.ask(here, b"a SELECT INBOX (CONDSTORE)")
        self.assertIn(b"a BAD", self.ask(here, b"a UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)"))
        self.delete(1)
        heard = self.ask(here, b"a NOOP")
        self.assertIn(b"* 1 EXPUNGE\r\n", heard)
        self.assertNotIn(b"VANISHED", heard)

    def test_a_star_is_the_last_message_even_below_the_range(self) -> None:
        self.put(2)
        here = self.open()
        self.assertIn(b"* 2 FETCH (UID 2 FLAGS", self.ask(here, b"a UID FETCH 100:* FLAGS"))
        self.assertIn(b"UID 2 ", self.ask(here, b"a UID FETCH 100:* FLAGS (CHANGEDSINCE 0)"))

    def test_uidnext_and_permanentflags_are_always_told(self) -> None:
        told = self.ask(self.log_in(), b"a SELECT INBOX")
        self.assertIn(b"* OK [UIDNEXT 1]", told)
        self.assertRegex(told, rb"\* OK \[PERMANENTFLAGS \([^)]*\\\*\)\]")


class Rev2(Case):
    """What is otherwise for who has enabled IMAP4rev2 (RFC 9051)."""

    def test_select(self) -> None:
        self.put(2)
        here = self.come(b"IMAP4rev2")
        told = self.ask_lines(here, b"a SELECT INBOX")
        self.assertIn(b'* LIST () "/" INBOX', told)
        self.assertFalse([line for line in told if b"RECENT" in line or b"UNSEEN" in line])
        self.assertIn(b"* OK [CLOSED] The mailbox before it is closed", self.ask_lines(here, b"a SELECT INBOX"))

    def test_nothing_is_recent(self) -> None:
        self.put(1)
        here = self.come(b"IMAP4rev2")
        self.ask(here, b"a SELECT INBOX")
        self.put(1)
        self.assertEqual(self.ask(here, b"a NOOP"), b"* 2 EXISTS\r\na OK Done\r\n")
        self.assertIn(b"* 2 FETCH (FLAGS ())", self.ask(here, b"a FETCH 1:2 FLAGS"))
        self.assertIn(b"* 2 RECENT", self.ask(self.log_in(), b"a SELECT INBOX"), "others still claim them")

    def test_enabled_where_a_mailbox_is_open(self) -> None:
        self.put(1)
        here = self.open()
        self.ask(here, b"a ENABLE IMAP4rev2")
        self.assertIn(b"* 1 FETCH (FLAGS ())", self.ask(here, b"a FETCH 1 FLAGS"))

    def test_news_have_the_uid(self) -> None:
        """RFC 9051 section 7.5.2."""
        self.put(2)
        here = self.come(b"IMAP4rev2")
        self.ask(here, b"a SELECT INBOX")
        self.flag(1)
        self.assertEqual(self.ask(here, b"a NOOP"), b"* 1 FETCH (UID 1 FLAGS (\\Flagged))\r\na OK Done\r\n")
        self.assertIn(b"\r\n UID 2 FLAGS (\\Seen))\r\n", self.ask(here, b"a FETCH 2 BODY[]"))
