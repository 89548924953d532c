"""Commands about the tree of mailboxes, from octets to values."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap import grammar_mailboxes as grammar
from mailfw.imap.grammar_mailboxes import Create, GetMetadata, ListRequest
from mailfw.imap.lexer import BadSyntax, Cursor, Literal
from mailfw.mail.mailbox import Role


class AccessLists(SynchronousTestCase):
    def test_setacl(self) -> None:
        for line, expected in (
            (b" INBOX bob lrs", grammar.SetAccess("INBOX", "bob", "", "lrs")),
            (b" inbox -bob +lrs", grammar.SetAccess("INBOX", "-bob", "+", "lrs")),
            (b' "a b" "B\xc3\xb6b" "-x"', grammar.SetAccess("a b", "Böb", "-", "x")),
            (b' a b ""', grammar.SetAccess("a", "b", "", "")),
            (b" a b +", grammar.SetAccess("a", "b", "+", "")),
        ):
            self.assertEqual(grammar.set_access(Cursor((line,))), expected)
        for line in (b"", b" a", b" a b", b" a b lr x", b" a (b) lr", b" a \xff lr"):
            self.assertRaises(BadSyntax, grammar.set_access, Cursor((line,)))

    def test_a_mailbox_and_an_identifier(self) -> None:
        self.assertEqual(grammar.mailbox_and_identifier(Cursor((b" a anyone",))), ("a", "anyone"))
        for line in (b" a", b" a b c", b" a NIL(", b"a b"):
            self.assertRaises(BadSyntax, grammar.mailbox_and_identifier, Cursor((line,)))

    @given(st.binary())
    def test_nothing_but_a_refusal(self, octets: bytes) -> None:
        for read in (grammar.set_access, grammar.mailbox_and_identifier):
            try:
                read(Cursor((b" " + octets,)))
            except BadSyntax:
                continue


class Reading(SynchronousTestCase):
    def refuse(self, reader: Callable[[Cursor], Any], *lines: bytes) -> None:
        for line in lines:
            self.assertRaises(BadSyntax, reader, Cursor((line,)))


class Names(Reading):
    def test_create(self) -> None:
        self.assertEqual(grammar.create(Cursor((b" x",))), Create("x", "x"))
        self.assertEqual(grammar.create(Cursor((b" x (USE (\\sent))",))), Create("x", "x", Role.SENT))
        self.assertEqual(grammar.create(Cursor((b" x (USE (\\sent \\Sent))",))).role, Role.SENT)
        self.assertIsNone(grammar.create(Cursor((b" x (USE ())",))).role)
        for uses in (b"\\All", b"\\Flagged", b"\\Important", b"\\New", b"\\Sent \\Junk"):
            self.assertRaises(grammar.UseRefused, grammar.create, Cursor((b" x (USE (%b))" % uses,)))
        self.refuse(
            grammar.create, b" x ()", b" x (USE (Sent))", b" x (USE (\\Sent)) y", b" x (USE (\\Sent)", b" x (X y)"
        )

    def test_a_name_in_utf8_is_also_known_as_it_was_written(self) -> None:
        line = ' "inbox/Cafe\u0301"'.encode()
        self.assertEqual(grammar.create(Cursor((line,), 0, True)), Create("INBOX/Caf\u00e9", "inbox/Cafe\u0301"))
        self.assertEqual(grammar.rename(Cursor((b" a&b" + line,), 0, True))[0], "a&b")

    def test_rename(self) -> None:
        self.assertEqual(grammar.rename(Cursor((b" a inbox",))), ("a", Create("INBOX", "INBOX")))
        self.refuse(grammar.rename, b" a", b" a b c", b" a &", b" & b")


class Lists(Reading):
    def read(self, line: bytes) -> ListRequest:
        return grammar.list_request(Cursor((line,)))

    def test_plain(self) -> None:
        self.assertEqual(self.read(b' "" *'), ListRequest("", ("*",)))

    def test_extended(self) -> None:
        for line, expected in (
            (b' () "" *', ListRequest("", ("*",), is_extended=True)),
            (b' "" (*)', ListRequest("", ("*",), is_extended=True)),
            (b' "" * RETURN ()', ListRequest("", ("*",), is_extended=True)),
            (b' (special-use remote) "" *', ListRequest("", ("*",), only_special_use=True, is_extended=True)),
            (
                b' (RECURSIVEMATCH SUBSCRIBED) "" (a %) RETURN (CHILDREN SPECIAL-USE)',
                ListRequest("", ("a", "%"), True, False, True, True, True),
            ),
            (
                b' x % RETURN (MYRIGHTS SUBSCRIBED STATUS (messages size MESSAGES) METADATA ("/shared/A" /private/b))',
                ListRequest(
                    "x",
                    ("%",),
                    show_subscribed=True,
                    is_extended=True,
                    status=(b"MESSAGES", b"SIZE"),
                    rights=True,
                    metadata=("/shared/a", "/private/b"),
                ),
            ),
            (b' "" * RETURN (METADATA /shared/a)', ListRequest("", ("*",), is_extended=True, metadata=("/shared/a",))),
        ):
            self.assertEqual(self.read(line), expected, line)

    def test_refused(self) -> None:
        self.refuse(
            grammar.list_request,
            b' "" (' + b"a " * 100 + b"a)",
            b' "" ' + b"a" * 4001,
            b' ""',
            b' "" *  ',
            b' (X) "" *',
            b' (RECURSIVEMATCH) "" *',
            b' (RECURSIVEMATCH REMOTE) "" *',
            b' (RECURSIVEMATCH SPECIAL-USE) "" *',
            b' "" * RETURN (X)',
            b' "" * RETURN',
            b' "" * RETURN (STATUS)',
            b' "" * RETURN (STATUS ())',
            b' "" * RETURN (METADATA (nothing))',
            b' "" * RETURN (METADATA ())',
            b' "" * RETURN (CHILDREN',
            b' "" ()',
        )

    def test_status(self) -> None:
        line = b" x (messages unseen MESSAGES)"
        self.assertEqual(grammar.status(Cursor((line,))), ("x", (b"MESSAGES", b"UNSEEN")))
        self.refuse(grammar.status, b" x", b" x ()", b" x (MESSAGES", b" x MESSAGES", b" x (MESSAGES) y")


class Quotas(Reading):
    def test_setquota(self) -> None:
        read = grammar.set_quota(Cursor((b' "" (storage 512 MESSAGE 9223372036854775807)',)))
        self.assertEqual(read, ("", {b"STORAGE": 512, b"MESSAGE": 2**63 - 1}))
        self.assertEqual(grammar.set_quota(Cursor((b' "a b" ()',))), ("a b", {}))
        too_large = b' "" (STORAGE 9223372036854775808)'
        self.refuse(grammar.set_quota, b' ""', b' "" (STORAGE)', b' "" (STORAGE x)', b' "" (STORAGE -1)', too_large)


class Metadata(Reading):
    def test_getmetadata(self) -> None:
        for line, expected in (
            (b' "" /shared/Comment', GetMetadata("", ("/shared/comment",))),
            (b" inbox (/shared/a /private/b)", GetMetadata("INBOX", ("/shared/a", "/private/b"))),
            (b" (MAXSIZE 1024) x /shared/a", GetMetadata("x", ("/shared/a",), 1024)),
            (b" (depth infinity maxsize 0) x /private", GetMetadata("x", ("/private",), 0, None)),
            (b" x (DEPTH 1) (/shared/a)", GetMetadata("x", ("/shared/a",), None, 1)),
        ):
            self.assertEqual(grammar.get_metadata(Cursor((line,))), expected, line)
        self.refuse(
            grammar.get_metadata,
            b" x",
            b" x ()",
            b" x comment",
            b" x /other/a",
            b" x /shared//a",
            b" x /shared/a/",
            b" x /shared/%",
            b' x "/shared/*"',
            b' x "/shared/\xc3\xa4"',
            b" (DEPTH 2) x /shared/a",
            b" (MAXSIZE) x /shared/a",
            b" (X 1) x /shared/a",
            b" () x /shared/a",
            b" x (" + b" ".join(b"/shared/%d" % number for number in range(201)) + b")",
        )

    def test_setmetadata(self) -> None:
        pieces: list[bytes | Literal] = [b" x (/shared/A ", Literal(b"\0\xff", True), b' /private/b NIL /private/c "")']
        expected = {"/shared/a": b"\0\xff", "/private/b": None, "/private/c": b""}
        self.assertEqual(grammar.set_metadata(Cursor(pieces)), ("x", expected))
        self.assertRaises(BadSyntax, grammar.set_metadata, Cursor([b" x (/shared/a ", Literal(b"\0"), b")"]))
        self.refuse(
            grammar.set_metadata, b" x ()", b" x /shared/a b", b" x (/shared/a)", b" x (/shared/a b)", b' x (/a "")',
            b' x (/shared/a "") y',
        )  # fmt: skip


READERS = [
    grammar.create, grammar.rename, grammar.list_request, grammar.lsub_request, grammar.status, grammar.set_access,
    grammar.mailbox_and_identifier, grammar.quota_root, grammar.set_quota, grammar.get_metadata, grammar.set_metadata,
]  # fmt: skip
WORDS = st.sampled_from(
    [
        b" ", b'""', b"(", b")", b"*", b"%", b"INBOX", b"NIL", b" RETURN (", b"(USE (\\Sent))", b"STATUS (",
        b"METADATA ", b"/shared/a", b"(DEPTH 1)", b"STORAGE 5", b"\xc3", b"&",
    ]
)  # fmt: skip
PIECE = st.binary(max_size=20) | st.lists(WORDS, max_size=8).map(b"".join)


class Anything(SynchronousTestCase):
    @given(st.sampled_from(READERS), st.lists(PIECE | PIECE.map(Literal), max_size=5), st.booleans())
    def test_nothing_but_a_refusal_is_raised(
        self, reader: Callable[[Cursor], Any], pieces: list[bytes | Literal], utf8: bool
    ) -> None:
        try:
            reader(Cursor(pieces, 0, utf8))
        except (BadSyntax, grammar.UseRefused) as broken:
            self.assertTrue(str(broken))
