"""Content transfer encodings, undone piece by piece."""

import base64
import binascii
import quopri
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.decoding import decoder


def uuencoded(octets: bytes) -> bytes:
    lines = [binascii.b2a_uu(octets[at : at + 45]) for at in range(0, len(octets), 45)]
    return b"text before\r\nbegin 644 name\r\n" + b"".join(lines).replace(b"\n", b"\r\n") + b"`\r\nend\r\nbehind\r\n"


ENCODERS = {"base64": base64.encodebytes, "quoted-printable": quopri.encodestring, "x-uuencode": uuencoded}


def decode(encoding: str, octets: bytes, step: int = 10**9) -> bytes:
    decoding = decoder(encoding)
    assert decoding is not None
    return b"".join([decoding.feed(octets[at : at + step]) for at in range(0, len(octets), step)]) + decoding.close()


class Decoding(SynchronousTestCase):
    @given(st.binary(max_size=300), st.integers(1, 80))
    def test_what_was_encoded_comes_back(self, octets: bytes, step: int) -> None:
        for encoding, encode in ENCODERS.items():
            self.assertEqual(decode(encoding, encode(octets), step), octets)

    @given(st.binary(max_size=300), st.integers(1, 80))
    def test_no_octets_raise_and_no_split_matters(self, octets: bytes, step: int) -> None:
        for encoding in ("base64", "7bit"):
            self.assertEqual(decode(encoding, octets, step), decode(encoding, octets))
        for encoding in ("quoted-printable", "uuencode"):
            decode(encoding, octets, step)
            decode("uuencode", b"begin \n" + octets, step)

    def test_broken_base64(self) -> None:
        for octets, expected in (
            (b"aGVs\r\nbG8=", b"hello"),
            (b"aGVsbG8", b"hello"),
            (b"aG*V-s\0bG8=\r\n-- \r\nfooter", b"hello" + base64.b64decode("footer==")[:4]),
            (b"aGVsbG8=aGVsbG8=", b"hellohello"),
            (b"a", b""),
            (b"=====", b""),
            (b"aGVsb", b"hel"),
        ):
            self.assertEqual(decode("base64", octets), expected, octets)

    def test_broken_quoted_printable(self) -> None:
        for octets, expected in (
            (b"a=3Db=\r\nc=\nd", b"a=bcd"),
            (b"a=XYb", b"a=XYb"),
            (b"a=", b"a="),
            (b"a=4", b"a=4"),
            (b"a==41", b"a=A"),
            (b"=\rb", b"=\rb"),
        ):
            self.assertEqual(decode("quoted-printable", octets), expected, octets)
            self.assertEqual(decode("quoted-printable", octets, 1), expected, octets)

    def test_broken_uuencode(self) -> None:
        self.assertEqual(decode("x-uue", b"begin 644 x\n#86)C and more\n#86)C\n\xff\xff\n"), b"abcabc")
        self.assertEqual(decode("x-uue", b"no beginning\n#86)C\n"), b"")

    def test_nothing_is_gathered(self) -> None:
        tracemalloc.start()
        try:
            for encoding, piece in (
                ("base64", b"\xff" * 65536),
                ("quoted-printable", b"x" * 65536),
                ("uuencode", b"x" * 65536),
            ):
                decoding = decoder(encoding)
                assert decoding is not None
                for _ in range(300):
                    decoding.feed(piece)
            self.assertLess(tracemalloc.get_traced_memory()[0], 500_000)
        finally:
            tracemalloc.stop()

    def test_unknown(self) -> None:
        self.assertIsNone(decoder("x-rot13"))
