"""xtext and unitext, there and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.xtext import decode_unitext, decode_xtext, encode_unitext, encode_xtext

PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1)


class XtextTests(SynchronousTestCase):
    def test_examples(self) -> None:
        for text, encoded in [("a+b=c", "a+2Bb+3Dc"), ("an id", "an+20id"), ("Ann", "Ann"), ("", "")]:
            self.assertEqual(encode_xtext(text), encoded)
            self.assertEqual(decode_xtext(encoded), text)

    def test_refused(self) -> None:
        for encoded in ("+", "+2", "+2b", "a b", "a=b", "ü", "+0A", "+0D+0A", "+00", "+1B", "+7F", "+FF", "+C2+85"):
            self.assertRaises(ValueError, decode_xtext, encoded)
        self.assertRaises(ValueError, decode_xtext, "+E2+80+A8")  # U+2028 ends a line for some

    @given(PRINTABLE)
    def test_there_and_back(self, text: str) -> None:
        self.assertEqual(decode_xtext(encode_xtext(text)), text)

    @given(st.text())
    def test_nothing_else_is_raised(self, text: str) -> None:
        for decode in (decode_xtext, decode_unitext):
            try:
                decoded = decode(text)
            except ValueError:
                continue
            self.assertFalse(set(decoded) & set("\r\n\0\x85\u2028\u2029"))


class UnitextTests(SynchronousTestCase):
    def test_examples(self) -> None:
        self.assertEqual(encode_unitext("jürgen+x@bücher.example", False), r"j\x{FC}rgen\x{2B}x@b\x{FC}cher.example")
        self.assertEqual(encode_unitext("jürgen+x@bücher.example", True), r"jürgen\x{2B}x@bücher.example")

    def test_refused(self) -> None:
        for encoded in (
            "",
            "a+b",
            "a=b",
            "a\\b",
            r"\x{0A}",
            r"\x{0D}",
            r"\x{00}",
            r"\x{D800}",
            r"\x{110000}",
            r"\x{fc}",
        ):
            self.assertRaises(ValueError, decode_unitext, encoded)

    @given(PRINTABLE, st.booleans())
    def test_there_and_back(self, text: str, utf8: bool) -> None:
        encoded = encode_unitext(text, utf8)
        self.assertTrue(utf8 or encoded.isascii())
        self.assertEqual(decode_unitext(encoded), text)
