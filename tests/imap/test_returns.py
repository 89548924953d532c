"""SEARCH with RETURN: ESEARCH, the saved result, pages, modification sequences, relevancy."""

import time

from mailfw.mail.mailbox import FlagChange, Row, Want
from mailfw.testing.dialogue import Dialogue, run_now
from tests.imap.sessions import ANN
from tests.imap.test_search import DAY, SearchCase


class ReturnCase(SearchCase):
    def asked(self, dialogue: Dialogue, line: bytes) -> list[bytes]:
        """Return the untagged answers of a command that succeeds."""
        *lines, last = self.ask_lines(dialogue, b"a " + line)
        self.assertTrue(last.startswith(b"a OK "), [line, *lines, last])
        return lines

    def one(self, dialogue: Dialogue, line: bytes) -> bytes:
        """Return the one untagged answer, without what each ESEARCH begins with."""
        lines = self.asked(dialogue, line)
        self.assertEqual(len(lines), 1, lines)
        return lines[0].removeprefix(b'* ESEARCH (TAG "a")').strip()

    def remove(self, *uids: int) -> None:
        mailbox = self.info().id
        run_now(self, self.store.alter(ANN, mailbox, uids, FlagChange.ADD, frozenset({"\\Deleted"})))
        run_now(self, self.store.expunge(ANN, mailbox, uids))


class Returns(ReturnCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(3, "\\Seen")
        self.put(2)
        self.put(2, "\\Seen")
        self.remove(1)
        self.dialogue = self.open()  # UIDs 2 to 7

    def test_each(self) -> None:
        for line, answer in (
            (b"SEARCH RETURN () SEEN", b"ALL 1:2,5:6"),
            (b"search return (all) seen", b"ALL 1:2,5:6"),
            (b"UID SEARCH RETURN (ALL) SEEN", b"UID ALL 2:3,6:7"),
            (b"SEARCH RETURN (MIN) SEEN", b"MIN 1"),
            (b"SEARCH RETURN (MAX) SEEN", b"MAX 6"),
            (b"UID SEARCH RETURN (MIN MAX COUNT ALL) UNSEEN", b"UID MIN 4 MAX 5 ALL 4:5 COUNT 2"),
            (b"SEARCH RETURN (COUNT) ALL", b"COUNT 6"),
            (b"SEARCH RETURN (MIN MAX ALL COUNT) FLAGGED", b"COUNT 0"),
            (b"SEARCH RETURN (ALL) FLAGGED", b""),
            (b"UID SEARCH RETURN () FLAGGED", b"UID"),
            (b"SEARCH RETURN (COUNT) CHARSET UTF-8 SEEN", b"COUNT 4"),
        ):
            self.assertEqual(self.one(self.dialogue, line), answer, line)

    def test_pages(self) -> None:
        for line, answer in (
            (b"UID SEARCH RETURN (PARTIAL 1:2) SEEN", b"UID PARTIAL (1:2 2:3)"),
            (b"UID SEARCH RETURN (PARTIAL 2:1) SEEN", b"UID PARTIAL (1:2 2:3)"),
            (b"UID SEARCH RETURN (PARTIAL 3:10) SEEN", b"UID PARTIAL (3:10 6:7)"),
            (b"UID SEARCH RETURN (PARTIAL -1:-2) SEEN", b"UID PARTIAL (-1:-2 6:7)"),
            (b"UID SEARCH RETURN (PARTIAL -3:-10 COUNT) SEEN", b"UID COUNT 4 PARTIAL (-3:-10 2:3)"),
            (b"UID SEARCH RETURN (PARTIAL 5:9) SEEN", b"UID PARTIAL (5:9 NIL)"),
            (b"UID SEARCH RETURN (PARTIAL -5:-9) SEEN", b"UID PARTIAL (-5:-9 NIL)"),
        ):
            self.assertEqual(self.one(self.dialogue, line), answer, line)

    def test_refusals(self) -> None:
        for line in (
            b"SEARCH RETURN (PARTIAL 1:2 ALL) ALL",
            b"SEARCH RETURN (PARTIAL 1:2 PARTIAL 3:4) ALL",
            b"SEARCH RETURN (PARTIAL -1:2) ALL",
            b"SEARCH RETURN (PARTIAL 0:2) ALL",
            b"SEARCH RETURN (PARTIAL 1:4294967296) ALL",
            b"SEARCH RETURN (LAST) ALL",
            b"SEARCH RETURN ( MIN) ALL",
            b"SEARCH RETURN (MIN ALL",
            b"SEARCH RETURN MIN ALL",
            b"SEARCH RETURN (ALL)",
            b"SEARCH RETURN (RELEVANCY) SUBJECT x",
            b"SEARCH " + b"NOT " * 10_000 + b"SEEN",
            b"SEARCH " + b"(" * 10_000,
            b"SEARCH" + b" $" * 5,
            b"SEARCH" + b" UID $" * 5,
            b"SEARCH " + b"FUZZY " * 10_000 + b"SEEN",
        ):
            self.assertTrue(self.ask(self.dialogue, b"a " + line).startswith(b"a BAD "), line[:60])

    def test_rev2_always_has_esearch(self) -> None:
        self.assertIn(b"OK", self.ask(self.dialogue, b"e ENABLE IMAP4rev2"))
        self.assertEqual(self.one(self.dialogue, b"SEARCH SEEN"), b"ALL 1:2,5:6")
        self.assertEqual(self.one(self.dialogue, b"UID SEARCH FLAGGED"), b"UID")

    def test_no_charset_is_named_where_all_is_utf8(self) -> None:
        self.assertIn(b"OK", self.ask(self.dialogue, b"e ENABLE UTF8=ACCEPT"))
        for line in (b"SEARCH CHARSET UTF-8 ALL", b"ESEARCH CHARSET UTF-8 ALL"):
            self.assertTrue(self.ask(self.dialogue, b"a " + line).startswith(b"a BAD "), line)
        for line in (b"SORT (DATE) ISO-8859-1 ALL", b"THREAD REFS EUC-KR ALL", b"SORT (DATE) nonsense ALL"):
            self.assertTrue(self.ask(self.dialogue, b"a " + line).startswith(b"a BAD "), line)
        for line in (b"SORT (DATE) utf-8 ALL", b"SORT (DATE) us-ascii ALL"):
            self.asked(self.dialogue, line)
        self.assertEqual(self.one(self.dialogue, 'SEARCH RETURN (COUNT) NOT SUBJECT "회의"'.encode()), b"COUNT 6")
        self.assertIn(b"OK", self.ask(self.dialogue, b"e ENABLE IMAP4rev2"))
        self.assertEqual(self.one(self.dialogue, b"SEARCH RETURN (COUNT) CHARSET UTF-8 ALL"), b"COUNT 6")

    def test_pipelined(self) -> None:
        self.dialogue.say(b"a SEARCH RETURN (SAVE) SEEN\r\nb SEARCH RETURN (COUNT) $\r\nc UID SEARCH RETURN () $\r\n")
        lines = self.dialogue.hear().split(b"\r\n")
        told = [line for line in lines if line.startswith(b"*")]
        self.assertEqual(told, [b'* ESEARCH (TAG "b") COUNT 4', b'* ESEARCH (TAG "c") UID ALL 2:3,6:7'])


class SavedResults(ReturnCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(2, "\\Seen")
        self.put(2)
        self.put(2, "\\Seen")
        self.dialogue = self.open()

    def saved(self) -> bytes:
        return self.one(self.dialogue, b"UID SEARCH RETURN () $").removeprefix(b"UID").strip()

    def test_what_is_saved(self) -> None:
        self.assertEqual(self.saved(), b"")
        for options, kept in (
            (b"SAVE", b"1:2,5:6"),
            (b"SAVE ALL", b"1:2,5:6"),
            (b"SAVE MIN", b"1"),
            (b"SAVE MAX", b"6"),
            (b"SAVE MIN MAX", b"1,6"),
            (b"SAVE MIN COUNT", b"1:2,5:6"),
            (b"SAVE PARTIAL 2:3", b"2,5"),
            (b"SAVE PARTIAL 2:3 MAX", b"2,5:6"),
            (b"SAVE PARTIAL 2:3 COUNT", b"1:2,5:6"),
        ):
            lines = self.asked(self.dialogue, b"SEARCH RETURN (" + options + b") SEEN")
            self.assertEqual(len(lines), options != b"SAVE", lines)
            self.assertEqual(self.saved(), b"ALL " + kept, options)
        self.asked(self.dialogue, b"SEARCH RETURN (SAVE) FLAGGED")
        self.assertEqual(self.saved(), b"")

    def test_where_it_is_used(self) -> None:
        self.asked(self.dialogue, b"SEARCH RETURN (SAVE) SEEN")
        self.assertEqual(self.asked(self.dialogue, b"UID FETCH $ (UID)")[-1], b"* 6 FETCH (UID 6)")
        self.assertEqual(len(self.asked(self.dialogue, b"FETCH $ (UID)")), 4)
        self.asked(self.dialogue, b"STORE $ +FLAGS.SILENT (\\Deleted)")
        self.assertEqual(self.one(self.dialogue, b"SEARCH RETURN () DELETED"), b"ALL 1:2,5:6")
        self.assertEqual(self.one(self.dialogue, b"SEARCH RETURN () NOT $"), b"ALL 3:4")
        self.asked(self.dialogue, b"EXPUNGE")
        self.assertEqual(self.saved(), b"")
        self.assertEqual(self.asked(self.dialogue, b"FETCH $ (UID)"), [])

    def test_messages_that_go(self) -> None:
        self.asked(self.dialogue, b"SEARCH RETURN (SAVE) SEEN")
        self.remove(2, 5)
        self.asked(self.dialogue, b"NOOP")
        self.assertEqual(self.saved(), b"ALL 1,6")
        self.assertEqual(self.asked(self.dialogue, b"FETCH $ (UID)"), [b"* 1 FETCH (UID 1)", b"* 4 FETCH (UID 6)"])

    def test_when_it_is_forgotten(self) -> None:
        self.asked(self.dialogue, b"SEARCH RETURN (SAVE) SEEN")
        self.assertTrue(self.ask(self.dialogue, b"a SEARCH RETURN (SAVE) NONSENSE").startswith(b"a BAD"))
        self.assertEqual(self.saved(), b"ALL 1:2,5:6")
        answer = self.ask(self.dialogue, b"a SEARCH RETURN (SAVE) CHARSET nonsense SEEN")
        self.assertIn(b"a NO [BADCHARSET ", answer)
        self.assertEqual(self.saved(), b"")
        self.asked(self.dialogue, b"SEARCH RETURN (SAVE) SEEN")
        self.ask(self.dialogue, b"b SELECT INBOX")
        self.assertEqual(self.saved(), b"")

    def test_it_stands_alone(self) -> None:
        for line in (b"FETCH $,1 UID", b"FETCH 1,$ UID", b"FETCH $:* UID", b"SEARCH $1"):
            self.assertTrue(self.ask(self.dialogue, b"a " + line).startswith(b"a BAD "), line)


class MoreKeys(ReturnCase):
    def test_modification_sequences(self) -> None:
        self.put(4)
        mailbox = self.info().id
        run_now(self, self.store.alter(ANN, mailbox, [2], FlagChange.ADD, frozenset({"\\Seen"})))
        run_now(self, self.store.alter(ANN, mailbox, [3], FlagChange.ADD, frozenset({"\\Seen"})))
        modseq = self.info().modseq
        dialogue = self.open()
        first = self.asked(dialogue, b"SEARCH MODSEQ %d" % modseq)
        self.assertTrue(any(b"HIGHESTMODSEQ" in line for line in first), first)
        self.assertEqual(first[-1], b"* SEARCH 3 (MODSEQ %d)" % modseq)
        for line, answer in (
            (b'SEARCH MODSEQ "/flags/\\\\Seen" all %d' % (modseq - 1), b"* SEARCH 2 3 (MODSEQ %d)" % modseq),
            (b"SEARCH MODSEQ %d" % (modseq + 1), b"* SEARCH"),
            (b"SEARCH OR 4 MODSEQ %d" % modseq, b"* SEARCH 3 4 (MODSEQ %d)" % modseq),
            (b"SEARCH NOT MODSEQ %d 2" % modseq, b"* SEARCH 2 (MODSEQ %d)" % (modseq - 1)),
            (b"SORT (REVERSE ARRIVAL) UTF-8 MODSEQ %d" % modseq, b"* SORT 3 (MODSEQ %d)" % modseq),
        ):
            self.assertEqual(self.asked(dialogue, line), [answer], line)
        for options, answer in (
            (b"ALL", b"ALL 2:3 MODSEQ %d" % modseq),
            (b"MIN", b"MIN 2 MODSEQ %d" % (modseq - 1)),
            (b"MAX", b"MAX 3 MODSEQ %d" % modseq),
            (b"MIN COUNT", b"MIN 2 COUNT 2 MODSEQ %d" % modseq),
            (b"PARTIAL 1:1", b"PARTIAL (1:1 2) MODSEQ %d" % (modseq - 1)),
        ):
            line = b"SEARCH RETURN (%b) MODSEQ %d" % (options, modseq - 1)
            self.assertEqual(self.one(dialogue, line), answer, options)
        for keys in (b"MODSEQ", b"MODSEQ x", b"MODSEQ -1", b'MODSEQ "/x" all 1', b"MODSEQ 99999999999999999999"):
            self.assertTrue(self.ask(dialogue, b"a SEARCH " + keys).startswith(b"a BAD "), keys)

    def test_without_condstore_there_is_no_modseq(self) -> None:
        self.assertNotIn(b"MODSEQ", self.ask(self.open(), b"a SEARCH ALL"))

    def test_within(self) -> None:
        now = self.now()
        for age in (5, 500, 50_000):
            self.deliver(b"Subject: x\r\n\r\n", received=now - age)
        self.check(
            (
                (b"YOUNGER 60", [1]),
                (b"YOUNGER 600", [1, 2]),
                (b"OLDER 600", [3]),
                (b"OLDER 60 YOUNGER 1000", [2]),
                (b"NOT YOUNGER 60", [2, 3]),
                (b"OLDER 4294967295", []),
            )
        )
        for keys in (b"YOUNGER 0", b"OLDER", b"YOUNGER x"):
            self.assertTrue(self.ask(self.open(), b"a SEARCH " + keys).startswith(b"a BAD "), keys)

    def test_when_it_was_saved(self) -> None:
        self.deliver(b"Subject: x\r\n\r\n", received=10 * DAY)
        [row] = [row for rows in self.rows() for row in rows]
        saved = 10 * DAY if row.saved is None else row.saved
        day = self.day(saved)
        after = self.day(saved + DAY)
        self.check(
            (
                (b"SAVEDON " + day, [1]),
                (b"SAVEDSINCE " + day, [1]),
                (b"SAVEDBEFORE " + day, []),
                (b"SAVEDBEFORE " + after, [1]),
                (b"SAVEDSINCE " + after, []),
                (b"SAVEDATESUPPORTED", [1]),
            )
        )

    @staticmethod
    def now() -> int:
        return int(time.time())

    @staticmethod
    def day(moment: int) -> bytes:
        return time.strftime("%-d-%b-%Y", time.gmtime(moment)).encode()

    def rows(self) -> list[list[Row]]:
        async def read() -> list[list[Row]]:
            return [rows async for rows in self.store.rows(ANN, self.info().id, [1], Want.SAVED)]

        return run_now(self, read())  # type: ignore[no-any-return]
