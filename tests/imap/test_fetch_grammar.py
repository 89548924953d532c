"""The arguments of FETCH, as values."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap.grammar_fetch import FetchRequest, Item, Section, Text, fetch
from mailfw.imap.lexer import BadSyntax, Cursor, Literal

FAST = (Item.FLAGS, Item.DATE, Item.SIZE)


def read(text: bytes, *more: bytes | Literal) -> FetchRequest:
    return fetch(Cursor([b" 1 " + text, *more]))[1]


class Reading(SynchronousTestCase):
    def test_items(self) -> None:
        for text, items in (
            (b"FAST", FAST),
            (b"all", (*FAST, Item.ENVELOPE)),
            (b"FULL", (*FAST, Item.ENVELOPE, Item.BODY)),
            (b"UID", (Item.UID,)),
            (b"(uid flags)", (Item.UID, Item.FLAGS)),
            (b"(BODY BODYSTRUCTURE RFC822.SIZE)", (Item.BODY, Item.BODYSTRUCTURE, Item.SIZE)),
            (b"RFC822", (Section(b"RFC822"),)),
            (b"rfc822.header", (Section(b"RFC822.HEADER", Text.HEADER, peek=True),)),
            (b"RFC822.TEXT", (Section(b"RFC822.TEXT", Text.TEXT),)),
        ):
            self.assertEqual(read(text).items, items, text)

    def test_sections(self) -> None:
        names = frozenset((b"date", b"x y"))
        for text, section in (
            (b"BODY[]", Section(b"BODY[]")),
            (b"body.peek[]", Section(b"BODY[]", peek=True)),
            (b"BODY[]<5.10>", Section(b"BODY[]<5>", origin=5, length=10)),
            (b"BODY[header]", Section(b"BODY[HEADER]", Text.HEADER)),
            (b"BODY[TEXT]<0.1>", Section(b"BODY[TEXT]<0>", Text.TEXT, origin=0, length=1)),
            (b"BODY[1]", Section(b"BODY[1]", numbers=(1,))),
            (b"BODY[1.2.3]", Section(b"BODY[1.2.3]", numbers=(1, 2, 3))),
            (b"BODY[1.mime]", Section(b"BODY[1.MIME]", Text.MIME, (1,))),
            (b"BODY[2.1.HEADER]", Section(b"BODY[2.1.HEADER]", Text.HEADER, (2, 1))),
            (
                b'BODY[HEADER.FIELDS (Date "x y")]',
                Section(b'BODY[HEADER.FIELDS (Date "x y")]', Text.FIELDS, (), names),
            ),
            (
                b"BODY[3.header.fields.not (DATE)]",
                Section(b"BODY[3.HEADER.FIELDS.NOT (DATE)]", Text.FIELDS_NOT, (3,), frozenset((b"date",))),
            ),
        ):
            self.assertEqual(read(text).items, (section,), text)
            self.assertEqual(read(b"(" + text + b" UID)").items, (section, Item.UID), text)

    def test_field_name_in_a_literal(self) -> None:
        request = read(b"BODY[HEADER.FIELDS (", Literal(b"date"), b")]")
        self.assertEqual(
            request.items, (Section(b"BODY[HEADER.FIELDS (date)]", Text.FIELDS, (), frozenset((b"date",))),)
        )

    def test_refusals(self) -> None:
        for text in (
            b"",
            b"()",
            b"(FLAGS",
            b"FLAGS UID",
            b"(FLAGS  UID)",
            b"(FULL)",
            b"(FLAGS ALL)",
            b"NONSENSE",
            b"BODY[",
            b"BODY[0]",
            b"BODY[1.0]",
            b"BODY[1.]",
            b"BODY[MIME]",
            b"BODY[NONSENSE]",
            b"BODY[HEADER.FIELDS]",
            b"BODY[HEADER.FIELDS ()]",
            b"BODY[]<5>",
            b"BODY[]<5.0>",
            b"BODY[]<-1.5>",
            b"BODY[]<1.99999999999>",
            b"BODY.PEEK",
            b"BODY[" + b"1." * 300 + b"1]",
            b"(" + b" ".join([b"BODY[%d]" % number for number in range(1, 102)]) + b")",
            b"BODY[HEADER.FIELDS (" + b" ".join([b"to"] * 9000) + b")]",
            b"(" + b" ".join([b"BODY[HEADER.FIELDS (%b)]" % (b"%d" % n * 500) for n in range(10, 50)]) + b")",
        ):
            self.assertRaises(BadSyntax, read, text)

    def test_nothing_is_answered_twice(self) -> None:
        items = read(b"(" + b" ".join([b"BODYSTRUCTURE BODY[] FLAGS BODY[]<0.1>"] * 200) + b")").items
        self.assertEqual(len(items), 4)

    @given(st.text('BODYHEARFILS1.0[]<>() "{}x').map(str.encode) | st.binary())
    def test_nothing_but_refusals(self, text: bytes) -> None:
        with contextlib.suppress(BadSyntax):
            read(text)

    @given(
        st.sampled_from([b"", b"HEADER", b"TEXT", b"HEADER.FIELDS (A b)", b"MIME"]),
        st.lists(st.integers(1, 99), max_size=4),
        st.booleans(),
    )
    def test_the_label_reads_as_the_section(self, text: bytes, numbers: list[int], partial: bool) -> None:
        if text == b"MIME" and not numbers:
            return
        spec = b".".join([*(b"%d" % number for number in numbers), *([text] if text else [])])
        section = read(b"BODY[%b]" % spec + (b"<1.2>" if partial else b"")).items[0]
        assert isinstance(section, Section)
        self.assertEqual(section.label, b"BODY[%b]" % spec + (b"<1>" if partial else b""))
