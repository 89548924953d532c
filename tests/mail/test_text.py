"""The text of parts, to search in."""

import base64
import time
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.text import decode_transfer, fold, html_to_text, part_text


class Folding(SynchronousTestCase):
    def test_alike(self) -> None:
        for one, other in (
            ("HELLO", "hello"),
            ("STRASSE", "straße"),
            ("e\u0301", "É"),
            ("한글", "\u1112\u1161\u11ab글"),
        ):
            self.assertEqual(fold(one), fold(other))

    @given(st.text(max_size=30))
    def test_twice_is_once(self, text: str) -> None:
        self.assertEqual(fold(fold(text)), fold(text))

    @given(st.text(st.sampled_from("a\u0301\u0316\u0344\u0345\u0f73\uff9e\u3099\u0130"), max_size=200))
    def test_crowds_of_marks(self, text: str) -> None:
        self.assertEqual(fold(fold(text)), fold(text))
        if len(text) <= 15:
            self.assertEqual(fold(text), _folded(text))

    def test_marks_in_disorder_take_no_time(self) -> None:
        began = time.process_time()
        for marks in ("\u0301\u0316", "\uff9e\u0316", "\u0344\u0316", "\u0f73\u0f71"):
            fold(marks * 100_000)
        self.assertLess(time.process_time() - began, 5)


def _folded(text: str) -> str:
    """Return what a text is folded to as long as nobody strews marks."""
    while (again := unicodedata.normalize("NFKC", text).casefold()) != text:
        text = again
    return text


class Decoding(SynchronousTestCase):
    def test_transfer(self) -> None:
        for octets, encoding, decoded in (
            (b"aGVs\r\nbG8=\r\n", "base64", b"hello"),
            (b"a=3Db=\r\nc", "quoted-printable", b"a=bc"),
            (b"as it is", "8bit", b"as it is"),
            (b"as it is", "x-own", b"as it is"),
        ):
            self.assertEqual(decode_transfer(octets, encoding), decoded)

    def test_korean_mail(self) -> None:
        octets = base64.encodebytes("서울에서 만나요".encode("euc-kr"))
        self.assertEqual(part_text(octets, "plain", "base64", "euc-kr"), "서울에서 만나요")

    def test_cut_off(self) -> None:
        octets = base64.b64encode("서울에서 만나요".encode("euc-kr"))[:11]
        self.assertTrue(part_text(octets, "plain", "base64", "euc-kr").startswith("서울에"))

    @given(st.binary(), st.sampled_from(["base64", "quoted-printable", "7bit"]), st.sampled_from(["html", "plain"]))
    def test_never_raises(self, octets: bytes, encoding: str, subtype: str) -> None:
        part_text(octets, subtype, encoding, "iso-2022-jp")


class Html(SynchronousTestCase):
    def test_what_a_reader_sees(self) -> None:
        for markup, text in (
            ("<p>a<b>b</b>c</p>", "abc"),
            ("a<br>b", "a b"),
            ("<td>a</td><td>b</td>", "a b"),
            ("a &amp; b &#54620;", "a & b 한"),
            ("<style>p {}</style>x<script>y</script >z", "x z"),
            ("a<!-- b -->c", "a c"),
            ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
            ("<a href='x > y'>link</a>", "y'>link"),
            ("<title>t</title>x", "x"),
            (f"a&#{'1' * 5000};b &#{'0' * 100}65;", "a\ufffdb A"),
        ):
            self.assertEqual(" ".join(html_to_text(markup).split()), text, markup)

    def test_charset_in_the_markup(self) -> None:
        markup = '<html><head><meta http-equiv=Content-Type content="text/html; charset=euc-kr"></head>한글'
        self.assertIn("한글", part_text(markup.encode("euc-kr"), "html", "8bit", "us-ascii"))

    def test_hostile_markup_takes_no_time(self) -> None:
        began = time.process_time()
        for piece in ("<", "<p ", "<!-", "<script", "<script>", "<meta ", "&#", "<!--", "</"):
            part_text((piece * (300_000 // len(piece))).encode(), "html", "7bit", "us-ascii")
        self.assertLess(time.process_time() - began, 10)
