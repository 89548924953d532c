"""Encoded words, charsets and parameters."""

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.words import decode_b, decode_charset, decode_parameter, decode_words, find_codec


def word(text: str, charset: str, name: str = "") -> bytes:
    return b"=?%b?B?%b?=" % ((name or charset).encode(), base64.b64encode(text.encode(charset)))


class Words(SynchronousTestCase):
    def test_table(self) -> None:
        for value, text in (
            (b"", ""),
            (b"plain", "plain"),
            (b"=?utf-8?Q?caf=C3=A9?=", "café"),
            (b"=?UTF-8?B?8J+YgA==?= hi", "😀 hi"),
            (b"=?utf-8?q?a_b=5F?=", "a b_"),
            (b"x =?utf-8?q?a?= y =?utf-8?q?b?= z", "x a y b z"),
            (b"=?utf-8?q?a?=  =?iso-8859-1?q?=E9?=", "aé"),
            (b"=?utf-8?B?7Q==?= =?utf-8?B?lZw=?=", "한"),  # cut within a character
            (b"=?utf-8*ko?q?a?=", "a"),
            (b"=?utf-8?B?w6k?=", "é"),  # without padding
            (b"=?utf-8?q?a b?=", "a b"),
            (b'"=?utf-8?q?a?=" <a@b>', '"a" <a@b>'),
            (b"=?nobody?q?=C3=A9?=", "é"),
            (b"=?nobody?q?=E9?=", "é"),
            (b"=?utf-8?q?=FF?=", "\ufffd"),
            (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
            (b"=?utf-8?q?a", "=?utf-8?q?a"),
            (b"caf\xc3\xa9", "café"),
            (b"caf\xe9", "caf\ufffd"),
        ):
            self.assertEqual(decode_words(value), text, value)

    def test_korean_and_its_neighbours(self) -> None:
        for text, charset, name in (
            ("안녕하세요", "euc-kr", "EUC-KR"),
            ("안녕하세요", "euc-kr", "ks_c_5601-1987"),
            ("펲똠", "cp949", "euc-kr"),  # what programs send that call CP949 so
            ("안녕하세요", "iso2022_kr", "iso-2022-kr"),
            ("日本語", "iso2022_jp", "ISO-2022-JP"),
            ("日本語", "cp932", "shift_jis"),
            ("汉语", "gb2312", "gb2312"),
            ("镕", "gbk", "gb2312"),
            ("漢語", "big5", "Big5"),
            ("Привет", "koi8-r", "KOI8-R"),
        ):
            self.assertEqual(decode_words(word(text, charset, name)), text, name)

    @given(st.binary(max_size=60))
    def test_never_raises(self, octets: bytes) -> None:
        decode_words(octets)
        decode_words(b"=?utf-8?B?" + octets + b"?= =?iso-2022-kr?Q?" + octets + b"?=")

    @given(st.text(max_size=40), st.sampled_from(["utf-8", "utf-7", "utf-16", "utf-32"]))
    def test_what_is_encoded_is_decoded(self, text: str, charset: str) -> None:
        text = text.encode("utf-8", "ignore").decode()
        if not text or text.startswith("\ufeff"):
            return
        self.assertEqual(decode_words(word(text, charset)), text)


class Charsets(SynchronousTestCase):
    def test_only_charsets_for_text(self) -> None:
        for name in ("base64", "zlib", "rot13", "idna", "punycode", "unicode_escape", "nonsense", "a\0b", ""):
            self.assertIsNone(find_codec(name), name)
        for name in ("utf-8", '"UTF-8"', "KS_C_5601-1987", "windows-1252"):
            self.assertIsNotNone(find_codec(name), name)

    def test_ascii_that_is_none(self) -> None:
        self.assertEqual(decode_charset(b"caf\xc3\xa9", "us-ascii"), "café")

    def test_wide_charsets(self) -> None:
        self.assertEqual(decode_charset("ab".encode("utf-16"), "utf-16"), "ab")
        self.assertEqual(decode_charset(b"a\0b\0", "utf-16le"), "ab")

    @given(st.binary(), st.sampled_from(["utf-8", "iso-2022-kr", "iso-2022-jp", "hz", "utf-7", "utf-16", "cp949", "x"]))
    def test_never_raises(self, octets: bytes, charset: str) -> None:
        decode_charset(octets, charset)


class Parameters(SynchronousTestCase):
    def test_table(self) -> None:
        for parameters, text in (
            ((("filename", "a.txt"),), "a.txt"),
            ((("FILENAME", "a.txt"),), "a.txt"),
            ((("filename", "=?utf-8?q?caf=C3=A9?="),), "café"),
            ((("filename*", "utf-8'ko'%ED%95%9C.txt"),), "한.txt"),
            ((("filename", "x"), ("filename*", "utf-8''%ED%95%9C")), "한"),
            ((("filename*1", "b"), ("filename*0", "a")), "ab"),
            ((("filename*0*", "euc-kr''%C7"), ("filename*1*", "%D1.t"), ("filename*2", "xt")), "한.txt"),
            ((("filename*0", "a"), ("filename*2", "c")), "a"),
            ((("filename*x", "a"),), None),
            ((("name", "a"),), None),
        ):
            self.assertEqual(decode_parameter(parameters, "filename"), text, parameters)


class Base64(SynchronousTestCase):
    def test_forgives(self) -> None:
        for octets, decoded in (
            (b"aGk=", b"hi"),
            (b"aG\r\nk", b"hi"),
            (b"aGkx*", b"hi1"),
            (b"a", b""),
            (b"aGk=!", b"hi"),
        ):
            self.assertEqual(decode_b(octets), decoded, octets)

    @given(st.binary())
    def test_round_trip(self, octets: bytes) -> None:
        self.assertEqual(decode_b(base64.encodebytes(octets)), octets)
