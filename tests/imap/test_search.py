"""SEARCH: which messages match."""

import base64
import itertools
from typing import Any

from zope.interface import alsoProvides, noLongerProvides

from mailfw.imap.commands.finder import Finder
from mailfw.mail.mailbox import INBOX, FlagChange, NewMessage
from mailfw.mail.terms import KEPT, PART_LIMIT
from mailfw.optional import ISearchedMail
from mailfw.testing.dialogue import Dialogue, run_now
from tests.imap.sessions import ANN, HeldDraft, SessionCase

DAY = 24 * 60 * 60


class SearchCase(SessionCase):
    #: Whether the store is asked for text, or messages are read.
    asks_store = True

    def setUp(self) -> None:
        super().setUp()
        if not self.asks_store:
            noLongerProvides(self.store, ISearchedMail)

    def deliver(self, octets: bytes, *flags: str, received: int = 10 * DAY) -> int:
        draft = HeldDraft()
        run_now(self, draft.write(octets))
        new = NewMessage(draft, frozenset(flags), received)
        appended = run_now(self, self.store.append(ANN, self.info(INBOX).id, [new]))
        return int(appended[0].uid)

    def search(self, dialogue: Dialogue, keys: bytes, verb: bytes = b"SEARCH") -> list[int]:
        """Return the numbers found."""
        lines = self.ask_lines(dialogue, b"s " + verb + b" " + keys)
        self.assertEqual(lines[1:], [b"s OK Searched"], lines)
        self.assertTrue(lines[0].startswith(b"* SEARCH"), lines)
        return [int(number) for number in lines[0].split()[2:]]

    def check(self, table: tuple[tuple[bytes, list[int]], ...]) -> None:
        dialogue = self.open()
        for keys, found in table:
            self.assertEqual(self.search(dialogue, keys), found, keys)


class Facts(SearchCase):
    def setUp(self) -> None:
        super().setUp()
        self.deliver(b"Date: Sun, 4 Jan 1970 23:30:00 -0800\r\n\r\n", "\\Seen", "work", received=3 * DAY)
        self.deliver(b"Date: Sat, 3 Jan 1970 00:10:00 +0900\r\n\r\n", "\\Deleted", received=4 * DAY - 1)
        self.deliver(b"Subject: no date\r\n\r\n" + b"x" * 100, "\\Seen", "\\Flagged", "$Junk", received=4 * DAY)

    def test_flags(self) -> None:
        self.check(
            (
                (b"ALL", [1, 2, 3]),
                (b"SEEN", [1, 3]),
                (b"UNSEEN", [2]),
                (b"SEEN FLAGGED", [3]),
                (b"DELETED", [2]),
                (b"UNDELETED", [1, 3]),
                (b"ANSWERED", []),
                (b"UNANSWERED", [1, 2, 3]),
                (b"DRAFT", []),
                (b"KEYWORD work", [1]),
                (b"KEYWORD WORK", [1]),
                (b"KEYWORD $junk", [3]),
                (b"KEYWORD Seen", []),
                (b"UNKEYWORD work", [2, 3]),
                (b"RECENT", [1, 2, 3]),
                (b"OLD", []),
                (b"NEW", [2]),
            )
        )
        self.assertEqual(self.search(self.open(), b"OLD"), [1, 2, 3])

    def test_logic(self) -> None:
        self.check(
            (
                (b"NOT SEEN", [2]),
                (b"NOT NOT SEEN", [1, 3]),
                (b"OR DELETED FLAGGED", [2, 3]),
                (b"OR (SEEN KEYWORD work) DELETED", [1, 2]),
                (b"NOT (SEEN FLAGGED)", [1, 2]),
                (b"NOT OR DELETED FLAGGED", [1]),
                (b"OR SUBJECT date BODY nothing", [3]),
                (b"OR BODY nothing DELETED", [2]),
                (b"NOT BODY xx SEEN", [1]),
                (b"NOT NOT BODY xx", [3]),
            )
        )

    def test_sets(self) -> None:
        self.check(
            ((b"1", [1]), (b"2:*", [2, 3]), (b"*", [3]), (b"1,3 SEEN", [1, 3]), (b"NOT 2", [1, 3]), (b"1:2 2:3", [2]))
        )

    def test_numbers_beyond_the_end_find_nothing(self) -> None:
        """RFC 7377 section 2: "with any SEARCH or UID SEARCH command" that is no error."""
        self.check(((b"4", []), (b"3:9", [3]), (b"7:*", [3]), (b"4:5", []), (b"NOT 4", [1, 2, 3]), (b"OR 4:7 2", [2])))
        self.assertTrue(self.ask(self.open(), b"s FETCH 4 UID").startswith(b"s BAD "))

    def test_uids(self) -> None:
        run_now(self, self.store.expunge(ANN, self.info().id, [2]))
        dialogue = self.open()
        for keys, numbers, uids in (
            (b"ALL", [1, 2], [1, 3]),
            (b"UID 2:3", [2], [3]),
            (b"UID 2", [], []),
            (b"UID 1:*", [1, 2], [1, 3]),
            (b"2", [2], [3]),
            (b"NOT UID 1", [2], [3]),
            (b"SUBJECT date", [2], [3]),
        ):
            self.assertEqual(self.search(dialogue, keys), numbers, keys)
            self.assertEqual(self.search(dialogue, keys, b"UID SEARCH"), uids, keys)

    def test_dates(self) -> None:
        self.check(
            (
                (b"BEFORE 5-Jan-1970", [1, 2]),
                (b"ON 4-Jan-1970", [1, 2]),
                (b"SINCE 5-Jan-1970", [3]),
                (b"BEFORE 4-Jan-1970", []),
                (b"SENTON 4-Jan-1970", [1]),
                (b"SENTBEFORE 4-Jan-1970", [2]),
                (b"SENTSINCE 3-Jan-1970", [1, 2]),
                (b"NOT SENTSINCE 3-Jan-1970", [3]),
                (b"SENTON 3-Jan-1970 BEFORE 5-Jan-1970", [2]),
            )
        )

    def test_sizes(self) -> None:
        self.check(
            (
                (b"LARGER 100", [3]),
                (b"SMALLER 100", [1, 2]),
                (b"LARGER 119", [3]),
                (b"LARGER 120", []),
                (b"SMALLER 120", [1, 2]),
            )
        )

    def test_nothing_found_is_said(self) -> None:
        self.assertEqual(self.ask(self.open(), b"s SEARCH ANSWERED"), b"* SEARCH\r\ns OK Searched\r\n")

    def test_empty_mailbox(self) -> None:
        dialogue = self.open(b"Drafts")
        self.assertEqual(self.search(dialogue, b"ALL"), [])
        self.assertEqual(self.search(dialogue, b"1:*"), [])

    def test_gone_messages_are_left_out(self) -> None:
        dialogue = self.open()
        run_now(self, self.store.alter(ANN, self.info().id, [1], FlagChange.ADD, frozenset({"\\Deleted"})))
        run_now(self, self.store.expunge(ANN, self.info().id, [1, 2]))
        for keys in (b"SUBJECT date", b"LARGER 1", b"TEXT date"):
            lines = self.ask_lines(dialogue, b"s SEARCH " + keys)
            self.assertEqual(lines[0], b"* SEARCH 3", keys)
            self.assertFalse(any(line.endswith(b"EXPUNGE") for line in lines), lines)


KOREAN = (
    b"From: =?euc-kr?B?" + base64.b64encode("김철수".encode("euc-kr")) + b"?= <kim@example.kr>\r\n"
    b"To: ann@example.org\r\n"
    b"Subject: =?euc-kr?B?" + base64.b64encode("회의 ".encode("euc-kr")) + b"?=\r\n =?euc-kr?B?"
    + base64.b64encode("일정 안내".encode("euc-kr")) + b"?=\r\n"
    b"Content-Type: multipart/alternative; boundary=b\r\n\r\npreamble words\r\n"
    b"--b\r\nContent-Type: text/plain; charset=euc-kr\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes("다음 주 월요일에 서울에서 만나요.\n".encode("euc-kr") * 9).replace(b"\n", b"\r\n") + b"\r\n"
    b"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"<p class=3D'hidden'>Gr<b>=C3=BC</b>=\r\n=C3=9Fe</p>\r\n"
    b"--b\r\nContent-Type: application/pdf; name=secret.pdf\r\n\r\nbinary words\r\n--b--\r\n"
)  # fmt: skip

EMOJI = (
    b"From: Ann Bo <ann@example.org>\r\nCc: carl@example.net\r\nBcc: dora@example.net\r\n"
    b'Subject: =?UTF-8?Q?=F0=9F=98=80_Caf=C3=A9?= and "more"\r\n'
    b"X-Own: Here it is\r\nX-Empty:\r\n\r\nPlain WORDS here\r\n"
)

FORWARDED = (
    b"Subject: Fwd\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Subject: =?utf-8?q?innen?=\r\nTo: eve@example.com\r\n\r\ndeep words\r\n--b--\r\n"
)


class Texts(SearchCase):
    def setUp(self) -> None:
        super().setUp()
        for octets in (KOREAN, EMOJI, FORWARDED):
            self.deliver(octets)

    def test_fields(self) -> None:
        self.check(
            (
                ('SUBJECT "회의 일정"'.encode(), [1]),
                ('FROM "김철수"'.encode(), [1]),
                (b"FROM kim@EXAMPLE.kr", [1]),
                (b"FROM example", [1, 2]),
                ('SUBJECT "😀 café"'.encode(), [2]),
                ('SUBJECT "CAFÉ"'.encode(), [2]),
                ('SUBJECT "cafe\u0301"'.encode(), [2]),
                (b'SUBJECT "and \\"more\\""', [2]),
                (b"SUBJECT cafe", []),
                (b"TO ann", [1]),
                (b"CC carl", [2]),
                (b"BCC dora", [2]),
                (b"BCC carl", []),
                (b'SUBJECT ""', [1, 2, 3]),
                (b'CC ""', [2]),
            )
        )

    def test_any_header(self) -> None:
        self.check(
            (
                (b'HEADER X-Own "here it"', [2]),
                (b'HEADER x-own ""', [2]),
                (b'HEADER X-Empty ""', [2]),
                (b'HEADER X-Empty "x"', []),
                (b'HEADER X-None ""', []),
                (b'NOT HEADER X-Own ""', [1, 3]),
                (b"HEADER Subject fwd", [3]),
                (b"HEADER Subject fwd HEADER X-Own here", []),
                (b"OR HEADER X-Own here HEADER Subject fwd", [2, 3]),
            )
        )

    def test_bodies(self) -> None:
        self.check(
            (
                ('BODY "서울에서 만나요"'.encode(), [1]),
                ('BODY "GRÜSSE"'.encode(), [1]),
                ('BODY "grüße"'.encode(), [1]),
                (b"BODY hidden", []),
                (b"BODY preamble", []),
                (b"BODY binary", []),
                (b"BODY words", [2, 3]),
                (b"BODY deep", [3]),
                (b"BODY innen", [3]),
                (b"BODY fwd", []),
                (b"BODY carl", []),
                (b"BODY secret", []),
                (b'BODY ""', [1, 2, 3]),
            )
        )

    def test_texts(self) -> None:
        self.check(
            (
                ('TEXT "만나요"'.encode(), [1]),
                ('TEXT "일정"'.encode(), [1]),
                (b"TEXT carl", [2]),
                (b"TEXT x-own", [2]),
                (b"TEXT words", [2, 3]),
                (b"TEXT eve@example.com", [3]),
                (b"TEXT secret.pdf", [1]),
                (b'TEXT ""', [1, 2, 3]),
                (b"TEXT example NOT BODY words", [1]),
            )
        )

    def test_charsets(self) -> None:
        dialogue = self.open()
        for charset in ("euc-kr", "utf-8", "ks_c_5601-1987", "iso-2022-kr"):
            codec = {"ks_c_5601-1987": "euc-kr", "iso-2022-kr": "iso2022_kr"}.get(charset, charset)
            octets = "회의".encode(codec)
            dialogue.say(b"s SEARCH CHARSET %b SUBJECT {%d}\r\n" % (charset.encode(), len(octets)))
            self.assertTrue(dialogue.hear().startswith(b"+ "))
            dialogue.say(octets + b"\r\n")
            self.assertEqual(dialogue.hear(), b"* SEARCH 1\r\ns OK Searched\r\n", charset)

    def test_unknown_charset(self) -> None:
        lines = self.ask_lines(self.open(), b"s SEARCH CHARSET x-own ALL")
        self.assertEqual(len(lines), 1)
        self.assertTrue(lines[0].startswith(b"s NO [BADCHARSET (US-ASCII UTF-8 "), lines)

    def test_long_part_is_searched_in_part(self) -> None:
        self.deliver(b"\r\nfirst " + b"x" * PART_LIMIT + b" last")
        self.check(((b"BODY first", [4]), (b"BODY last", [])))

    def test_many_messages(self) -> None:
        self.put(1200)
        self.check(((b"SUBJECT hello", list(range(4, 1204))), (b"BODY how BODY you 3:5", [4, 5])))


class TextsThatAreRead(Texts):
    """The same answers from a store that finds nothing by itself."""

    asks_store = False


class Cost(SearchCase):
    """What is looked at, and what is not, where messages have to be read."""

    asks_store = False

    def setUp(self) -> None:
        super().setUp()
        self.put(3)
        self.deliver(EMOJI, "\\Seen")
        self.asked: list[str] = []
        real_rows, real_content = self.store.rows, self.store.content

        def rows(account: str, mailbox: str, uids: Any, want: Any) -> Any:
            self.asked.append(f"rows {len(uids)}")
            return real_rows(account, mailbox, uids, want)

        async def content(account: str, mailbox: str, uid: int) -> Any:
            self.asked.append("content")
            return await real_content(account, mailbox, uid)

        self.patch(self.store, "rows", rows)
        self.patch(self.store, "content", content)

    def cost(self, keys: bytes) -> list[str]:
        dialogue = self.open()
        self.asked.clear()
        self.search(dialogue, keys)
        return self.asked

    def test_cheap_keys_decide_first(self) -> None:
        for keys, asked in (
            (b"SEEN", []),
            (b"SEEN ANSWERED BODY x", []),
            (b"BODY x ANSWERED", []),
            (b"LARGER 100", ["rows 4"]),
            (b"SUBJECT x", ["rows 4"]),
            (b"SUBJECT x SEEN", ["rows 1"]),
            (b"SUBJECT nothing LARGER 100", ["rows 4", "rows 1"]),
            (b"BODY x SUBJECT more", ["rows 4", "rows 1", "content"]),
            (b"OR SEEN BODY x", ["rows 3", "content", "content", "content"]),
            (b"BODY x UID 2", ["rows 1", "content"]),
            (b"SUBJECT x UID 7", []),
        ):
            self.assertEqual(self.cost(keys), asked, keys)

    def test_a_long_chain_of_or_is_one_question(self) -> None:
        alsoProvides(self.store, ISearchedMail)
        chain = b"OR FROM nobody " * 150
        self.assertEqual(self.cost(chain + b"FROM ann"), [])
        self.assertEqual(self.search(self.open(), chain + b"FROM ann"), [4])
        self.assertEqual(self.search(self.open(), b"NOT " * 150 + b"OR FROM ann DELETED"), [4])

    def test_nothing_is_read_of_what_the_store_finds(self) -> None:
        alsoProvides(self.store, ISearchedMail)
        for keys, asked in (
            (b"SUBJECT x", []),
            (b"TEXT words", []),
            (b"NOT OR BODY words HEADER X-Own here", []),
            (b"OR SEEN BODY x", []),
            # Sizes of all cost less than one question.
            (b"LARGER 1 OR BODY words SEEN", ["rows 4"]),
            (b"BODY words LARGER 100", ["rows 4"]),
        ):
            self.assertEqual(self.cost(keys), asked, keys)

    def test_only_what_the_store_cannot_tell_is_read(self) -> None:
        long = self.deliver(b"Subject: a long one\r\n\r\nneedle\r\n" + b"straw " * (KEPT // 6 + 1) + b"\r\n")
        alsoProvides(self.store, ISearchedMail)
        self.assertEqual(self.cost(b"BODY needle"), ["rows 1", "content"])
        self.assertEqual(self.cost(b"BODY needle ANSWERED"), [])
        self.assertEqual(self.search(self.open(), b"BODY needle"), [long])


class Kinds(SearchCase):
    """Many keys about many kinds of flags."""

    asks_store = False

    def setUp(self) -> None:
        super().setUp()
        for number in range(20):
            self.put(1, "Odd" if number % 2 else "Even", f"Own{number}")
        self.put(300)
        self.keys = b" UNKEYWORD".join(b" none%d" % number for number in range(1, 500))
        self.dialogue = self.open()

    def test_what_is_found(self) -> None:
        for keys, found in (
            (b"KEYWORD odd UNKEYWORD OWN3 UID 1:9", [2, 6, 8]),
            (b"KEYWORD odd NOT KEYWORD Own19 UNKEYWORD" + self.keys, list(range(2, 20, 2))),
            (b"UID 1:9 KEYWORD EVEN UNKEYWORD" + self.keys, [1, 3, 5, 7, 9]),
            (b"OR KEYWORD own0 KEYWORD OWN19", [1, 20]),
        ):
            self.assertEqual(self.search(self.dialogue, keys), found, keys[:50])

    def test_others_have_their_turn(self) -> None:
        pause = Finder._pause
        pauses: list[Finder] = []

        async def paused(finder: Finder) -> None:
            pauses.append(finder)
            await pause(finder)

        self.patch(Finder, "_pause", paused)
        for keys in (b"UNKEYWORD" + self.keys, b"UID 1:20 UNKEYWORD" + self.keys):
            pauses.clear()
            self.search(self.dialogue, keys)
            self.assertGreater(len(pauses), 5, keys[:9])


class Turns(SearchCase):
    """A long search, on a clock that shows a little more whenever it is looked at."""

    asks_store = False

    def setUp(self) -> None:
        super().setUp()
        self.put(10)
        self.contents: list[int] = []
        real = self.store.content

        async def content(account: str, mailbox: str, uid: int) -> Any:
            self.contents.append(uid)
            return await real(account, mailbox, uid)

        self.patch(self.store, "content", content)
        self.searching, self.other = self.open(), self.open()
        now = itertools.count(1.0, 0.03)
        self.patch(self.clock, "seconds", lambda: next(now))
        self.searching.say(b"s SEARCH BODY how\r\n")

    def test_others_have_theirs(self) -> None:
        self.assertEqual(self.searching.hear(), b"")
        self.assertIn(b"n OK", self.ask(self.other, b"n NOOP"))
        for _ in range(20):
            self.clock.advance(0)
        self.assertEqual(self.searching.hear(), b"* SEARCH 1 2 3 4 5 6 7 8 9 10\r\ns OK Searched\r\n")

    def test_it_ends_with_its_connection(self) -> None:
        self.searching.leave()
        self.clock.advance(0)
        self.assertEqual(self.searching.hear(), b"")
        self.assertLess(len(self.contents), 5)
