"""Messages that clients send: APPEND of one or several, with parts from URLs, and REPLACE."""

import contextlib
import tracemalloc
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap import grammar_append, urls
from mailfw.imap.allowances import Allowance
from mailfw.imap.grammar_append import Data, Head
from mailfw.imap.lexer import BadSyntax, Cursor, Literal, SequenceSet
from mailfw.imap.urls import BadURL
from mailfw.mail.failure import OverQuota
from mailfw.mail.mailbox import INBOX, DeleteMailbox, FlagChange
from mailfw.testing.dialogue import Dialogue, run_now
from tests.imap.sessions import ANN, SessionCase


class Grammar(SessionCase):
    def test_heads(self) -> None:
        for octets, expected in (
            (b" ", Head(frozenset(), None, Data.LITERAL)),
            (b' (\\Seen \\Recent a) " 1-Jan-1970 00:00:01 +0000" ', Head(frozenset({"\\Seen", "a"}), 1, Data.LITERAL)),
            (b" utf8 (", Head(frozenset(), None, Data.UTF8)),
            (b" (a) CATENATE (", Head(frozenset({"a"}), None, Data.PARTS)),
        ):
            self.assertEqual(grammar_append.head(Cursor((octets,))), expected)
        for octets in (
            b"",
            b" ()",
            b" (\\Foo) ",
            b" y ",
            b' "1" ',
            b" () () ",
            b" UTF8 (x",
            b' "32-Jan-2020 00:00:00 +0000" ',
        ):
            self.assertRaises(BadSyntax, grammar_append.head, Cursor((octets,)))

    def test_odd_dates(self) -> None:
        for date, seconds in (
            (b'"01-Jan-1970 00:00:05 +0000"', 5),
            (b'" 1-Jan-1970 00:00:05 +0000"', 5),
            (b'"1-Jan-1970 00:00:05 +0000"', 5),
            (b'" 1-jan-1970 01:00:60 +0100"', 60),
            (b'"31-Dec-1969 19:00:00 -0500"', 0),
        ):
            self.assertEqual(grammar_append.head(Cursor((b" " + date + b" ",))).received, seconds)
        for date in (
            b'"31-Dec-9999 23:59:59 -9959"',
            b'"1-Jan-0001 00:00:00 +0001"',
            b'"30-Feb-2020 00:00:00 +0000"',
            b'"1-Jan-0000 00:00:00 +0000"',
            b'"1-Jan-2020 24:00:00 +0000"',
        ):
            self.assertRaises(BadSyntax, grammar_append.head, Cursor((b" " + date + b" ",)))

    def test_where_the_message_begins(self) -> None:
        told: tuple[tuple[list[bytes | Literal], bool], ...] = (
            ([b" x "], True),
            ([b" ", Literal(b"x"), b" "], True),
            ([b' "\xc3\xa9" (\\Seen) '], True),
            ([b" x CATENATE (URL "], True),
            ([b" "], False),
        )
        for pieces, expected in told:
            self.assertEqual(grammar_append.is_named(pieces, 0), expected)
        self.assertTrue(grammar_append.is_replacement_named([b" 4 x "], 0))
        self.assertFalse(grammar_append.is_replacement_named([b" 4 "], 0))

    def test_what_is_replaced(self) -> None:
        self.assertEqual(grammar_append.replaced(Cursor((b" 4 x",))), (SequenceSet(((4, 4),)), "x"))
        self.assertEqual(grammar_append.replaced(Cursor((b" * x",))), (SequenceSet(((None, None),)), "x"))
        for octets in (b" 0 x", b" 1:2 x", b" 1,2 x", b" 1", b"", b" x x"):
            self.assertRaises(BadSyntax, grammar_append.replaced, Cursor((octets,)))


class Nonsense(SynchronousTestCase):
    """Nothing is raised but what is declared."""

    @given(
        st.lists(st.sampled_from([b"/", b"INBOX", b";UID=", b"1", b";UIDVALIDITY=", b"/;SECTION=", b"TEXT", b"%5B"]))
    )
    def test_urls(self, words: list[bytes]) -> None:
        with contextlib.suppress(BadURL):
            urls.parse(b"".join(words))

    @given(st.binary(max_size=60))
    def test_octets(self, octets: bytes) -> None:
        with contextlib.suppress(BadURL):
            urls.parse(b"/INBOX" + octets)
        for read in (grammar_append.head, grammar_append.next_head, grammar_append.part, grammar_append.replaced):
            with contextlib.suppress(BadSyntax):
                read(Cursor((b" " + octets,)))


class AppendCase(SessionCase):
    def octets(self, uid: int, path: tuple[str, ...] = INBOX) -> bytes:
        """Return a message as the store has it."""

        async def read() -> bytes:
            content = await self.store.content(ANN, self.info(path).id, uid)
            octets: bytes = await content.read(0, content.size)
            await content.close()
            return octets

        return bytes(run_now(self, read()))

    def say(self, dialogue: Dialogue, octets: bytes) -> bytes:
        dialogue.say(octets)
        return dialogue.hear()


class Several(AppendCase):
    def test_messages_with_flags_and_dates_of_their_own(self) -> None:
        here = self.open()
        answer = self.say(
            here,
            b"a APPEND INBOX (\\Seen) {12+}\r\nSubject: 1\r\n"
            b' (x) " 1-Jan-1970 00:00:09 +0000" {12+}\r\nSubject: 2\r\n\r\n',
        )
        self.assertIn(b"a OK [APPENDUID %d 1:2]" % self.info().uid_validity, answer)
        self.assertIn(b"* 2 EXISTS", answer)
        self.assertEqual(self.flags(), {1: frozenset({"\\Seen"}), 2: frozenset({"x"})})
        self.assertEqual([self.octets(1), self.octets(2)], [b"Subject: 1\r\n", b"Subject: 2\r\n"])
        self.assertIn(b'" 1-Jan-1970 00:00:09 +0000"', self.ask(here, b"b FETCH 2 INTERNALDATE"))
        self.assertTrue(all(draft.closed for draft in self.drafts))

    def test_any_split_of_the_octets_appends_the_same(self) -> None:
        octets = (
            b"a APPEND Sent {3+}\r\nabc ~{4+}\r\n\r\nde UTF8 (~{2+}\r\nf\n) "
            b"CATENATE (TEXT {2+}\r\nxy URL {12+}\r\n/INBOX;UID=1 URL ;UID=1)\r\n"
        )
        for size in (1, 2, 5, 64, len(octets)):
            self.setUp()
            self.put(1)
            here = self.open()
            for start in range(0, len(octets), size):
                here.say(octets[start : start + size])
            self.assertIn(b"a OK [APPENDUID", here.hear())
            kept = [self.octets(uid, ("Sent",)) for uid in (1, 2, 3, 4)]
            self.assertEqual(kept[:3], [b"abc", b"\r\nde", b"f\n"])
            self.assertEqual(kept[3], b"xy" + 2 * self.octets(1))

    def test_two_spaces_before_another_message(self) -> None:
        here = self.open()
        self.assertIn(
            b"a OK [APPENDUID", self.say(here, b"a APPEND INBOX {1+}\r\nx  {1+}\r\ny  (\\Seen) {1+}\r\nz\r\n")
        )
        self.assertEqual(self.info().messages, 3)
        self.assertIn(b"a BAD", self.say(here, b"a APPEND INBOX  {1+}\r\nx\r\n"))
        self.assertIn(b"a BAD", self.say(here, b"a APPEND INBOX {1+}\r\nx   {1+}\r\ny\r\n"))

    def test_all_or_none(self) -> None:
        for last in (
            b" {0+}\r\n\r\n",
            b" {3+}\r\na\0b\r\n",
            b" x\r\n",
            b' "1" {1+}\r\nx\r\n',
            b" {60000000}\r\n",
        ):
            self.setUp()
            here = self.open()
            answer = self.say(here, b"a APPEND INBOX {3+}\r\nabc" + last)
            self.assertTrue(answer.startswith((b"a NO", b"a BAD")) or b"\r\na NO" in answer, answer)
            self.assertEqual(self.info().messages, 0)

    def test_a_full_quota_keeps_none(self) -> None:
        async def refuse(*args: Any) -> None:
            raise OverQuota

        self.store.append = refuse
        here = self.open()
        self.assertIn(b"a NO [OVERQUOTA] ", self.say(here, b"a APPEND INBOX {3+}\r\nabc {3+}\r\nabc\r\n"))

    def test_what_is_too_large_together(self) -> None:
        self.settings = replace(self.settings, allowance=Allowance(append=1000))
        here = self.open()
        message = b" {900+}\r\n" + b"x" * 900
        self.assertIn(b"a OK", self.say(here, b"a APPEND INBOX" + message * 4 + b"\r\n"))
        self.assertIn(b"a NO [TOOBIG]", self.say(here, b"a APPEND INBOX" + message * 5 + b"\r\n"))
        self.assertIn(b"a NO [TOOBIG]", self.say(here, b"a APPEND INBOX {1001}\r\n"))
        self.assertEqual(self.info().messages, 4)

    def test_ten_thousand_at_once(self) -> None:
        here = self.open()
        octets = b"a APPEND INBOX" + b" {1+}\r\nx" * 10_001 + b"\r\n"
        answer = b"".join(self.say(here, octets[at : at + 60_000]) for at in range(0, len(octets), 60_000))
        self.assertIn(b"a NO [LIMIT]", answer)
        self.assertEqual(self.info().messages, 0)
        self.assertEqual(len(self.drafts), 1)

    def test_a_client_that_leaves_in_the_middle(self) -> None:
        here = self.open()
        here.say(b"a APPEND INBOX {3+}\r\nabc {100+}\r\nabc")
        here.leave()
        self.assertTrue(all(draft.closed for draft in self.drafts))
        self.assertEqual(self.info().messages, 0)

    def test_an_aborted_literal_is_let_pass(self) -> None:
        here = self.open()
        here.say(b"a APPEND INBOX {3+}\r\nabc {9999999999999999999999}\r\nb NOOP\r\n")
        answer = here.hear()
        self.assertIn(b"a NO [TOOBIG]", answer)
        self.assertIn(b"b OK", answer)

    def test_a_large_literal_may_have_to_ask(self) -> None:
        self.settings = replace(self.settings, allowance=Allowance(without=frozenset({b"LITERAL+"})))
        here = self.open()
        self.assertIn(b" LITERAL- ", self.ask(here, b"a CAPABILITY"))
        self.assertNotIn(b" LITERAL+ ", self.ask(here, b"a CAPABILITY"))
        self.assertIn(b"a BAD [TOOBIG]", self.say(here, b"a APPEND INBOX {4097+}\r\n" + b"x" * 4097 + b"\r\n"))
        self.assertIn(b"a BAD [TOOBIG]", self.say(here, b"a LIST {4097+}\r\n" + b"x" * 4097 + b" *\r\n"))
        self.assertIn(b"a OK", self.say(here, b"a APPEND INBOX {4096+}\r\n" + b"x" * 4096 + b"\r\n"))


class Binary(AppendCase):
    MESSAGE = b"MIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\na\0b\n\xff"

    def test_what_has_nul_is_kept_encoded(self) -> None:
        here = self.open()
        self.assertIn(b"a OK", self.say(here, b"a APPEND INBOX ~{%d+}\r\n%b\r\n" % (len(self.MESSAGE), self.MESSAGE)))
        self.assertIn(b"Content-Transfer-Encoding: base64\r\n", self.octets(1))
        self.assertNotIn(b"\0", self.octets(1))
        self.assertIn(b"BINARY[1] ~{5}\r\na\0b\n\xff)", self.ask(here, b"b FETCH 1 BINARY.PEEK[1]"))

    def test_what_has_none_is_kept_as_it_is(self) -> None:
        here = self.open()
        message = self.MESSAGE.replace(b"\0", b"\1")
        self.assertIn(b"a OK", self.say(here, b"a APPEND INBOX ~{%d+}\r\n%b\r\n" % (len(message), message)))
        self.assertEqual(self.octets(1), message)

    def test_an_ordinary_literal_has_no_nul(self) -> None:
        here = self.open()
        message = b"a APPEND INBOX CATENATE (TEXT {%d+}\r\n%b)\r\n" % (len(self.MESSAGE), self.MESSAGE)
        self.assertIn(b"a BAD", self.say(here, message))
        self.assertIn(b"a OK", self.say(here, message.replace(b"{", b"~{")))

    def test_utf8(self) -> None:
        here = self.open()
        message = "Subject: Grüße\r\n\r\nÜ\r\n".encode()
        self.assertIn(b"* ENABLED UTF8=ACCEPT", self.ask(here, b"a ENABLE UTF8=ACCEPT"))
        said = b"a APPEND INBOX (\\Seen) UTF8 (~{%d+}\r\n%b)\r\n" % (len(message), message)
        self.assertIn(b"a OK [APPENDUID", self.say(here, said))
        self.assertEqual(self.octets(1), message)
        for wrong in (said.replace(b"~", b""), said.replace(b")\r\n", b"\r\n"), said.replace(b"UTF8 (", b"UTF8 ")):
            self.assertIn(b"a BAD", self.say(here, wrong), wrong)
        self.assertEqual(self.info().messages, 1)


PARTS = (
    b"Subject: Parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\n\r\nfirst\r\n--x\r\nContent-Type: text/html\r\n\r\nsecond\r\n--x--\r\n"
)


class Parts(AppendCase):
    def setUp(self) -> None:
        super().setUp()
        self.here = self.open()
        self.assertIn(b"p OK", self.say(self.here, b"p APPEND INBOX {%d+}\r\n%b\r\n" % (len(PARTS), PARTS)))
        self.validity = self.info().uid_validity

    def catenate(self, *parts: bytes) -> bytes:
        return self.say(self.here, b"a APPEND Drafts (\\Draft) CATENATE (" + b" ".join(parts) + b")\r\n")

    def made(self) -> bytes:
        return self.octets(self.info(("Drafts",)).uid_next - 1, ("Drafts",))

    def test_texts_and_urls(self) -> None:
        answer = self.catenate(
            b"TEXT {16+}\r\nSubject: New\r\n\r\n",
            b'URL "/INBOX;UIDVALIDITY=%d/;UID=1/;SECTION=1"' % self.validity,
            b"TEXT {2+}\r\n, ",
            b"URL /INBOX/;UID=1/;SECTION=2",
            b"URL {26+}\r\n/INBOX;UID=1/;SECTION=TEXT",
        )
        self.assertIn(b"a OK [APPENDUID %d 1]" % self.info(("Drafts",)).uid_validity, answer)
        text = PARTS.partition(b"\r\n\r\n")[2]
        self.assertEqual(self.made(), b"Subject: New\r\n\r\nfirst, second" + text)
        self.assertEqual(self.flags(("Drafts",)), {1: frozenset({"\\Draft"})})

    def test_whole_headers_and_ranges(self) -> None:
        for url, expected in (
            (b"/INBOX;UID=1", PARTS),
            (b"/inbox/;UID=1", PARTS),
            (b";UID=1/;SECTION=1", b"first"),
            (b"/;UID=1/;SECTION=2.MIME", b"Content-Type: text/html\r\n\r\n"),
            (b"/INBOX;UID=1/;SECTION=HEADER.FIELDS%20(SUBJECT)", b"Subject: Parts\r\n\r\n"),
            (b"/INBOX;UID=1/;SECTION=1/;PARTIAL=1.3", b"irs"),
            (b"/INBOX;UID=1/;SECTION=1/;PARTIAL=2", b"rst"),
            (b"imap://mail.example.org/INBOX;UID=1/;SECTION=1", b"first"),
            (b"imap://ann%40example.org;AUTH=*@MAIL.example.org:143/INBOX;UID=1/;SECTION=1", b"first"),
        ):
            self.assertIn(b"a OK [APPENDUID", self.catenate(b'URL "' + url + b'"'), url)
            self.assertEqual(self.made(), expected, url)

    def test_urls_that_name_nothing(self) -> None:
        for url in (
            b"/INBOX;UID=2",
            b"/INBOX;UIDVALIDITY=%d;UID=1" % (self.validity + 1),
            b"/INBOX;UID=1/;SECTION=7",
            b"/INBOX;UID=1/;SECTION=nonsense",
            b"/INBOX;UID=1/;SECTION=1]<0.1>",
            b"/nowhere;UID=1",
            b"/..;UID=1",
            b"/%00;UID=1",
            b"/%ff;UID=1",
            b"/INBOX",
            b"INBOX;UID=1",
            b"/INBOX;UID=1;EXPIRE=2030-01-01T00:00:00Z;URLAUTH=anonymous:internal:0",
            b"imap://other.example.org/INBOX;UID=1",
            b"imap://bob@mail.example.org/INBOX;UID=1",
            b"http://mail.example.org/INBOX;UID=1",
            b"file:///etc/passwd",
            b"",
        ):
            answer = self.catenate(b"TEXT {3+}\r\nabc", b'URL "' + url + b'"', b"TEXT {3+}\r\nabc")
            repeated = b' "' + url + b'"' if url and b"]" not in url else b""
            self.assertTrue(answer.startswith(b"a NO [BADURL" + repeated + b"] "), answer)
            self.assertTrue(self.ask(self.here, b"b NOOP").startswith(b"b OK"))
        self.assertEqual(self.info(("Drafts",)).messages, 0)

    def test_a_url_that_no_line_can_have_is_not_repeated(self) -> None:
        for url in (b"/a\r\nz OK [x] y", b"/a\nb", b'/a"b', b"/a\\b", "/é".encode(), b"/" + b"a" * 2000):
            answer = self.catenate(b"URL {%d+}\r\n%b" % (len(url), url))
            expected = b' "/a\\"b"' if b'"' in url else b""
            self.assertTrue(answer.startswith(b"a NO [BADURL" + expected + b"] There is nothing"), answer)

    def test_relative_urls_need_a_selected_mailbox(self) -> None:
        self.ask(self.here, b"x UNSELECT")
        self.assertTrue(self.catenate(b"URL ;UID=1").startswith(b"a NO [BADURL"))

    def test_a_message_that_is_made_of_itself_again_and_again(self) -> None:
        self.settings = replace(self.settings, allowance=Allowance(append=100_000))
        self.here = self.open()
        answer = b""
        for uid in range(1, 30):
            url = b"URL /INBOX;UID=%d" % uid
            answer = self.say(self.here, b"a APPEND INBOX CATENATE (" + b" ".join([url] * 8) + b")\r\n")
            if b"a NO" in answer:
                break
        self.assertIn(b"a NO [TOOBIG]", answer)
        self.assertLess(self.info().size, 200_000)

    def test_syntax(self) -> None:
        for octets in (
            b"a APPEND INBOX CATENATE ()\r\n",
            b"a APPEND INBOX CATENATE (TEXT abc)\r\n",
            b"a APPEND INBOX CATENATE (URL)\r\n",
            b"a APPEND INBOX CATENATE (FILE /etc/passwd)\r\n",
            b"a APPEND INBOX CATENATE (URL /INBOX;UID=1\r\n",
            b"a APPEND INBOX CATENATE (URL /INBOX;UID=1) x\r\n",
            b"a APPEND INBOX CATENATE (" + b"(" * 60_000 + b"\r\n",
            b"a APPEND INBOX CATENATE (URL {99999999}\r\n",
        ):
            self.setUp()
            self.assertIn(b"a BAD", self.say(self.here, octets))
            self.assertEqual(self.info().messages, 1)

    def test_with_others_in_one_command(self) -> None:
        answer = self.say(
            self.here, b"a APPEND Drafts CATENATE (URL /INBOX;UID=1) {3+}\r\nabc CATENATE (TEXT {1+}\r\nx)\r\n"
        )
        self.assertIn(b"a OK [APPENDUID %d 1:3]" % self.info(("Drafts",)).uid_validity, answer)
        self.assertEqual([self.octets(uid, ("Drafts",)) for uid in (1, 2, 3)], [PARTS, b"abc", b"x"])


class Replacing(AppendCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(3)
        self.here = self.open()

    def test_in_the_same_mailbox(self) -> None:
        answer = self.say(self.here, b"a REPLACE 2 INBOX (\\Draft) {3+}\r\nabc\r\n")
        validity = self.info().uid_validity
        self.assertTrue(answer.startswith(b"* OK [APPENDUID %d 4] " % validity), answer)
        self.assertIn(b"* 2 EXPUNGE\r\n", answer)
        self.assertIn(b"* 3 EXISTS\r\n", answer)
        self.assertTrue(answer.endswith(b"a OK Replaced\r\n"))
        self.assertEqual(sorted(self.flags()), [1, 3, 4])
        self.assertEqual(self.octets(4), b"abc")

    def test_by_uid_into_another(self) -> None:
        answer = self.say(self.here, b"a UID REPLACE 3 Sent {3}\r\n")
        self.assertTrue(answer.startswith(b"+ "))
        answer = self.say(self.here, b"abc\r\n")
        self.assertIn(b"* OK [APPENDUID %d 1] " % self.info(("Sent",)).uid_validity, answer)
        self.assertIn(b"* 3 EXPUNGE\r\n", answer)
        self.assertEqual(sorted(self.flags()), [1, 2])

    def test_up_to_where_all_was_told(self) -> None:
        self.ask(self.here, b"e ENABLE QRESYNC")
        answer = self.say(self.here, b"a UID REPLACE 2 INBOX {3+}\r\nabc\r\n")
        self.assertIn(b"* VANISHED 2\r\n", answer)
        self.assertTrue(answer.endswith(b"a OK [HIGHESTMODSEQ %d] Replaced\r\n" % self.info().modseq), answer)

    def test_not_by_number_with_uidonly(self) -> None:
        self.ask(self.here, b"e ENABLE UIDONLY")
        self.assertIn(b"a BAD [UIDREQUIRED]", self.say(self.here, b"a REPLACE 2 INBOX {3+}\r\nabc\r\n"))
        answer = self.say(self.here, b"a UID REPLACE 2 INBOX {3+}\r\nabc\r\n")
        self.assertIn(b"* VANISHED 2\r\n", answer)
        self.assertEqual(sorted(self.flags()), [1, 3, 4])

    def test_with_parts(self) -> None:
        self.assertIn(b"a OK", self.say(self.here, b"a UID REPLACE 1 INBOX CATENATE (URL ;UID=1 TEXT {1+}\r\nx)\r\n"))
        self.assertTrue(self.octets(4).endswith(b"How are you?\r\nx"))

    def test_what_is_refused(self) -> None:
        for line, expected in (
            (b"REPLACE 4 INBOX {3+}\r\nabc\r\n", b"a BAD"),
            (b"UID REPLACE 9 INBOX {3+}\r\nabc\r\n", b"a NO [EXPUNGEISSUED]"),
            (b"REPLACE 1:2 INBOX {3+}\r\nabc\r\n", b"a BAD"),
            (b"REPLACE 1 nowhere {3}\r\n", b"a NO [TRYCREATE]"),
            (b"REPLACE 1 INBOX {99999999}\r\n", b"a NO [TOOBIG]"),
            (b"REPLACE 1 INBOX {0+}\r\n\r\n", b"a NO "),
            (b"REPLACE 1 INBOX {3+}\r\nabc {3+}\r\nabc\r\n", b"a BAD"),
        ):
            self.assertIn(expected, self.say(self.here, b"a " + line), line)
        self.assertEqual(sorted(self.flags()), [1, 2, 3])
        self.assertIn(b"a NO", self.say(self.open(verb=b"EXAMINE"), b"a REPLACE 1 INBOX {3+}\r\nabc\r\n"))
        self.assertIn(b"a BAD", self.say(self.log_in(), b"a REPLACE 1 INBOX {3+}\r\nabc\r\n"))

    def test_one_that_went_meanwhile(self) -> None:
        here = self.here
        here.say(b"a UID REPLACE 2 INBOX {3}\r\n")
        self.assertTrue(here.hear().startswith(b"+ "))
        run_now(self, self.store.alter(ANN, self.info().id, [2], FlagChange.ADD, frozenset({"\\Deleted"})))
        run_now(self, self.store.expunge(ANN, self.info().id, [2]))
        self.assertIn(b"a NO [EXPUNGEISSUED]", self.say(here, b"abc\r\n"))
        self.assertEqual(sorted(self.flags()), [1, 3])

    def test_a_target_that_goes_meanwhile(self) -> None:
        self.say(self.here, b"a UID REPLACE 2 Junk {3}\r\n")
        run_now(self, self.store.edit_mailbox(ANN, DeleteMailbox(("Junk",))))
        self.assertIn(b"a NO [TRYCREATE]", self.say(self.here, b"abc\r\n"))
        self.assertEqual(sorted(self.flags()), [1, 2, 3])

    def test_where_the_store_cannot(self) -> None:
        self.assertIn(b" REPLACE ", self.ask(self.here, b"a CAPABILITY"))
        self.settings = replace(self.settings, allowance=Allowance(without=frozenset({b"REPLACE"})))
        here = self.open()
        self.assertNotIn(b" REPLACE ", self.ask(here, b"a CAPABILITY"))
        self.assertIn(b"a BAD", self.say(here, b"a REPLACE 1 INBOX {3+}\r\nabc\r\n"))


class Memory(AppendCase):
    def test_a_large_message_is_never_held(self) -> None:
        here = self.open()
        here.say(b"a APPEND INBOX {3+}\r\nabc {20000000+}\r\n")
        tracemalloc.start()
        try:
            for _ in range(100):
                here.say(b"x" * 100_000)
            held = tracemalloc.get_traced_memory()[0] - len(self.drafts[0].octets)
        finally:
            tracemalloc.stop()
        self.assertLess(held, 4_000_000)
        here.leave()
