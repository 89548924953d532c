from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mailfw.mail.fields import field_value, parse_parameters
from mailfw.mail.mime import Part, Scanner
from mailfw.mail.plain_fields import plain_field
from mailfw.mail.seven_bit import SevenBit
from mailfw.mail.text import decode_transfer
from mailfw.mail.transfer import is_seven_bit
from mailfw.mail.words import decode_parameter, decode_words


def convert(octets: bytes, cut: int = 0) -> bytes:
    converter = SevenBit()
    pieces = [octets[at : at + cut] for at in range(0, len(octets), cut)] if cut else [octets]
    return b"".join([converter.feed(piece) for piece in pieces]) + converter.close()


def leaves(message: Message) -> list[bytes]:
    """Return what the leaves hold, as the standard library decodes them."""
    return [
        part.get_payload(decode=True)  # type: ignore[misc]  # octets, for a leaf
        for part in message.walk()
        if not part.is_multipart()
    ]


def parts(octets: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the type and the decoded octets of each leaf, as our own scanner finds them."""
    scanner = Scanner()
    scanner.feed(octets)
    yield from _parts(octets, scanner.finish())


def _parts(octets: bytes, part: Part) -> Iterator[tuple[str, bytes]]:
    if part.children:
        for child in part.children:
            yield from _parts(octets, child)
    elif not part.is_multipart:
        body = octets[part.body_start : part.body_start + part.body_size]
        yield f"{part.type}/{part.subtype}", decode_transfer(body, part.encoding)


class Case(SynchronousTestCase):
    def converted(self, octets: bytes) -> bytes:
        result = convert(octets)
        self.assertTrue(is_seven_bit(result), result[:2000])
        return result

    def same(self, octets: bytes) -> bytes:
        result = self.converted(octets)
        self.assertEqual(leaves(email.message_from_bytes(result)), leaves(email.message_from_bytes(octets)))
        return result


KOREAN = "안녕하세요. 내일 만나요.\r\n".encode()
GERMAN = "Grüße aus dem Süden, und bis bald, Ihr Müller.\r\n".encode()


class PartTests(Case):
    def test_a_text(self) -> None:
        result = self.same(
            b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n" + GERMAN
        )
        self.assertIn(b"\r\nContent-Transfer-Encoding: quoted-printable\r\n", result)
        self.assertIn(b"\r\nX-MIME-Autoconverted: from 8bit to quoted-printable by mailfw\r\n", result)
        self.assertIn(b"Gr=C3=BC=C3=9Fe aus", result)
        self.assertEqual(result.count(b"Content-Transfer-Encoding:"), 1)
        self.assertEqual(result.count(b"MIME-Version:"), 1)

    def test_a_text_that_is_mostly_eight_bits(self) -> None:
        result = self.same(b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + KOREAN * 20)
        self.assertIn(b"Content-Transfer-Encoding: base64\r\n", result)
        self.assertTrue(result.endswith(b"\r\n"))

    def test_a_message_that_is_no_mime_becomes_some(self) -> None:
        result = self.same(b"Subject: x\r\n\r\n" + GERMAN)
        self.assertIn(b"MIME-Version: 1.0\r\n", result)
        self.assertIn(b"Content-Type: text/plain; charset=utf-8\r\n", result)
        self.assertIn(
            b"charset=unknown-8bit\r\n", self.same(b"Subject: x\r\n\r\nGr\xfc\xdfe an alle, hier ist es warm\r\n")
        )

    def test_seven_bits_stay(self) -> None:
        for message in (
            b"Subject: x\r\n\r\nHello\r\n",
            b"Subject: x\r\n\r\n",
            b"Subject: x\r\nContent-Transfer-Encoding: base64\r\nMIME-Version: 1.0\r\n\r\nAAAA\r\n",
            (
                b"Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\none\r\n"
                b"--b\r\n\r\ntwo\r\n--b--\r\nend"
            ),
        ):
            self.assertEqual(self.converted(message), message)

    def test_eight_bit_that_is_not(self) -> None:
        result = self.same(b"Content-Transfer-Encoding: 8bit\r\n\r\nHello\r\n")
        self.assertEqual(result, b"Content-Transfer-Encoding: 7bit\r\nMIME-Version: 1.0\r\n\r\nHello\r\n")

    def test_octets(self) -> None:
        result = self.same(
            b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
            + bytes(range(256)) * 9
        )
        self.assertIn(b"Content-Transfer-Encoding: base64", result)

    def test_a_large_attachment(self) -> None:
        octets = bytes(range(255)) * 1000
        message = (
            b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n"
            b"--b\r\nContent-Type: image/x\r\nContent-Transfer-Encoding: binary\r\n\r\n" + octets + b"\r\n--b--\r\n"
        )
        self.assertEqual([each for _, each in parts(self.converted(message))], [octets])

    def test_a_large_text_that_says_it_is_seven_bits_and_turns_out_not_to_be(self) -> None:
        text = b"All is well.\r\n" * 9000 + GERMAN
        result = self.same(b"Content-Type: text/plain\r\n\r\n" + text)
        self.assertIn(b"quoted-printable", result)

    def test_lines_that_are_too_long(self) -> None:
        self.same(b"Content-Type: text/plain\r\n\r\n" + b"x" * 5000 + b"\r\n" + b"--y " * 3000 + b"\r\n")

    def test_an_encoding_that_lies(self) -> None:
        self.assertEqual(
            [
                each
                for _, each in parts(self.converted(b"Content-Transfer-Encoding: base64\r\n\r\nAA\xffAA" + b"A" * 4000))
            ],
            [b"\0" * 3003],
        )
        self.same(b"Content-Transfer-Encoding: quoted-printable\r\n\r\nM\xc3\xbc=C3=BC" + b"=41" * 1000 + b"\r\n")

    def test_an_encoding_nobody_knows(self) -> None:
        result = self.same(b"Content-Transfer-Encoding: x-odd\r\n\r\nbegin 644 \xff\r\n")
        self.assertIn(b"X-MIME-Autoconverted: from x-odd to base64 by mailfw\r\n", result)


class TreeTests(Case):
    def test_parts_within_parts(self) -> None:
        message = (
            b"Content-Type: multipart/mixed; boundary=outer\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            b"pre\xc3\xbcamble\r\n--outer\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n"
            b"--inner\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + GERMAN + b"\r\n--inner\r\n"
            b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<p>" + KOREAN + b"\r\n"
            b"--inner--\r\n--outer\r\n\r\nplain\r\n--outer\r\nContent-Type: image/png\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\niVBORw0K\r\n--outer--\r\nepi\xffogue\r\n"
        )
        result = self.same(message)
        self.assertIn(b"boundary=outer\r\nContent-Transfer-Encoding: 7bit\r\nMIME-Version: 1.0\r\n\r\n", result)
        self.assertEqual(result.count(b"X-MIME-Autoconverted"), 2)
        self.assertIn(b"\r\nplain\r\n", result)
        self.assertIn(b"\r\niVBORw0K\r\n", result)
        self.assertEqual(list(parts(result)), list(parts(message)))

    def test_a_message_within(self) -> None:
        inner = "Subject: Größe\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n".encode() + GERMAN
        message = (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n" + inner + b"--b--\r\n"
        )
        result = self.same(message)
        self.assertIn(
            b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: =?utf-8?B?", result
        )
        self.assertEqual(list(parts(result)), list(parts(message)))

    def test_a_digest(self) -> None:
        message = (
            b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: a\r\n\r\n" + GERMAN + b"\r\n--b\r\n"
            b"Content-Type: text/plain\r\n\r\n" + GERMAN + b"\r\n--b--\r\n"
        )
        self.assertEqual(list(parts(self.same(message))), list(parts(message)))

    def test_a_report_of_other_alphabets(self) -> None:
        message = (
            "Content-Type: message/global-delivery-status\r\n\r\nFinal-Recipient: utf-8; 하늘@예시.한국\r\n".encode()
        )
        result = self.converted(message)
        self.assertIn(b"Content-Transfer-Encoding: quoted-printable\r\n", result)
        self.assertEqual(list(parts(result)), list(parts(message)))

    def test_a_signature_that_breaks_is_noted(self) -> None:
        message = (
            b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n%b"
            b"\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nsigned\r\n--b--\r\n"
        )
        for text, broke in ((GERMAN, True), (b"Hello", False)):
            converter = SevenBit()
            result = converter.feed(message % text) + converter.close()
            self.assertEqual(converter.broke_signature, broke)
            self.assertEqual(b"quoted-printable by mailfw; breaks the signature around it\r\n" in result, broke)
        self.assertEqual(result, message % b"Hello")

    def test_what_is_no_mime_after_all(self) -> None:
        for message in (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + GERMAN + b"no delimiter\r\n",
            b"Content-Type: multipart/mixed\r\n\r\n" + GERMAN,
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"preamble\r\n" * 9000 + b"--b\r\n\r\n" + GERMAN,
            b"Content-Type: multipart/mixed; boundary=" + b"b" * 2000 + b"\r\n\r\n--b\r\n\r\n" + GERMAN,
        ):
            result = self.converted(message)
            self.assertIn(b"X-Broken-Content-Type: multipart/mixed", result)
            body = message.partition(b"\r\n\r\n")[2]
            self.assertEqual(list(parts(result)), [("text/plain", body)])

    def test_a_part_without_an_end(self) -> None:
        message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n" + GERMAN
        self.same(message)
        self.same(message + b"--b\r\nContent-Type: x/y\r\n--b--")

    def test_no_part_can_be_forged_by_our_line_breaks(self) -> None:
        line = b"x" * 75 + b"--b\r\n\r\n"
        for offset in range(80):
            message = (
                b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\xff"
                + b"y" * offset
                + line
                + b"\r\n--b--\r\n"
            )
            self.assertEqual(list(parts(self.converted(message))), list(parts(message)))

    def test_very_deep_ones(self) -> None:
        deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(300))
        self.assertTrue(is_seven_bit(convert(deep + b"\r\n" + GERMAN)))
        deep = b"Content-Type: message/rfc822\r\n\r\n" * 300
        self.assertTrue(is_seven_bit(convert(deep + b"\r\n" + GERMAN)))


class FieldTests(SynchronousTestCase):
    def test_text_becomes_encoded_words(self) -> None:
        for text in ("Größe", "안녕하세요 여러분 " * 30, "a é b", "é\r\n è ê", "(Müller)", "x" * 2000 + " é"):
            raw = f"Subject: {text}\r\n".encode()
            written = plain_field(raw)
            self.assertTrue(is_seven_bit(written), written)
            self.assertEqual("".join(decode_words(field_value(written)).split()), "".join(text.split()))
        self.assertEqual(decode_words(field_value(plain_field("Subject: é\r\n è e ê\r\n".encode()))), "é è e ê")

    def test_addresses_stay_addresses(self) -> None:
        raw = 'To: "Müller, Jürgen" <j@example.org>, Zoë <z@example.org>\r\n'.encode()
        message: Any = email.message_from_bytes(plain_field(raw) + b"\r\n", policy=email.policy.default)
        self.assertEqual(
            [(one.display_name, one.addr_spec) for one in message["To"].addresses],
            [("Müller, Jürgen", "j@example.org"), ("Zoë", "z@example.org")],
        )

    def test_parameters(self) -> None:
        for value in ('attachment; filename="Größe (1).txt"; size=1', "attachment; filename=Größe (1).txt; size=1"):
            written = plain_field(f"Content-Disposition: {value}\r\n".encode())
            self.assertTrue(is_seven_bit(written) and written.endswith(b"\r\n"))
            _, parameters = parse_parameters(field_value(written))
            self.assertEqual(decode_parameter(parameters, "filename"), "Größe (1).txt")
            self.assertEqual(decode_parameter(parameters, "size"), "1")

    def test_what_nobody_knows_stays_what_it_was(self) -> None:
        written = plain_field(b"Subject: Gr\xfc\xdfe\r\n")
        self.assertIn(b"=?unknown-8bit?B?", written)
        self.assertEqual(decode_words(field_value(written)), decode_words(b"Gr\xfc\xdfe"))

    def test_what_is_plain_stays(self) -> None:
        for raw in (b"Subject: x\r\n", b"X: a\r\n\tb\r\n", b'To: "a" <b@c>, d\r\n', b"no field\r\n"):
            self.assertEqual(plain_field(raw), raw)

    def test_line_ends_and_long_lines_are_mended(self) -> None:
        self.assertEqual(plain_field(b"X: a\n b\n"), b"X: a\r\n b\r\n")
        self.assertEqual(plain_field(b"X: a\rb\0c\r\n"), b"X: a b c\r\n")
        self.assertTrue(is_seven_bit(plain_field(b"X: " + b"y" * 5000 + b"\r\n")))
        long = plain_field(b"X: " + b"word " * 900 + b"\r\n")
        self.assertEqual(field_value(long).split(), [b"word"] * 900)

    @given(st.binary(max_size=200), st.sampled_from([b"Subject", b"Content-Type", b"To", b"M\xc3\xbc", b""]))
    def test_whatever_it_is_it_becomes_one_plain_field(self, value: bytes, name: bytes) -> None:
        written = plain_field(name + b": " + value.replace(b"\n", b"\n ") + b"\r\n")
        self.assertTrue(is_seven_bit(written), written)
        self.assertTrue(all(line[:1] in (b" ", b"\t") for line in written.split(b"\r\n")[1:-1]), written)

    def test_costs_no_more_than_its_length(self) -> None:
        for piece in (b"a", b'"', b'\\"', b";", b"; a=", b" ", b"(", b"\xff", b"a\xff", b'"\xff" ', b";\xff="):
            for name in (b"Subject: ", b"Content-Type: "):
                plain_field(name + piece * (64 * 1024 // len(piece)) + b" \xc3\xa9\r\n")


LINES = st.one_of(
    st.sampled_from(
        [
            b"--b\r\n",
            b"--b--\r\n",
            b"--c\r\n",
            b"--c--\r\n",
            b"\r\n",
            b"\r\n",
            b"Content-Type: multipart/mixed; boundary=b\r\n",
            b"Content-Type: multipart/signed; boundary=c\r\n",
            b"Content-Type: multipart/digest; boundary=c\r\n",
            b"Content-Type: message/rfc822\r\n",
            b"Content-Type: text/html; charset=utf-8\r\n",
            b"Content-Type: application/x\r\n",
            b"Content-Transfer-Encoding: 8bit\r\n",
            b"Content-Transfer-Encoding: binary\r\n",
            b"Content-Transfer-Encoding: base64\r\n",
            b"Subject: \xc3\xbc\r\n",
            b" folded\r\n",
            b"x" * 9000,
            b"\xff" * 1200,
            KOREAN,
            GERMAN,
            b"bare\n",
            b"\r",
        ]
    ),
    st.binary(max_size=30),
)


class AnyMessageTests(Case):
    @given(st.lists(LINES, max_size=25).map(b"".join), st.integers(1, 9000))
    def test_any_octets_in_any_pieces(self, octets: bytes, cut: int) -> None:
        self.assertEqual(convert(octets, cut), self.converted(octets))

    @given(
        st.recursive(
            st.tuples(
                st.sampled_from([b"text/plain; charset=utf-8", b"text/html", b"application/x", b"image/png"]),
                st.sampled_from([b"", b"7bit", b"8bit", b"binary"]),
                st.lists(st.one_of(st.binary(max_size=60), st.just(b"\r\n"), st.just(b"--x" * 600)), max_size=6).map(
                    b"".join
                ),
            ),
            lambda inner: st.lists(inner, min_size=1, max_size=3),
            max_leaves=6,
        )
    )
    def test_every_part_means_the_same(self, tree: Any) -> None:
        message = written(tree, 0)
        result = self.converted(message)
        self.assertEqual(list(parts(result)), list(parts(message)))

    def test_real_messages(self) -> None:
        corpus = Path(__file__).parent.parent.parent.parent / "shared" / "corpus"
        if not corpus.is_dir():
            raise SkipTest("There is no ../shared/corpus beside the checkout")
        for path in sorted(corpus.rglob("*.eml")):
            octets = re.sub(rb"\r?\n", b"\r\n", path.read_bytes())
            result = self.converted(octets)
            self.assertEqual(convert(octets, 997), result)
            self.assertEqual(list(parts(result)), list(parts(octets)), path.name)


def written(tree: Any, depth: int) -> bytes:
    """Write a tree of parts as a message."""
    if isinstance(tree, list):
        boundary = b"boundary-%d" % depth
        inner = b"".join(b"--" + boundary + b"\r\n" + written(each, depth + 1) + b"\r\n" for each in tree)
        return b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n%b--%b--\r\n" % (boundary, inner, boundary)
    kind, encoding, body = tree
    stated = b"Content-Transfer-Encoding: %b\r\n" % encoding if encoding else b""
    return b"Content-Type: %b\r\n%b\r\n%b" % (kind, stated, body)
