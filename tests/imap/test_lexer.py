"""The tokens of commands."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap.lexer import BadSyntax, Cursor, Literal, SequenceSet


class Strings(SynchronousTestCase):
    def test_an_astring_is_an_atom_a_quoted_string_or_a_literal(self) -> None:
        cases: list[tuple[list[bytes | Literal], bytes]] = [
            ([b"abc"], b"abc"),
            ([b"a]b.c/d~"], b"a]b.c/d~"),
            ([b'"a b"'], b"a b"),
            ([b'"a \\"b\\\\"'], b'a "b\\'),
            ([b'""'], b""),
            ([b'"caf\xc3\xa9"'], b"caf\xc3\xa9"),
            ([b"", Literal(b"a\r\nb"), b""], b"a\r\nb"),
            ([b"", Literal(b""), b""], b""),
        ]
        for pieces, expected in cases:
            cursor = Cursor(pieces)
            self.assertEqual(cursor.astring(), expected)
            self.assertTrue(cursor.at_end())

    def test_what_is_no_string_is_refused(self) -> None:
        for octets in (b"", b" a", b'"a', b'"a\\b"', b'"a\0b"', b"(", b")", b"%", b"*", b"\xc3\xa9", b"{3}", b"\0"):
            self.assertRaises(BadSyntax, Cursor([octets]).astring)
        self.assertRaises(BadSyntax, Cursor([b"", Literal(b"a\0b"), b""]).astring)

    def test_a_cursor_walks_through_literals(self) -> None:
        cursor = Cursor([b"LOGIN ", Literal(b"ann"), b" ", Literal(b"secret"), b" x"], 5)
        cursor.space()
        self.assertEqual(cursor.peek(), ord("{"))
        self.assertEqual(cursor.astring(), b"ann")
        cursor.space()
        self.assertEqual(cursor.string(), b"secret")
        self.assertFalse(cursor.at_end())
        self.assertRaises(BadSyntax, cursor.expect_end)
        cursor.space()
        self.assertEqual(cursor.atom(), b"x")
        cursor.expect_end()
        self.assertEqual(cursor.peek(), -1)

    def test_a_literal_does_not_pass_for_an_atom(self) -> None:
        cursor = Cursor([b"", Literal(b"NIL"), b""])
        self.assertRaises(BadSyntax, cursor.atom)
        self.assertEqual(cursor.nstring(), b"NIL")
        self.assertIsNone(Cursor([b"nil"]).nstring())

    def test_words_are_taken_in_any_case(self) -> None:
        cursor = Cursor([b"body.PEEK["])
        self.assertFalse(cursor.take(b"BODY["))
        self.assertTrue(cursor.take(b"BODY.PEEK["))
        self.assertRaises(BadSyntax, cursor.expect, b"x")

    def test_mailbox_names_are_decoded(self) -> None:
        self.assertEqual(Cursor([b"inbox"]).mailbox(), "INBOX")
        self.assertEqual(Cursor([b'"&1VyuAA-"']).mailbox(), "한글")
        self.assertEqual(Cursor([b"a/%*"]).list_mailbox(), "a/%*")
        for octets in (b"&x", b'"\xed\x95\x9c"', b"a%"):
            cursor = Cursor([octets])
            self.assertRaises(BadSyntax, lambda cursor=cursor: (cursor.mailbox(), cursor.expect_end()))


class Numbers(SynchronousTestCase):
    def test_numbers_have_32_bits(self) -> None:
        self.assertEqual(Cursor([b"0"]).number(), 0)
        self.assertEqual(Cursor([b"4294967295"]).nz_number(), 2**32 - 1)
        for octets in (b"4294967296", b"9" * 5000, b"", b"-1", b"x"):
            self.assertRaises(BadSyntax, Cursor([octets]).number)
        self.assertRaises(BadSyntax, Cursor([b"0"]).nz_number)

    def test_sequence_sets(self) -> None:
        cases = {
            b"1": ((1, 1),),
            b"*": ((None, None),),
            b"1:*": ((1, None),),
            b"*:4": ((None, 4),),
            b"2,4:7,9,12:*": ((2, 2), (4, 7), (9, 9), (12, None)),
        }
        for octets, ranges in cases.items():
            self.assertEqual(Cursor([octets]).sequence_set(), SequenceSet(ranges))
        for octets in (b"", b"0", b"1:", b":1", b"1,", b",1", b"1:2:3", b"01", b"4294967296", b"1:99999999999", b"**"):
            self.assertRaises(BadSyntax, Cursor([octets]).sequence_set)


class Flags(SynchronousTestCase):
    def test_system_flags_get_our_spelling_and_keywords_keep_theirs(self) -> None:
        cursor = Cursor([b"(\\seen \\RECENT $Forwarded NonJunk)"])
        self.assertEqual(cursor.flag_list(), ["\\Seen", "\\Recent", "$Forwarded", "NonJunk"])
        self.assertEqual(Cursor([b"()"]).flag_list(), [])
        self.assertEqual(Cursor([b"a b"]).flags(), ["a", "b"])
        for octets in (b"(", b"(a", b"( a)", b"(a )", b"(\\)", b"(a  b)", b"(\xff)", b"(%)", b"a"):
            self.assertRaises(BadSyntax, Cursor([octets]).flag_list)


class Dates(SynchronousTestCase):
    def test_dates(self) -> None:
        for octets in (b"1-Feb-2026", b"01-FEB-2026", b'"1-feb-2026"'):
            self.assertEqual(Cursor([octets]).date(), dt.date(2026, 2, 1))
        for octets in (b"30-Feb-2026", b"1-Foo-2026", b"0-Jan-2026", b"1-Jan-26", b'"1-Jan-2026', b"1-Jan-0000", b"x"):
            self.assertRaises(BadSyntax, Cursor([octets]).date)

    def test_dates_with_times(self) -> None:
        self.assertEqual(Cursor([b'" 1-Jan-1970 00:00:00 +0000"']).date_time(), 0)
        self.assertEqual(Cursor([b'"01-Jan-1970 00:00:00 -0130"']).date_time(), 5400)
        self.assertEqual(Cursor([b'"17-Jul-1996 02:44:25 -0700"']).date_time(), 837596665)
        for octets in (
            b'"32-Jan-1970 00:00:00 +0000"',
            b'" 1-Jan-1970 24:00:00 +0000"',
            b'" 1-Jan-1970 00:60:00 +0000"',
            b'" 1-Jan-1970 00:00:00 +0060"',
            b'" 1-Jan-1970 00:00:00"',
            b'" 1-Jan-1970"',
        ):
            self.assertRaises(BadSyntax, Cursor([octets]).date_time)


PIECE = st.binary(max_size=30) | st.text(' "(){}\\%*nilNIL0123:,-Jan[]&+', max_size=20).map(str.encode)
METHODS = (
    "space", "atom", "astring", "string", "nstring", "number", "nz_number", "mailbox", "list_mailbox",
    "sequence_set", "flag_list", "flags", "date", "date_time", "expect_end",
)  # fmt: skip


class Anything(SynchronousTestCase):
    @given(st.lists(PIECE | PIECE.map(Literal), max_size=5), st.lists(st.sampled_from(METHODS), max_size=8))
    def test_nothing_but_bad_syntax_is_raised(self, pieces: list[bytes | Literal], methods: list[str]) -> None:
        cursor = Cursor(pieces)
        for method in methods:
            try:
                getattr(cursor, method)()
            except BadSyntax as broken:
                self.assertTrue(str(broken))
        cursor.peek()
