"""SORT, THREAD, results that are kept up to date, searches in several mailboxes, batches, fuzzy searches."""

from dataclasses import replace

from mailfw.imap.allowances import Allowance
from mailfw.imap.answered import Answered
from mailfw.imap.capabilities import switched_off
from mailfw.imap.commands.finder import Finder, TookTooLong
from mailfw.mail.failure import NoSuchMailbox
from mailfw.mail.mailbox import CreateMailbox, FlagChange, NewMessage, Path, Subscribe
from mailfw.testing.dialogue import Dialogue, run_now
from mailfw.wire.interruptions import Disconnected
from tests.imap.sessions import ANN, HeldDraft
from tests.imap.test_returns import ReturnCase
from tests.imap.test_search import DAY


def mail(subject: str, sender: str = "a@b", to: str = "", cc: str = "", date: str = "", more: str = "") -> bytes:
    """Make a message."""
    fields = {"Subject": subject, "From": sender, "To": to, "Cc": cc, "Date": date}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return (head + more + "\r\nHello\r\n").encode()


class Sorting(ReturnCase):
    def setUp(self) -> None:
        super().setUp()
        for number, octets in enumerate(
            (
                mail("Zebra", "Zoe <alf@x>", "bob@x", "mia@x", "Sat, 3 Jan 1970 00:00:00 +0000"),
                mail("Re: apple", "bert@x", "Cleo <ada@x>", "", "Fri, 2 Jan 1970 00:00:00 +0000"),
                mail("Apple", "Anna <zac@x>", "", "leo@x", "Fri, 2 Jan 1970 00:00:00 +0200"),
                mail("=?utf-8?b?w4RwZmVs?=", "cid@x", "ada@x", "leo@x", "nonsense", "X: " + "y" * 300 + "\r\n"),
            )
        ):
            self.deliver(octets, received=(4 - number) * DAY)

    def test_each_criterion(self) -> None:
        dialogue = self.open()
        for criteria, numbers in (
            (b"ARRIVAL", b"4 3 2 1"),
            (b"REVERSE ARRIVAL", b"1 2 3 4"),
            (b"DATE", b"3 2 4 1"),  # what cannot be read is when it was received
            (b"REVERSE DATE", b"1 2 4 3"),
            (b"SUBJECT", b"2 3 4 1"),
            (b"REVERSE SUBJECT", b"1 4 2 3"),
            (b"FROM", b"1 2 4 3"),
            (b"DISPLAYFROM", b"3 2 4 1"),
            (b"TO", b"3 2 4 1"),
            (b"DISPLAYTO", b"3 4 1 2"),
            (b"CC", b"2 3 4 1"),
            (b"TO REVERSE ARRIVAL", b"3 2 4 1"),
            (b"CC ARRIVAL", b"2 4 3 1"),
            (b"CC REVERSE ARRIVAL", b"2 3 4 1"),
            (b"subject reverse date", b"2 3 4 1"),
        ):
            self.assertEqual(
                self.asked(dialogue, b"SORT (" + criteria + b") UTF-8 ALL"), [b"* SORT " + numbers], criteria
            )
        self.assertEqual(self.asked(dialogue, b"SORT (REVERSE SIZE) US-ASCII ALL")[0].split()[2], b"4")

    def test_what_is_sorted(self) -> None:
        dialogue = self.open()
        self.assertEqual(self.asked(dialogue, b"SORT (ARRIVAL) UTF-8 SUBJECT apple"), [b"* SORT 3 2"])
        self.assertEqual(self.asked(dialogue, b"UID SORT (ARRIVAL) UTF-8 2:3"), [b"* SORT 3 2"])
        self.assertEqual(self.asked(dialogue, b"SORT (ARRIVAL) UTF-8 SUBJECT nothing"), [b"* SORT"])

    def test_returns(self) -> None:
        dialogue = self.open()
        for options, answer in (
            (b"", b"ALL 4,3,2,1"),
            (b"MIN MAX COUNT", b"MIN 4 MAX 1 COUNT 4"),
            (b"PARTIAL 2:3", b"PARTIAL (2:3 3,2)"),
            (b"PARTIAL -1:-2", b"PARTIAL (-1:-2 2,1)"),
        ):
            self.assertEqual(self.one(dialogue, b"SORT RETURN (" + options + b") (ARRIVAL) UTF-8 ALL"), answer)
        self.asked(dialogue, b"SORT RETURN (SAVE MIN) (ARRIVAL) UTF-8 ALL")
        self.assertEqual(self.one(dialogue, b"SEARCH RETURN () $"), b"ALL 4")

    def test_refusals(self) -> None:
        dialogue = self.open()
        for line in (
            b"SORT (COLOUR) UTF-8 ALL",
            b"SORT () UTF-8 ALL",
            b"SORT (REVERSE) UTF-8 ALL",
            b"SORT ARRIVAL UTF-8 ALL",
            b"SORT (ARRIVAL) UTF-8",
            b"THREAD SOMEHOW UTF-8 ALL",
            b"THREAD REFS",
            b"SORT (RELEVANCY) UTF-8 SUBJECT apple",
        ):
            self.assertTrue(self.ask(dialogue, b"a " + line).startswith(b"a BAD "), line)
        for line in (b"SORT (ARRIVAL) nonsense ALL", b"THREAD REFS nonsense ALL"):
            self.assertIn(b"a NO [BADCHARSET (", self.ask(dialogue, b"a " + line))


class Threads(ReturnCase):
    def setUp(self) -> None:
        super().setUp()
        for number, (subject, id_, references) in enumerate(
            (
                ("Plan", "<1@x>", ""),
                ("Re: Plan", "<2@x>", "<1@x>"),
                ("Other", "<3@x>", ""),
                ("Re: Plan", "<4@x>", "<1@x> <2@x>"),
                ("Re: Lost", "<6@x>", "<5@x>"),
                ("Re: Lost", "<7@x>", "<5@x>"),
                ("Re: Plan", "<8@x>", ""),
            )
        ):
            more = f"Message-ID: {id_}\r\n" + (f"References: {references}\r\n" if references else "")
            date = f"Fri, {number + 1} Jan 2021 00:00:00 +0000"
            self.deliver(mail(subject, date=date, more=more), received=number * DAY)

    def test_each_algorithm(self) -> None:
        dialogue = self.open()
        for algorithm, threads in (
            (b"REFERENCES", b"(1 (2 4)(7))(3)((5)(6))"),
            (b"REFS", b"(3)(1 2 4)((5)(6))(7)"),
            (b"ORDEREDSUBJECT", b"(1 (2)(4)(7))(3)(5 6)"),
        ):
            self.assertEqual(self.asked(dialogue, b"THREAD " + algorithm + b" UTF-8 ALL"), [b"* THREAD " + threads])
        self.assertEqual(self.asked(dialogue, b"UID THREAD REFS UTF-8 UID 2:4"), [b"* THREAD (3)(2 4)"])
        self.assertEqual(self.asked(dialogue, b"THREAD REFERENCES UTF-8 SUBJECT nothing"), [b"* THREAD"])

    def test_of_messages_with_one_id_the_first_has_it(self) -> None:
        """RFC 5256 section 3, REFERENCES, step 1 (A)."""
        self.deliver(mail("Plan", more="Message-ID: <1@x>\r\nX: again\r\n"), received=20 * DAY)
        self.deliver(mail("Late", more="Message-ID: <9@x>\r\nReferences: <1@x>\r\n"), received=30 * DAY)
        self.assertEqual(self.asked(self.open(), b"THREAD REFS UTF-8 OR SUBJECT late UID 1,8"), [b"* THREAD (8)(1 9)"])


class Contexts(ReturnCase):
    def mark(self, *uids: int, change: FlagChange = FlagChange.ADD, flag: str = "\\Flagged") -> None:
        run_now(self, self.store.alter(ANN, self.info().id, uids, change, frozenset({flag})))

    def told(self, dialogue: Dialogue, line: bytes = b"NOOP") -> list[bytes]:
        lines = self.ask_lines(dialogue, b"n " + line)
        return [each[2:] for each in lines[:-1] if b"FETCH" not in each and b"RECENT" not in each]

    def test_a_search_is_kept_up_to_date(self) -> None:
        self.put(5)
        dialogue = self.open()
        self.assertEqual(self.one(dialogue, b"UID SEARCH RETURN (UPDATE) FLAGGED"), b"UID")
        self.mark(2, 3)
        self.assertEqual(self.told(dialogue), [b'ESEARCH (TAG "a") UID ADDTO (0 2:3)'])
        self.mark(2, change=FlagChange.REMOVE)
        self.assertEqual(self.told(dialogue), [b'ESEARCH (TAG "a") UID REMOVEFROM (0 2)'])
        self.assertEqual(
            self.told(dialogue, b"STORE 4 +FLAGS.SILENT (\\Flagged)"), [b'ESEARCH (TAG "a") UID ADDTO (0 4)']
        )
        self.put(1, "\\Flagged")
        self.assertEqual(self.told(dialogue), [b"6 EXISTS", b'ESEARCH (TAG "a") UID ADDTO (0 6)'])
        self.remove(3)
        self.assertEqual(self.told(dialogue), [b'ESEARCH (TAG "a") UID REMOVEFROM (0 3)', b"3 EXPUNGE"])
        self.put()
        self.assertEqual(self.told(dialogue), [b"6 EXISTS"])
        self.assertEqual(self.told(dialogue, b'CANCELUPDATE "a"'), [])
        self.mark(1)
        self.assertEqual(self.told(dialogue), [])
        self.assertTrue(self.ask(dialogue, b'n CANCELUPDATE "a"').startswith(b"n BAD"))

    def test_numbers_are_those_of_the_moment(self) -> None:
        self.put(5, "\\Flagged")
        dialogue = self.open()
        self.assertEqual(self.one(dialogue, b"SEARCH RETURN (UPDATE ALL) FLAGGED"), b"ALL 1:5")
        self.remove(2, 4)
        told = self.told(dialogue)
        self.assertEqual(told[0], b'ESEARCH (TAG "a") REMOVEFROM (0 2,4)')
        self.mark(5, change=FlagChange.REMOVE)
        self.assertEqual(self.told(dialogue), [b'ESEARCH (TAG "a") REMOVEFROM (0 3)'])

    def test_a_tag_names_one_result(self) -> None:
        """RFC 5267 section 4.3."""
        self.put(1)
        dialogue = self.open()
        self.asked(dialogue, b"UID SEARCH RETURN (UPDATE) FLAGGED")
        for line in (
            b"SEARCH RETURN (UPDATE) SEEN",
            b"SORT RETURN (UPDATE) (DATE) UTF-8 ALL",
            b"ESEARCH RETURN (UPDATE) ALL",
        ):
            self.assertTrue(self.ask(dialogue, b"a " + line).startswith(b"a BAD "), line)
        self.mark(1)
        self.assertEqual(self.told(dialogue), [b'ESEARCH (TAG "a") UID ADDTO (0 1)'])

    def test_an_order_is_kept(self) -> None:
        for subject in ("b", "d", "f"):
            self.deliver(mail(subject))
        dialogue = self.open()
        line = b"UID SORT RETURN (UPDATE COUNT) (REVERSE SUBJECT) UTF-8 UNDELETED"
        self.assertEqual(self.one(dialogue, line), b"UID COUNT 3")  # f d b: 3 2 1
        self.deliver(mail("c"))
        self.deliver(mail("e"))
        self.assertEqual(self.told(dialogue)[-1], b'ESEARCH (TAG "a") UID ADDTO (2 5 4 4)')  # f e d c b
        self.mark(3, 1, flag="\\Deleted")
        self.assertEqual(self.told(dialogue)[-1], b'ESEARCH (TAG "a") UID REMOVEFROM (5 1 1 3)')

    def test_one_that_cannot_be_kept_is_given_up(self) -> None:
        async def find(*_: object) -> None:
            raise TookTooLong

        self.put(2)
        dialogue = self.open()
        self.one(dialogue, b"SEARCH RETURN (UPDATE) FLAGGED")
        self.mark(1)
        self.patch(Finder, "find", find)
        self.assertIn(b'NO [NOUPDATE "a"] No more updates of that result', self.told(dialogue))
        self.mark(2)
        self.assertEqual(self.told(dialogue), [])

    def test_numbers_and_what_was_saved_stay_what_they_were(self) -> None:
        self.put(6)
        dialogue = self.open()
        self.asked(dialogue, b"SEARCH RETURN (SAVE) 5:6")
        for tag, line in (
            (b"s", b"UID SEARCH RETURN (UPDATE) OR $ 2:3 FLAGGED"),
            (b"m", b"UID SEARCH RETURN (UPDATE) NOT 1:3 FLAGGED"),
            (b"w", b"UID SEARCH RETURN (UPDATE) 1:* FLAGGED"),
        ):
            self.assertIn(tag + b" OK", self.ask(dialogue, tag + b" " + line))
        self.asked(dialogue, b"SEARCH RETURN (SAVE) 1")
        self.remove(1)
        self.told(dialogue)
        self.mark(3, 4, 6)
        self.assertEqual(
            sorted(self.told(dialogue)),
            [
                b'ESEARCH (TAG "m") UID ADDTO (0 4,6)',
                b'ESEARCH (TAG "s") UID ADDTO (0 3,6)',
                b'ESEARCH (TAG "w") UID ADDTO (0 3:4,6)',
            ],
        )
        self.remove(2, 3, 4, 5, 6)
        self.told(dialogue)
        self.put(1, "\\Flagged")
        self.assertEqual(
            sorted(self.told(dialogue)),
            [b"1 EXISTS", b'ESEARCH (TAG "m") UID ADDTO (0 7)', b'ESEARCH (TAG "w") UID ADDTO (0 7)'],
        )

    def test_with_uidonly_no_numbers_are_told(self) -> None:
        self.put(2)
        dialogue = self.open()
        self.asked(dialogue, b"SEARCH RETURN (UPDATE) FLAGGED")
        self.ask(dialogue, b"u UID SEARCH RETURN (UPDATE) 1:2 FLAGGED")
        self.assertIn(b'NO [NOUPDATE "a"] No more updates of that result', self.told(dialogue, b"ENABLE UIDONLY"))
        self.mark(1)
        told = [each for each in self.told(dialogue) if b"FETCH" not in each]
        self.assertEqual(told, [b'ESEARCH (TAG "u") UID ADDTO (0 1)'])

    def test_one_whose_client_leaves_is_no_failure(self) -> None:
        async def find(*_: object) -> None:
            raise Disconnected

        self.put(2)
        dialogue = self.open()
        self.one(dialogue, b"SEARCH RETURN (UPDATE) FLAGGED")
        self.mark(1)
        self.patch(Finder, "find", find)
        self.assertNotIn(b"NOUPDATE", self.ask(dialogue, b"n NOOP"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_there_are_not_too_many(self) -> None:
        dialogue = self.open()
        for number in range(16):
            self.ask(dialogue, b"t%d SEARCH RETURN (UPDATE) ALL" % number)
        self.assertIn(b'* NO [NOUPDATE "t17"]', self.ask(dialogue, b"t17 SEARCH RETURN (UPDATE) ALL"))
        self.ask(dialogue, b"s SELECT INBOX")
        self.assertNotIn(b"NOUPDATE", self.ask(dialogue, b"t17 SEARCH RETURN (UPDATE) ALL"))
        self.put()
        self.assertEqual(self.told(dialogue).count(b'ESEARCH (TAG "t17") ADDTO (0 1)'), 1)


class SeveralMailboxes(ReturnCase):
    def setUp(self) -> None:
        super().setUp()
        for path in (("Work",), ("Work", "Old"), ("Work", "Old", "Older"), ("Play",)):
            run_now(self, self.store.edit_mailbox(ANN, CreateMailbox(path)))
            self.post(path)
        run_now(self, self.store.edit_mailbox(ANN, Subscribe(("Play",))))
        self.put(2)

    def post(self, path: Path) -> None:
        draft = HeldDraft()
        run_now(self, draft.write(mail("Hello")))
        run_now(self, self.store.append(ANN, self.info(path).id, [NewMessage(draft)]))

    def found(self, dialogue: Dialogue, line: bytes) -> list[bytes]:
        lines = self.asked(dialogue, line)
        return sorted(each.split(b"MAILBOX ")[1].split(b" UIDVALIDITY")[0] for each in lines)

    def test_where(self) -> None:
        dialogue = self.log_in()
        for where, found in (
            (b"mailboxes Work", [b"Work"]),
            (b"mailboxes (Work Play Nowhere)", [b"Play", b"Work"]),
            (b"subtree Work", [b"Work", b"Work/Old", b"Work/Old/Older"]),
            (b"subtree-one Work", [b"Work", b"Work/Old"]),
            (b"inboxes", [b"INBOX"]),
            (b"subscribed", [b"INBOX", b"Play"]),
            (b"personal", [b"INBOX", b"Play", b"Work", b"Work/Old", b"Work/Old/Older"]),
            (b"inboxes subtree (Work/Old) mailboxes Work", [b"INBOX", b"Work", b"Work/Old", b"Work/Old/Older"]),
        ):
            self.assertEqual(self.found(dialogue, b"ESEARCH IN (" + where + b") SUBJECT hello"), found, where)

    def test_answers(self) -> None:
        dialogue = self.open()
        validity = self.info().uid_validity
        line = b"ESEARCH IN (selected) RETURN (COUNT MIN) ALL"
        answer = b'* ESEARCH (TAG "a" MAILBOX INBOX UIDVALIDITY %d) UID MIN 1 COUNT 2' % validity
        self.assertEqual(self.asked(dialogue, line), [answer])
        self.assertEqual(self.asked(dialogue, b"ESEARCH RETURN (COUNT MIN) ALL"), [answer])
        self.assertEqual(self.asked(dialogue, b"ESEARCH IN (personal) SUBJECT nothing"), [])

    def test_a_mailbox_that_goes_is_passed_over(self) -> None:
        gone = self.info(("Work",)).id
        find = Finder.find

        async def removed(finder: Finder, *_: object) -> list[int]:
            if finder._view.mailbox_id == gone:
                raise NoSuchMailbox("It is gone")
            return await find(finder)

        self.patch(Finder, "find", removed)
        self.assertEqual(self.found(self.log_in(), b"ESEARCH IN (mailboxes (Work Play)) SUBJECT hello"), [b"Play"])

    def test_refusals(self) -> None:
        dialogue = self.log_in()
        for line in (
            b"ESEARCH ALL",
            b"ESEARCH IN (selected) ALL",
            b"ESEARCH IN (selected-delayed) ALL",
            b"ESEARCH IN (inboxes) UID $",
            b"ESEARCH IN (inboxes) $",
            b"ESEARCH IN (inboxes) RETURN (SAVE) ALL",
            b"ESEARCH IN (inboxes) RETURN (UPDATE) ALL",
            b"ESEARCH IN () ALL",
            b"ESEARCH IN (nowhere) ALL",
            b"ESEARCH IN (inboxes (DEPTH 1)) ALL",
        ):
            self.assertTrue(self.ask(dialogue, b"a " + line).startswith(b"a BAD "), line)
        here = self.open()
        for line in (b"ESEARCH IN (selected inboxes) RETURN (SAVE) ALL", b"ESEARCH IN (selected personal) $"):
            self.assertTrue(self.ask(here, b"a " + line).startswith(b"a BAD "), line)
        self.ask(here, b"e ENABLE UIDONLY")
        self.assertTrue(self.ask(here, b"a ESEARCH IN (mailboxes Play) 1").startswith(b"a BAD [UIDREQUIRED] "))

    def test_numbers_are_those_of_each_mailbox(self) -> None:
        """RFC 7377 section 2."""
        answers = self.asked(self.log_in(), b"ESEARCH IN (inboxes mailboxes Work) RETURN (COUNT) 2:100")
        self.assertEqual(len(answers), 1, answers)
        self.assertIn(b"MAILBOX INBOX", answers[0])

    def test_what_is_found_in_the_selected_mailbox_can_be_kept(self) -> None:
        """RFC 7377 section 2.2."""
        dialogue = self.open()
        self.assertEqual(self.asked(dialogue, b"ESEARCH IN (selected) RETURN (SAVE) 2"), [])
        self.assertEqual(self.one(dialogue, b"SEARCH RETURN () $"), b"ALL 2")
        self.assertEqual(len(self.asked(dialogue, b"ESEARCH RETURN (SAVE COUNT CONTEXT) $ SUBJECT nothing")), 0)
        self.assertEqual(self.one(dialogue, b"SEARCH RETURN () $"), b"")
        self.asked(dialogue, b"ESEARCH IN (personal) RETURN (UPDATE COUNT) FLAGGED")
        self.assertTrue(
            self.ask(dialogue, b"n STORE 1 +FLAGS.SILENT (\\Flagged)").startswith(b'* ESEARCH (TAG "a") UID ADDTO')
        )
        self.asked(dialogue, b'CANCELUPDATE "a"')
        told = self.asked(dialogue, b"ESEARCH IN (mailboxes Work) RETURN (UPDATE) ALL")
        self.assertEqual(
            [line for line in told if b"NOUPDATE" in line], [b'* NO [NOUPDATE "a"] That result is not kept up to date']
        )

    def test_nothing_is_kept_of_a_search_that_fails(self) -> None:
        self.settings = replace(self.settings, allowance=Allowance(messages=len(self.flags())))
        dialogue = self.open()
        said = self.ask(dialogue, b"a ESEARCH IN (selected mailboxes Work) RETURN (UPDATE) ALL")
        self.assertIn(b"a NO [MESSAGELIMIT ", said)
        self.assertTrue(self.ask(dialogue, b'n CANCELUPDATE "a"').startswith(b"n BAD"))


class Batches(ReturnCase):
    def test_batches(self) -> None:
        self.assertEqual(self.asked(self.open(), b"UIDBATCHES 500"), [b'* UIDBATCHES (TAG "a")'])
        mailbox = self.info().id
        drafts = []
        for _ in range(1203):
            draft = HeldDraft()
            run_now(self, draft.write(b"\r\n"))
            drafts.append(NewMessage(draft))
        run_now(self, self.store.append(ANN, mailbox, drafts))
        self.remove(1, 2, 703)
        dialogue = self.open()
        for line, ranges in (
            (b"UIDBATCHES 500", b" 1203:704,703:203,202:1"),
            (b"UIDBATCHES 500 2:3", b" 703:203,202:1"),
            (b"UIDBATCHES 600", b" 1203:603,602:1"),
            (b"UIDBATCHES 2000", b" 1203:1"),
            (b"UIDBATCHES 500 7:9", b""),
        ):
            self.assertEqual(self.asked(dialogue, line), [b'* UIDBATCHES (TAG "a")' + ranges], line)
        self.assertIn(b"a NO [TOOFEW]", self.ask(dialogue, b"a UIDBATCHES 499"))
        self.assertIn(b"a BAD [CLIENTBUG]", self.ask(dialogue, b"a UIDBATCHES 500 3:2"))
        for line in (b"UIDBATCHES", b"UIDBATCHES 0", b"UIDBATCHES 500 2", b"UIDBATCHES 500 1:2 3"):
            self.assertTrue(self.ask(dialogue, b"a " + line).startswith(b"a BAD "), line)


class FuzzySearches(ReturnCase):
    def setUp(self) -> None:
        super().setUp()
        self.deliver(mail("Something else", more="X-Note: meeting\r\n"))
        self.deliver(mail("Meeting minutes"))
        self.deliver(mail("Nothing"))
        self.deliver(mail("Our meetings", "meeting@x"))

    def test_the_best_come_first(self) -> None:
        dialogue = self.open()
        self.assertEqual(self.search(dialogue, b"FUZZY TEXT meetings"), [1, 2, 4])
        self.assertEqual(self.search(dialogue, b'FUZZY SUBJECT "minutes meeting"'), [2])
        self.assertEqual(self.search(dialogue, b"NOT FUZZY (TEXT meetings)"), [3])
        [answer] = self.asked(dialogue, b"SORT (RELEVANCY) UTF-8 FUZZY TEXT meeting")
        self.assertEqual(answer, b"* SORT 4 2 1")
        scored = self.one(dialogue, b"SEARCH RETURN (RELEVANCY ALL) FUZZY TEXT meeting")
        self.assertRegex(scored, rb"^ALL 1:2,4 RELEVANCY \([0-9]+ [0-9]+ [0-9]+\)$")
        first, second, third = map(int, scored.split(b"(")[1].rstrip(b")").split())
        self.assertTrue(1 <= first < second < third <= 100, scored)


class AskedAgain(ReturnCase):
    """What was answered before is right only as long as it is about the same messages."""

    def setUp(self) -> None:
        super().setUp()
        for subject in ("c", "b", "a"):
            self.deliver(mail(subject))
        self.dialogue = self.open()

    def expect(self, *answers: bytes) -> None:
        for line, answer in zip(
            (b"SORT (SUBJECT) UTF-8 ALL", b"UID SORT (SUBJECT) UTF-8 ALL", b"THREAD REFS UTF-8 ALL"),
            answers,
            strict=True,
        ):
            for _ in range(2):
                self.assertEqual(self.asked(self.dialogue, line), [b"* " + answer], line)

    def test_messages_come_and_go(self) -> None:
        self.expect(b"SORT 3 2 1", b"SORT 3 2 1", b"THREAD (1)(2)(3)")
        self.deliver(mail("bb"))
        self.asked(self.dialogue, b"NOOP")
        self.expect(b"SORT 3 2 4 1", b"SORT 3 2 4 1", b"THREAD (1)(2)(3)(4)")
        self.remove(2)
        self.asked(self.dialogue, b"NOOP")
        self.expect(b"SORT 2 3 1", b"SORT 3 4 1", b"THREAD (1)(2)(3)")

    def test_flags_decide_what_is_asked_about(self) -> None:
        self.expect(b"SORT 3 2 1", b"SORT 3 2 1", b"THREAD (1)(2)(3)")
        self.asked(self.dialogue, b"STORE 2 +FLAGS.SILENT (\\Seen)")
        self.assertEqual(self.asked(self.dialogue, b"SORT (SUBJECT) UTF-8 UNSEEN"), [b"* SORT 3 1"])
        self.assertEqual(self.asked(self.dialogue, b"SORT (SUBJECT) UTF-8 SEEN"), [b"* SORT 2"])

    def test_another_mailbox(self) -> None:
        self.expect(b"SORT 3 2 1", b"SORT 3 2 1", b"THREAD (1)(2)(3)")
        self.put(3, path=("Sent",))
        self.asked(self.dialogue, b"SELECT Sent")
        self.expect(b"SORT 1 2 3", b"SORT 1 2 3", b"THREAD (1)(2)(3)")

    def test_only_a_few_are_kept(self) -> None:
        answered = Answered()
        for number in range(102):
            answered.keep(number, [1, 2], number)
        self.assertEqual([answered.get(number, [1, 2]) for number in (1, 2, 101)], [None, 2, 101])
        self.assertIsNone(answered.get(101, [1, 3]))
        answered.keep("large", range(1_100_000), "answer")
        self.assertIsNone(answered.get("large", range(1_100_000)))


class SwitchedOff(ReturnCase):
    def test_a_command_goes_with_its_capability(self) -> None:
        dialogue = self.open()
        told = self.ask(dialogue, b"c CAPABILITY").split()
        offered = b"SORT SORT=DISPLAY ESORT CONTEXT=SORT THREAD=REFERENCES THREAD=REFS THREAD=ORDEREDSUBJECT UIDBATCHES"
        self.assertLessEqual(set(offered.split()), set(told))
        without = switched_off(["SORT", "THREAD", "UIDBATCHES", "MULTISEARCH"])
        self.settings = replace(self.settings, allowance=Allowance(without))
        dialogue = self.open()
        told = self.ask(dialogue, b"c CAPABILITY").split()
        self.assertEqual(set(offered.split()) & set(told), set())
        for line in (b"SORT (DATE) UTF-8 ALL", b"UID THREAD REFS UTF-8 ALL", b"UIDBATCHES 500", b"ESEARCH ALL"):
            self.assertTrue(self.ask(dialogue, b"a " + line).startswith(b"a BAD "), line)


class MessageLimit(ReturnCase):
    """RFC 9738, with a limit of three messages."""

    def setUp(self) -> None:
        super().setUp()
        self.put(2, "\\Seen", "\\Deleted")
        self.put(4, "\\Deleted")
        self.limit(3)
        self.dialogue = self.open()

    def limit(self, messages: int, *without: bytes) -> None:
        self.settings = replace(self.settings, allowance=Allowance(frozenset(without), messages=messages))

    def last(self, line: bytes) -> bytes:
        return self.ask_lines(self.dialogue, b"a " + line)[-1]

    def test_who_is_told(self) -> None:
        self.assertIn(b" MESSAGELIMIT=3 ", self.ask(self.dialogue, b"c CAPABILITY").replace(b"\r\n", b" "))
        self.assertNotIn(b"MESSAGELIMIT", self.ask(self.connect(), b"c CAPABILITY"))
        for limit, without in ((0, ()), (3, (b"MESSAGELIMIT",))):
            self.limit(limit, *without)
            self.dialogue = self.open()
            self.assertNotIn(b"MESSAGELIMIT", self.ask(self.dialogue, b"c CAPABILITY"))
            self.assertEqual(len(self.asked(self.dialogue, b"FETCH 1:* (FLAGS)")), 6)

    def test_the_last_messages_are_worked_on(self) -> None:
        for line, told in (
            (b"FETCH 1:* (UID)", [b"* 4 FETCH (UID 4)", b"* 5 FETCH (UID 5)", b"* 6 FETCH (UID 6)"]),
            (b"UID SEARCH NOT FLAGGED", [b"* SEARCH 4 5 6"]),
            (b"UID SEARCH RETURN (ALL COUNT) SEEN", [b'* ESEARCH (TAG "a") UID COUNT 0']),
        ):
            lines = self.ask_lines(self.dialogue, b"a " + line)
            self.assertEqual(lines[:-1], told)
            self.assertTrue(lines[-1].startswith(b"a OK [MESSAGELIMIT 3 4] "), lines[-1])
        self.assertTrue(self.last(b"STORE 1:* +FLAGS.SILENT (\\Flagged)").startswith(b"a OK [MESSAGELIMIT 3 4] "))
        self.assertEqual([uid for uid, flags in self.flags().items() if "\\Flagged" in flags], [4, 5, 6])

    def test_the_rest_is_asked_for(self) -> None:
        for line, told in (
            (b"UID FETCH 1:3 (UID)", [b"* %d FETCH (UID %d)" % (number, number) for number in (1, 2, 3)]),
            (b"UID SEARCH UIDBEFORE 4 SEEN", [b"* SEARCH 1 2"]),
            (b"UID SEARCH (UIDAFTER 2 UIDBEFORE 6) UNSEEN", [b"* SEARCH 3 4 5"]),
            (b"UID SEARCH UIDAFTER 6", [b"* SEARCH"]),
            (b"UID SEARCH UIDBEFORE 1", [b"* SEARCH"]),
            (b"UID SEARCH UIDAFTER 4294967295", [b"* SEARCH"]),
            (b"UID SEARCH 1:3 2:6 SEEN", [b"* SEARCH 2"]),
        ):
            lines = self.ask_lines(self.dialogue, b"a " + line)
            self.assertEqual(lines[:-1], told, line)
            self.assertTrue(lines[-1].startswith(b"a OK ") and b"MESSAGELIMIT" not in lines[-1], lines[-1])
        for keys in (b"UIDAFTER 0", b"UIDBEFORE 1:2", b"UIDAFTER *", b"UIDBEFORE"):
            self.assertTrue(self.last(b"UID SEARCH " + keys).startswith(b"a BAD "), keys)

    def test_with_another_code(self) -> None:
        """RFC 9738 section 3.1: EXPUNGEISSUED is in the tagged OK, MESSAGELIMIT before it."""
        store, id_ = self.store, self.info().id
        run_now(self, store.alter(ANN, id_, [5], FlagChange.ADD, frozenset({"\\Deleted"})))
        run_now(self, store.expunge(ANN, id_, [5]))
        lines = self.ask_lines(self.dialogue, b"a FETCH 1:* (UID RFC822.SIZE)")
        self.assertEqual([line[:15] for line in lines[:2]], [b"* 4 FETCH (UID ", b"* 6 FETCH (UID "])
        self.assertTrue(any(line.startswith(b"* NO [MESSAGELIMIT 3 4] ") for line in lines), lines)
        self.assertTrue(lines[-1].startswith(b"a OK [EXPUNGEISSUED] "), lines)

    def test_what_is_saved_is_what_was_searched(self) -> None:
        self.ask(self.dialogue, b"a SEARCH RETURN (SAVE) ALL")
        self.assertEqual(self.one(self.dialogue, b"UID SEARCH RETURN () $"), b"UID ALL 4:6")

    def test_no_part_of_a_result_is_kept_up_to_date(self) -> None:
        lines = self.ask_lines(self.dialogue, b"a SEARCH RETURN (UPDATE COUNT) ALL")
        self.assertTrue(lines[0].startswith(b'* NO [NOUPDATE "a"]'), lines)

    def test_messages_are_removed_in_portions(self) -> None:
        lines = self.ask_lines(self.dialogue, b"a UID EXPUNGE 1:*")
        self.assertEqual(lines[:-1], [b"* 6 EXPUNGE", b"* 5 EXPUNGE", b"* 4 EXPUNGE"])
        self.assertTrue(lines[-1].startswith(b"a OK [MESSAGELIMIT 3 4] "), lines)
        self.put(2)
        self.ask(self.dialogue, b"e ENABLE CONDSTORE")
        lines = self.ask_lines(self.dialogue, b"a UID MOVE 1:* Trash")
        self.assertIn(b"* NO [MESSAGELIMIT 3 3] Only the last of the messages were worked on", lines)
        self.assertTrue(lines[-1].startswith(b"a OK [HIGHESTMODSEQ "), lines)
        self.assertEqual(list(self.flags()), [1, 2])
        self.ask(self.dialogue, b"a STORE 1:2 +FLAGS (\\Deleted)")
        self.put(4, "\\Deleted")
        self.ask(self.dialogue, b"a NOOP")
        lines = self.ask_lines(self.dialogue, b"a EXPUNGE")
        self.assertEqual((len([each for each in lines if b"EXPUNGE" in each]), self.flags()), (6, {}))

    def test_what_is_done_as_a_whole_is_not_done(self) -> None:
        run_now(self, self.store.edit_mailbox(ANN, CreateMailbox(("Work",))))
        for line in (
            b"COPY 1:4 Work",
            b"UID COPY 1:* Work",
            b"SORT (ARRIVAL) UTF-8 ALL",
            b"UID THREAD REFS UTF-8 UNSEEN",
            b"FETCH 1:* (UID) (PARTIAL 1:4)",
            b"ESEARCH IN (personal) ALL",
            b"APPEND Work {2+}\r\n\r\n {2+}\r\n\r\n {2+}\r\n\r\n {2+}\r\n\r\n",
        ):
            lines = self.ask_lines(self.dialogue, b"a " + line)
            self.assertEqual(lines, [b"a NO [MESSAGELIMIT 3] One command works on 3 messages at most"], line)
        self.assertEqual(self.flags(("Work",)), {})
        for line in (
            b"COPY 1:3 Work",
            b"SORT (ARRIVAL) UTF-8 2:4",
            b"THREAD REFS UTF-8 UID 4:6",
            b"FETCH 1:* (UID) (PARTIAL -1:-3)",
            b"ESEARCH IN (personal) UIDBEFORE 2",
            b"APPEND Work {2+}\r\n\r\n {2+}\r\n\r\n {2+}\r\n\r\n",
        ):
            last = self.last(line)
            self.assertTrue(last.startswith(b"a OK ") and b"MESSAGELIMIT" not in last, (line, last))


class Bounds(ReturnCase):
    def test_a_failed_search_saves_nothing(self) -> None:
        async def find(*_: object) -> None:
            raise NoSuchMailbox("It is gone")

        self.put(2)
        dialogue = self.open()
        self.asked(dialogue, b"SEARCH RETURN (SAVE) ALL")
        self.asked(dialogue, b"SEARCH RETURN (COUNT) $")
        for line in (b"SEARCH RETURN (SAVE) $", b"SORT RETURN (SAVE) (DATE) UTF-8 $"):
            self.asked(dialogue, b"SEARCH RETURN (SAVE) ALL")
            self.assertTrue(self.ask(dialogue, b"a SEARCH RETURN (SAVE) 0").startswith(b"a BAD"))
            self.assertEqual(self.one(dialogue, b"UID SEARCH RETURN (COUNT) $"), b"UID COUNT 2")
            kept, Finder.find = Finder.find, find  # type: ignore[method-assign,assignment] # a store that refuses
            try:
                self.assertTrue(self.ask(dialogue, b"a " + line).startswith(b"a NO [NONEXISTENT]"))
            finally:
                Finder.find = kept  # type: ignore[method-assign]
            self.assertEqual(self.one(dialogue, b"UID SEARCH RETURN (COUNT) $"), b"UID COUNT 0")

    def test_as_deep_as_can_be(self) -> None:
        self.put(3)
        dialogue = self.open()
        for keys, end in (
            (b"OR SEEN " * 199, b""),
            (b"OR RECENT NOT " * 99, b""),
            (b"NOT OR SUBJECT x " * 99, b""),
            (b"OR SEEN (NOT BODY x " * 66, b" RECENT)" * 66),
            (b"(RECENT NOT (SEEN OR SMALLER 9 " * 49, b"))" * 49),
        ):
            answer = self.ask(dialogue, b"a SEARCH " + keys + b"UNSEEN" + end)
            self.assertIn(b"a OK", answer, keys)

    def test_a_search_has_an_end(self) -> None:
        self.put(3)
        self.settings = replace(self.settings, allowance=Allowance(search_time=1e-9))
        dialogue = self.open()
        self.asked(dialogue, b"NOOP")
        for line in (
            b"SEARCH SUBJECT x",
            b"SORT (DATE) UTF-8 SUBJECT x",
            b"THREAD REFS UTF-8 SUBJECT x",
            b"ESEARCH IN (personal) SUBJECT x",
            b"ESEARCH IN (mailboxes nowhere) ALL",
        ):
            self.assertTrue(self.ask(dialogue, b"a " + line).startswith(b"a NO [LIMIT] "), line)
