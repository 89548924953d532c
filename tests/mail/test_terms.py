"""The text of a message, and the grams it is found by."""

from __future__ import annotations

import encodings
import unittest
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail import terms
from mailfw.mail.part_table import decode_parts
from mailfw.mail.sought import BodyHas, Condition, FieldHas, TextHas, holds
from mailfw.mail.summary import summarise
from mailfw.mail.terms import Clue, Section, Terms, clues, grams, is_told_by_clues, pieces, terms_of
from mailfw.mail.text import fold

SIGNS = "ab1_ -.@é한글어ᄒ\u1161\u11ab会議ｶﾞ\u3000\n😀ß"
TEXTS = st.text(st.sampled_from(SIGNS) | st.characters(), max_size=40)


def text_of(octets: bytes) -> Terms:
    return terms_of(decode_parts(summarise(octets).parts), lambda start, size: octets[start : start + size])


def has(found: Iterable[str], clue: Clue) -> bool:
    return any(gram.startswith(clue.gram) if clue.begins else gram == clue.gram for gram in found)


class Grams(SynchronousTestCase):
    @given(TEXTS, st.data())
    @settings(max_examples=500)
    def test_whatever_is_in_a_text_has_its_clues(self, text: str, data: st.DataObject) -> None:
        """No part of any text is lost: what its grams must be is among those of the text."""
        folded = fold(text)
        start = data.draw(st.integers(0, len(folded)))
        part = folded[start : data.draw(st.integers(start, len(folded)))]
        found = grams(folded)
        for clue in clues(part):
            self.assertTrue(has(found, clue), (folded, part, clue))

    @given(TEXTS, TEXTS)
    def test_what_clues_tell_alone(self, text: str, sought: str) -> None:
        text, sought = fold(text), fold(sought)[:2]
        if is_told_by_clues(sought):
            self.assertEqual(all(has(grams(text), clue) for clue in clues(sought)), sought in text)

    @given(TEXTS)
    def test_grams_are_words_to_the_index(self, text: str) -> None:
        """No gram has a character that parts words there, nor one that means something in a query."""
        for gram in grams(fold(text)):
            self.assertTrue(1 <= len(gram) <= 2)
            self.assertFalse([c for c in gram if c.isascii() and not c.isalnum()], gram)
            self.assertEqual(gram.encode().decode(), gram)

    def test_examples(self) -> None:
        self.assertEqual(grams("서버는 ok."), {"서버", "버는", "는", "ok", "k"})
        self.assertEqual(clues("서버"), [Clue("서버")])
        self.assertEqual(clues("버 o"), [Clue("버"), Clue("o", begins=True)])
        self.assertEqual(clues("@."), [])


class Messages(SynchronousTestCase):
    def check(self, octets: bytes, *conditions: Condition, nots: Iterable[Condition] = ()) -> Terms:
        found = text_of(octets)
        for condition in conditions:
            self.assertTrue(holds(condition, found), (condition, found))
        for condition in nots:
            self.assertFalse(holds(condition, found), (condition, found))
        return found

    def test_header(self) -> None:
        """Encoded words, raw octets of any charset, folds and lines that are no field."""
        octets = (
            b"Subject: =?ks_c_5601-1987?B?yLjAxw==?= =?utf-8?Q?_caf=C3=A9?=\r\n  over\r\n\tlines\r\n"
            b"X-Raw: \xc8\xb8\xc0\xc7\r\n"
            b"x-utf: \xed\x9a\x8c\xec\x9d\x98\r\n"
            b"x-bad: =?nothing?B?!!!?= =?utf-8?B?/w==?=\r\nno field\r\nx-empty:\r\n\r\n"
        )
        self.check(
            octets,
            FieldHas("subject", "회의 café over lines"),
            FieldHas("x-utf", "회의"),
            FieldHas("x-empty", ""),
            TextHas("x-bad: "),
            TextHas("no field"),
            nots=(FieldHas("x-empty", "x"), FieldHas("x", ""), BodyHas("회의"), TextHas("lines x-raw")),
        )

    def test_charsets(self) -> None:
        for charset, said, text in (
            ("euc-kr", "euc-kr", "서울에서 만나요"),
            ("cp949", "ks_c_5601-1987", "똠방각하"),
            ("iso-2022-jp", "iso-2022-jp", "東京で会議"),
            ("cp932", "shift_jis", "①会議"),
            ("gb18030", "gb2312", "我们在北京开会"),
            ("big5", "big5", "會議"),
            ("utf-16", "utf-16", "naïve 회의"),
            ("koi8-r", "koi8-r", "Совещание"),
            ("utf-8", "x-nobody-knows", "회의"),
            ("utf-8", "us-ascii", "회의"),
        ):
            octets = f"Content-Type: text/plain; charset={said}\r\n\r\n".encode() + text.encode(charset)
            self.check(octets, BodyHas(fold(text)))

    def test_within_a_message(self) -> None:
        inner = (
            b"Subject: inner =?utf-8?B?7ZqM7J2Y?=\r\nContent-Type: text/html\r\n\r\n"
            b"<p>Gr&uuml;&szlig;e<br>an<b>bei</b></p><script>no</script>"
        )
        octets = (
            b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nnobody reads this\r\n"
            b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n"
            b"--b\r\nContent-Type: application/pdf; name*=utf-8''%ED%9A%8C%EC%9D%98.pdf\r\n\r\nbinary\r\n"
            b"--b\r\nContent-Type: image/png\r\n"
            b'Content-Disposition: attachment; filename="=?utf-8?B?7IKs7KeE?=.png"\r\n\r\nx\r\n'
            b"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            b"aGVsbG8g!!!d29ybGQ\r\n--b--\r\n"
        )
        self.check(
            octets,
            BodyHas("inner 회의"),
            BodyHas("grüsse anbei"),
            BodyHas("hello world"),
            TextHas("회의.pdf"),
            TextHas("사진.png"),
            FieldHas("subject", "outer"),
            nots=(
                BodyHas("회의.pdf"),
                BodyHas("outer"),
                TextHas("nobody reads"),
                TextHas("binary"),
                BodyHas("no"),
                FieldHas("subject", "inner"),
                TextHas("outer inner"),
            ),
        )

    @given(
        st.binary(max_size=300),
        st.sampled_from(("plain", "html")),
        st.sampled_from(("7bit", "base64", "quoted-printable", "x")),
    )
    def test_never_raises(self, octets: bytes, subtype: str, encoding: str) -> None:
        head = f"Content-Type: text/{subtype}; charset=iso-2022-kr\r\nContent-Transfer-Encoding: {encoding}\r\n"
        found = text_of(octets + head.encode() + b"\r\n" + octets)
        for text in (found.head, found.body, found.rest):
            self.assertEqual("\n".join(map(fold, text.split("\n"))), text)
            self.assertNotIn("\0", text)

    def test_the_header_is_never_cut_off(self) -> None:
        subject = "\ufdfa".encode() * 80_000  # each is eighteen characters
        found = self.check(b"Subject: " + subject + b"\r\nX-Own: here\r\n\r\nbody", FieldHas("x-own", "here"))
        self.assertFalse(found.is_whole)

    def test_unknown_charsets_leave_nothing_behind(self) -> None:
        before = len(encodings._cache)  # where Python remembers them
        for number in range(100):
            for charset in (f"x-{number}", f"utf{'-' * number}8x", f"iso{'_' * number}8859-1"):
                self.check(f"Content-Type: text/plain; charset={charset}\r\n\r\nü".encode("latin-1"))
        self.assertLessEqual(len(encodings._cache), before + 2)

    def test_bounds(self) -> None:
        """However long a message, so many octets of it are read, and so much of its text is kept."""
        part = b"--b\r\nContent-Type: text/plain\r\n\r\n" + b"x" * terms.PART_LIMIT + b" end\r\n"
        octets = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 20 + b"--b--\r\n"
        root = decode_parts(summarise(octets).parts)
        self.assertEqual(
            sum(piece.size for piece in pieces(root) if piece.section is not Section.HEAD), terms.MESSAGE_LIMIT
        )
        self.assertTrue(all(piece.size <= terms.PART_LIMIT for piece in pieces(root)))
        found = text_of(octets)
        self.assertFalse(found.is_whole)
        self.assertLessEqual(len(found.head) + len(found.body) + len(found.rest), terms.KEPT)
        self.assertTrue(text_of(b"Subject: x\r\n\r\nshort").is_whole)


class Folds(unittest.TestCase):
    def test_alike(self) -> None:
        for one, other in (
            ("한글", "\u1112\u1161\u11ab\u1100\u1173\u11af"),
            ("CAFÉ", "cafe\u0301"),
            ("Straße", "STRASSE"),
            ("ﬁnd Ａ１", "FIND a1"),
            ("ｶﾞｷﾞ", "ガギ"),
            ("soft\u00adhyphen", "softhyphen"),
            ("zero\u200bwidth", "zerowidth"),
            ("a \r\n\t b", "a b"),
            ("a\u3000b\u00a0c", "a b c"),
            ("a\0b", "a b"),
        ):
            self.assertEqual(fold(one), fold(other))
        self.assertNotEqual(fold("cafe"), fold("café"))

    @given(st.text())
    def test_twice_is_once(self, text: str) -> None:
        self.assertEqual(fold(fold(text)), fold(text))
        self.assertNotIn("\n", fold(text))
        fold(text).encode()
