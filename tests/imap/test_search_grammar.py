"""The arguments of SEARCH, as a tree of keys."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap.grammar_results import Source, Where, sources
from mailfw.imap.grammar_search import UnknownCharset, search
from mailfw.imap.keys import (
    And,
    HasFlag,
    InBody,
    InField,
    InText,
    IsAmong,
    IsLarger,
    IsRecent,
    IsSmaller,
    Key,
    Not,
    Or,
    Received,
    Sent,
    When,
)
from mailfw.imap.lexer import BadSyntax, Cursor, Literal, SequenceSet

SEEN = HasFlag("\\seen")


def read(text: bytes, *more: bytes | Literal) -> Key:
    key = search(Cursor([b" " + text, *more]))
    return key.keys[0] if len(key.keys) == 1 else key


class Reading(SynchronousTestCase):
    def test_keys(self) -> None:
        for text, key in (
            (b"ALL", And()),
            (b"ANSWERED", HasFlag("\\answered")),
            (b"unanswered", Not(HasFlag("\\answered"))),
            (b"DELETED", HasFlag("\\deleted")),
            (b"UNDELETED", Not(HasFlag("\\deleted"))),
            (b"DRAFT", HasFlag("\\draft")),
            (b"UNDRAFT", Not(HasFlag("\\draft"))),
            (b"FLAGGED", HasFlag("\\flagged")),
            (b"UNFLAGGED", Not(HasFlag("\\flagged"))),
            (b"SEEN", SEEN),
            (b"UNSEEN", Not(SEEN)),
            (b"NEW", And((IsRecent(), Not(SEEN)))),
            (b"OLD", Not(IsRecent())),
            (b"RECENT", IsRecent()),
            (b"KEYWORD $Junk", HasFlag("$junk")),
            (b"UNKEYWORD work", Not(HasFlag("work"))),
            (b"LARGER 10", IsLarger(10)),
            (b"SMALLER 10", IsSmaller(10)),
            (b"BEFORE 2-Jan-1970", Received(When.BEFORE, 1)),
            (b'ON "1-Jan-1970"', Received(When.ON, 0)),
            (b"SINCE 31-Dec-1969", Received(When.SINCE, -1)),
            (b"SENTBEFORE 1-Jan-1970", Sent(When.BEFORE, 0)),
            (b"SENTON 1-Jan-1970", Sent(When.ON, 0)),
            (b"SENTSINCE 1-Jan-1970", Sent(When.SINCE, 0)),
            (b"FROM ann", InField(b"from", "ann")),
            (b"TO Ann", InField(b"to", "ann")),
            (b'CC "A B"', InField(b"cc", "a b")),
            (b"BCC x", InField(b"bcc", "x")),
            (b"SUBJECT x", InField(b"subject", "x")),
            (b'HEADER X-Own ""', InField(b"x-own", "")),
            (b"BODY x", InBody("x")),
            (b"TEXT x", InText("x")),
            (b"1:3,*", IsAmong(SequenceSet(((1, 3), (None, None))), False)),
            (b"UID 7", IsAmong(SequenceSet(((7, 7),)), True)),
            (b"NOT SEEN", Not(SEEN)),
            (b"OR SEEN ALL", Or(SEEN, And())),
            (b"OR NOT SEEN (ALL SEEN)", Or(Not(SEEN), And((And(), SEEN)))),
            (b"(SEEN)", And((SEEN,))),
            (b"SEEN ALL", And((SEEN, And()))),
            (b"CHARSET us-ascii SUBJECT x", InField(b"subject", "x")),
            (b"SUBJECT \xed\x95\x9c".replace(b"\xed\x95\x9c", b'"\xed\x95\x9c"'), InField(b"subject", "한")),
            (b'CHARSET EUC-KR SUBJECT "\xc7\xd1"', InField(b"subject", "한")),
            (b'CHARSET "iso-8859-1" BODY "\xc9"', InBody("é")),
        ):
            self.assertEqual(read(text), key, text)

    def test_literals(self) -> None:
        self.assertEqual(read(b"SUBJECT ", Literal("한".encode())), InField(b"subject", "한"))
        self.assertEqual(
            read(b"CHARSET UTF-8 OR FROM ", Literal(b"A"), b" BODY ", Literal(b"b\r\nc"), b""),
            Or(InField(b"from", "a"), InBody("b c")),
        )

    def test_unknown_charsets(self) -> None:
        for name in (b"NONSENSE", b"base64", b"rot13", b'""'):
            self.assertRaises(UnknownCharset, read, b"CHARSET " + name + b" ALL")

    def test_refusals(self) -> None:
        for text in (
            b"",
            b"NONSENSE",
            b"SEEN ",
            b"SEEN  ALL",
            b"NOT",
            b"OR SEEN",
            b"(SEEN",
            b"()",
            b"SEEN)",
            b"FROM",
            b"HEADER x",
            b"LARGER x",
            b"ON yesterday",
            b"ON 31-Feb-2026",
            b"UID x",
            b"0",
            b"KEYWORD",
            b"CHARSET UTF-8",
            b'SUBJECT "\xff"',
            b'CHARSET US-ASCII SUBJECT "\xff\xfe"',
            b"NOT " * 500 + b"ALL",
            b"(" * 500 + b"ALL" + b")" * 500,
            b"ALL " * 5000 + b"ALL",
        ):
            self.assertRaises(BadSyntax, read, text)

    def test_a_long_chain_of_or_is_read(self) -> None:
        self.assertIsInstance(read(b"OR FROM a@example.org " * 150 + b"FROM b"), Or)

    @given(st.text('NOTRSEALUID 1:*()"{}x,').map(str.encode) | st.binary())
    def test_nothing_but_refusals(self, text: bytes) -> None:
        with contextlib.suppress(BadSyntax, UnknownCharset):
            read(text)


class Sources(SynchronousTestCase):
    """RFC 7377 section 2.2."""

    def test_what_comes_twice_adds_nothing(self) -> None:
        found = sources(Cursor([b" IN (personal inboxes" + b" personal" * 500 + b")"]))
        self.assertEqual(found, (Source(Where.PERSONAL), Source(Where.INBOXES)))

    def test_there_are_not_too_many(self) -> None:
        names = b" ".join(b"m%d" % number for number in range(500))
        for text in (
            b"personal " * 1000 + b"personal",
            b"mailboxes m " * 1000 + b"inboxes",
            b" ".join(b"mailboxes m%d" % number for number in range(101)),
            b"mailboxes (" + names + b") subtree (" + names + b") inboxes",
            b"mailboxes (" + names + b" " + names + b" more)",
        ):
            with self.assertRaises(BadSyntax):
                sources(Cursor([b" IN (" + text + b")"]))
        found = sources(Cursor([b" IN (mailboxes (" + names + b") subtree (" + names + b"))"]))
        self.assertEqual([len(each.names) for each in found or ()], [500, 500])
