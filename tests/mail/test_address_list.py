"""Addresses as header fields have them, right and wrong."""

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address_list import MAX_ADDRESSES, MailAddress, parse_addresses

Expected = list[tuple[bytes | None, bytes | None, bytes | None, bytes | None]]

END = (None, None, None, None)
NONE, NOWHERE = b"MISSING_MAILBOX", b"MISSING_DOMAIN"

TABLE: list[tuple[bytes, Expected]] = [
    (b"", []),
    (b" , ,", []),
    (b"a@b.c", [(None, None, b"a", b"b.c")]),
    (b"<a@b.c>", [(None, None, b"a", b"b.c")]),
    (b"Ann Bo <a@b.c>", [(b"Ann Bo", None, b"a", b"b.c")]),
    (b'"Bo, Ann" <a@b.c>', [(b"Bo, Ann", None, b"a", b"b.c")]),
    (b'"Ann \\"Bo\\"" <a@b.c>', [(b'Ann "Bo"', None, b"a", b"b.c")]),
    (b"John. Q. Public <j@x>", [(b"John. Q. Public", None, b"j", b"x")]),
    (b"a@b.c (Ann (of) Bo)", [(b"Ann (of) Bo", None, b"a", b"b.c")]),
    (b"(first) a@b.c (second) (third)", [(b"third", None, b"a", b"b.c")]),
    (b"(first) a@b.c", [(None, None, b"a", b"b.c")]),
    (b"Ann (Bo) <a@b.c>", [(b"Ann", None, b"a", b"b.c")]),
    (b"=?utf-8?q?=ED?= <a@b.c>", [(b"=?utf-8?q?=ED?=", None, b"a", b"b.c")]),
    (b"\xed\x95\x9c <a@b.c>", [(b"\xed\x95\x9c", None, b"a", b"b.c")]),
    (b'"a b"@c', [(None, None, b"a b", b"c")]),
    (b"a@[192.0.2.1]", [(None, None, b"a", b"[192.0.2.1]")]),
    (b"<@r1,@r2:a@b>", [(None, b"@r1,@r2", b"a", b"b")]),
    (b"a @ b . c", [(None, None, b"a", b"b.c")]),
    (b'a . "b" @ c . d', [(None, None, b"a.b", b"c.d")]),
    (b'<a . "b" @ c . d>', [(None, None, b"a.b", b"c.d")]),
    (b'""@b', [(None, None, b"", b"b")]),
    (b": a@b;", [(None, None, b"", None), (None, None, b"a", b"b"), END]),
    (b"a@b, c@d", [(None, None, b"a", b"b"), (None, None, b"c", b"d")]),
    (b"a@b; c@d", [(None, None, b"a", b"b"), (None, None, b"c", b"d")]),
    (b"G: a@b, c@d;", [(None, None, b"G", None), (None, None, b"a", b"b"), (None, None, b"c", b"d"), END]),
    (b"G:;, a@b", [(None, None, b"G", None), END, (None, None, b"a", b"b")]),
    (b"My group: a@b", [(None, None, b"My group", None), (None, None, b"a", b"b"), END]),
    # What is broken comes out as something; never with NIL for a host, which would begin a group.
    (b"ann", [(None, None, b"ann", NOWHERE)]),
    (b"ann bo", [(b"ann bo", None, NONE, NOWHERE)]),
    (b"ann bo <>", [(b"ann bo", None, NONE, NOWHERE)]),
    (b"<ann>", [(None, None, b"ann", NOWHERE)]),
    (b"@b", [(None, None, NONE, b"b")]),
    (b"a@", [(None, None, b"a", NOWHERE)]),
    (b"Ann <a@b", [(b"Ann", None, b"a", b"b")]),
    (b"Ann <a@b, c@d", [(b"Ann", None, b"a", b"b"), (None, None, b"c", b"d")]),
    (b'"Ann <a@b>', [(b"Ann", None, b"a", b"b")]),
    (b"Ann a@b", [(b"Ann", None, b"a", b"b")]),
    (b"a@b@c <d@e>", [(b"a@b@c", None, b"d", b"e")]),
    (b"a@b>", [(None, None, b"a", b"b")]),
    (b"a@b c d", [(None, None, b"a", b"b")]),
    (b"Ann <a b@c>", [(b"Ann", None, b"a b", b"c")]),
    (b"Ann <a@b> <c@d>", [(b"Ann", None, b"a", b"b")]),
    (b"Ann <a@b> Bo", [(b"Ann", None, b"a", b"b")]),
    (b"<a@b> Bo", [(b"Bo", None, b"a", b"b")]),
    (b"Ann <Bo <a@b>>", [(b"Ann", None, b"a", b"b")]),
    (b"(never closed a@b", []),
]


class Addresses(SynchronousTestCase):
    def test_table(self) -> None:
        for value, expected in TABLE:
            self.assertEqual(parse_addresses(value), expected, value)

    def test_plain_and_odd_ones_mixed(self) -> None:
        self.assertEqual(
            parse_addresses(b'a@b, Ann <c@d>, (x) e@f, "G" <g@h>'),
            [
                MailAddress(None, None, b"a", b"b"),
                MailAddress(b"Ann", None, b"c", b"d"),
                MailAddress(None, None, b"e", b"f"),
                MailAddress(b"G", None, b"g", b"h"),
            ],
        )

    def test_time_is_bounded(self) -> None:
        for piece in (b'\\"', b'"\\"', b'a"', b"<", b"(\\("):
            began = time.process_time()
            parse_addresses(piece * (100_000 // len(piece)))
            self.assertLess(time.process_time() - began, 2, piece)

    def test_number_is_bounded(self) -> None:
        for one in (b"a@b,", b"(x)a@b,", b"G:a@b;", b"<<<,"):
            self.assertLessEqual(len(parse_addresses(one * 20_000)), MAX_ADDRESSES + 2)

    @given(st.text('ab@<>,;:()"\\[]. \t\u00e9').map(str.encode))
    def test_never_raises(self, value: bytes) -> None:
        opened = 0
        for address in parse_addresses(value):
            if address.host is None:
                opened += 1 if address.mailbox is not None or opened == 0 else -1
            else:
                self.assertIsNotNone(address.mailbox)
