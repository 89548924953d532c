"""Commands, from octets to values."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap import grammar
from mailfw.imap.grammar import Announcement, Store
from mailfw.imap.lexer import BadSyntax, Cursor, Literal, SequenceSet
from mailfw.mail.mailbox import FlagChange


class Lines(SynchronousTestCase):
    def test_tag_and_name(self) -> None:
        for line, expected in (
            (b"a1 NOOP", (b"a1", b"NOOP", 7)),
            (b"a1 noop x", (b"a1", b"NOOP", 7)),
            (b"a1 uid fetch 1", (b"a1", b"UID FETCH", 12)),
            (b"a1 uid", (b"a1", b"UID", 6)),
            (b"a1", (b"a1", b"", 2)),
            (b"a1 (", (b"a1", b"", 2)),
            (b"a1 NO-OP", (b"a1", b"", 2)),
            (b"]].# NOOP", (b"]].#", b"NOOP", 9)),
        ):
            self.assertEqual(grammar.command_start(line), expected)
        for line in (
            b"",
            b" a NOOP",
            b"+ NOOP",
            b"a+ NOOP",
            b"* NOOP",
            b"a\0 NOOP",
            b"\xff NOOP",
            b"a" * 65 + b" NOOP",
        ):
            self.assertRaises(BadSyntax, grammar.command_start, line)

    def test_announcements(self) -> None:
        for line, expected in (
            (b"a LOGIN {3}", (b"a LOGIN ", Announcement(3, True))),
            (b"a LOGIN {3+}", (b"a LOGIN ", Announcement(3, False))),
            (b"a APPEND x ~{3+}", (b"a APPEND x ", Announcement(3, False, True))),
            (b"a {99999999999999999999999}", (b"a ", Announcement(10**19, True))),
            (b"a {3-}", (b"a {3-}", None)),
            (b"a {}", (b"a {}", None)),
            (b"a {3} ", (b"a {3} ", None)),
        ):
            self.assertEqual(grammar.announcement(line), expected)

    def test_browsers(self) -> None:
        self.assertTrue(grammar.is_http(b"GET / HTTP/1.1"))
        self.assertFalse(grammar.is_http(b"GET NOOP"))


class Arguments(SynchronousTestCase):
    def read(self, reader: Callable[[Cursor], Any], octets: bytes) -> Any:
        return reader(Cursor([octets]))

    def refuse(self, reader: Callable[[Cursor], Any], *lines: bytes) -> None:
        for line in lines:
            self.assertRaises(BadSyntax, reader, Cursor([line]))

    def test_authenticate(self) -> None:
        self.assertEqual(self.read(grammar.mechanism, b" plain"), ("PLAIN", None))
        self.assertEqual(self.read(grammar.mechanism, b" PLAIN ="), ("PLAIN", b""))
        self.assertEqual(self.read(grammar.mechanism, b" PLAIN AGEAYg=="), ("PLAIN", b"AGEAYg=="))
        self.refuse(grammar.mechanism, b"", b" ", b" PLAIN a b", b' "PLAIN"', b" PLAIN !")

    def test_store(self) -> None:
        wanted = SequenceSet(((1, 2),))
        seen = frozenset({"\\Seen"})
        for octets, expected in (
            (b" 1:2 FLAGS (\\Seen)", Store(wanted, FlagChange.REPLACE, seen, False)),
            (b" 1:2 FLAGS ()", Store(wanted, FlagChange.REPLACE, frozenset(), False)),
            (b" 1:2 +flags.silent \\Seen x", Store(wanted, FlagChange.ADD, seen | {"x"}, True)),
            (b" 1:2 -FLAGS (\\Recent)", Store(wanted, FlagChange.REMOVE, frozenset(), False)),
        ):
            self.assertEqual(self.read(grammar.store, octets), expected)
        self.refuse(
            grammar.store,
            b" 1:2",
            b" 1:2 FLAGS",
            b" 1:2 FLAGS ",
            b" 1:2 FLAG (x)",
            b" 1:2 FLAGS.LOUD (x)",
            b" 1:2 FLAGS (\\Foo)",
            b" 1:2 FLAGS (" + b"x" * 101 + b")",
            b" 1:2 FLAGS " + b" ".join(b"f%d" % number for number in range(101)),
            b" 1:2 FLAGS (x) y",
        )

    def test_id(self) -> None:
        self.assertEqual(self.read(grammar.identification, b" NIL"), {})
        self.assertEqual(self.read(grammar.identification, b' ("Name" "x" "os" NIL)'), {"name": "x"})
        pairs = b" ".join(b'"a" "b"' for _ in range(31))
        self.refuse(grammar.identification, b"", b' ("a")', b" (" + pairs + b")", b' ("' + b"a" * 31 + b'" "b")')

    def test_enable(self) -> None:
        self.assertEqual(self.read(grammar.capabilities, b" condstore X"), [b"CONDSTORE", b"X"])
        self.refuse(grammar.capabilities, b"", b" ", b" a ", b" (")


READERS = [
    grammar.userid_and_password, grammar.mechanism, grammar.mailbox, grammar.identification, grammar.capabilities,
    grammar.store, grammar.copy, grammar.uid_expunge,
]  # fmt: skip
WORDS = st.sampled_from(
    [
        b" ",
        b'""',
        b"(",
        b")",
        b"*",
        b"%",
        b"1:*",
        b"FLAGS",
        b"(\\Seen)",
        b"INBOX",
        b"NIL",
        b"RETURN ",
        b"(USE (\\Sent))",
    ]
)
PIECE = st.binary(max_size=20) | st.lists(WORDS, max_size=8).map(b"".join)


class Anything(SynchronousTestCase):
    @given(st.sampled_from(READERS), st.lists(PIECE | PIECE.map(Literal), max_size=5))
    def test_nothing_but_a_refusal_is_raised(
        self, reader: Callable[[Cursor], Any], pieces: list[bytes | Literal]
    ) -> None:
        try:
            reader(Cursor(pieces))
        except BadSyntax as broken:
            self.assertTrue(str(broken))

    @given(st.binary(max_size=60))
    def test_any_line_is_a_command_or_none(self, line: bytes) -> None:
        text, announced = grammar.announcement(line)
        self.assertEqual(announced is None, text == line)
        try:
            tag, name, at = grammar.command_start(text)
        except BadSyntax:
            return
        self.assertTrue(text.startswith(tag))
        self.assertTrue(text[:at].upper().endswith(name))
