"""The beginnings of texts, from messages of every kind."""

from __future__ import annotations

import base64
import quopri
from email.message import EmailMessage
from email.policy import SMTP

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.preview import HTML_OCTETS, LENGTH, PLAIN_OCTETS, text_preview
from mailfw.mail.summary import Summariser, summarise

KOREAN = "안녕하세요. 회의는 내일 아침 아홉 시에 있습니다."


def of(octets: bytes) -> str:
    """Return a preview, having seen that it is the same in pieces of any size."""
    whole = summarise(octets).preview
    for size in (1, 7, 1000):
        summariser = Summariser()
        for start in range(0, len(octets), size):
            summariser.feed(octets[start : start + size])
        assert summariser.finish().preview == whole, size
    return whole


def simple(body: bytes, kind: str = "text/plain", encoding: str = "7bit") -> bytes:
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body


def multi(kind: str, *parts: bytes) -> bytes:
    body = b"".join(b"--=b\r\n" + part + b"\r\n" for part in parts)
    return f'Content-Type: multipart/{kind}; boundary="=b"\r\n\r\n'.encode() + body + b"--=b--\r\n"


class TextTests(SynchronousTestCase):
    def test_white_space_is_one_space(self) -> None:
        self.assertEqual(of(b"Subject: x\r\n\r\n Hello,\r\n\r\n\tAnn!  \r\n"), "Hello, Ann!")

    def test_encodings_and_charsets(self) -> None:
        for charset in ("utf-8", "euc-kr", "iso-2022-kr", "utf-16"):
            octets = KOREAN.encode(charset)
            kind = f"text/plain; charset={charset}"
            self.assertEqual(of(simple(base64.encodebytes(octets), kind, "base64")), KOREAN, charset)
            self.assertEqual(of(simple(quopri.encodestring(octets), kind, "quoted-printable")), KOREAN, charset)
        self.assertEqual(of(simple(KOREAN.encode(), "text/plain; charset=utf-8", "8bit")), KOREAN)

    def test_what_nobody_knows(self) -> None:
        self.assertEqual(of(simple(b"Gr\xfc\xdfe", "text/plain; charset=x-unheard-of", "8bit")), "Grüße")
        self.assertEqual(of(simple(b"SGVs!!bG8=\r\n*", "text/plain", "base64")), "Hello")
        self.assertEqual(of(simple(b"plain", "text/plain", "x-strange")), "plain")

    def test_length(self) -> None:
        for text in ("word " * 5000, "x" * 9000, "가" * 5000, "가 " * 5000, " " * 700 + "late"):
            found = of(simple(text.encode(), "text/plain; charset=utf-8", "8bit"))
            self.assertEqual(found, " ".join(text[:PLAIN_OCTETS].split())[:LENGTH].rstrip())

    def test_signatures(self) -> None:
        self.assertEqual(of(simple(b"Yes.\r\n-- \r\nAnn\r\n")), "Yes.")
        self.assertEqual(of(simple(b"-- \r\nAnn\r\n")), "")
        self.assertEqual(of(simple(b"a -- b\r\n--\r\nc")), "a -- b -- c")
        armored = b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nHello\r\n"
        self.assertEqual(of(simple(armored)), "Hello")

    def test_nothing_to_see(self) -> None:
        self.assertEqual(of(simple("\u200b\u200c \xad\ufeff Hi\r\n".encode(), "text/plain; charset=utf-8")), "Hi")
        self.assertEqual(of(simple(b"\x00\x01Hi\x1b[1m you")), "Hi [1m you")
        for empty in (b"", b"Subject: x\r\n\r\n", b"Subject: x", simple(b"\x89PNG", "image/png")):
            self.assertEqual(of(empty), "")

    def test_html(self) -> None:
        markup = (
            b"<html><head><title>T</title><style>p { color: red }</style></head><body><!-- no -->"
            b"<p>Caf&eacute; <b>n</b>oir</p><script>alert()</script><div>3 &lt; 4</div></body></html>"
        )
        self.assertEqual(of(simple(markup, "text/html")), "Café noir 3 < 4")
        styled = b"<style>" + b"x" * (HTML_OCTETS // 2) + b"</style>" + markup
        self.assertEqual(of(simple(styled, "text/html")), "Café noir 3 < 4")
        cut = b"<p>Hello</p>" + b"<img alt='" + b"x" * HTML_OCTETS
        self.assertEqual(of(simple(cut, "text/html")), "Hello")

    @given(
        st.binary(max_size=300),
        st.sampled_from(["plain", "html"]),
        st.sampled_from(["7bit", "base64", "quoted-printable", "x"]),
        st.sampled_from(["us-ascii", "utf-8", "utf-16", "iso-2022-jp", "utf-7", "hz", "nonsense"]),
    )
    def test_never_raises(self, octets: bytes, subtype: str, encoding: str, charset: str) -> None:
        found = text_preview(octets, subtype, encoding, charset)
        self.assertLessEqual(len(found), LENGTH)
        self.assertEqual(found, found.strip())
        self.assertNotIn("\n", found)


class PartTests(SynchronousTestCase):
    def test_alternatives(self) -> None:
        plain, html = simple(b"plain"), simple(b"<p>html", "text/html")
        self.assertEqual(of(multi("alternative", plain, html)), "plain")
        self.assertEqual(of(multi("alternative", html, plain)), "plain")
        self.assertEqual(of(multi("alternative", simple(b" \r\n"), html)), "html")

    def test_order(self) -> None:
        footer = simple(b"You receive this because of the list")
        self.assertEqual(of(multi("mixed", simple(b"<p>html", "text/html"), footer)), "html")
        self.assertEqual(of(multi("mixed", simple(b"\x89PNG", "image/png"), simple(b"text"))), "text")
        self.assertEqual(of(multi("signed", simple(b"text"), simple(b"x", "application/pgp-signature"))), "text")

    def test_attachments_and_messages_within(self) -> None:
        attached = b"Content-Disposition: attachment; filename=a.txt\r\n" + simple(b"not me")
        within = b"Content-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\nnor me\r\n"
        self.assertEqual(of(multi("mixed", attached, within, simple(b"me"))), "me")
        self.assertEqual(of(multi("mixed", attached, within)), "")
        self.assertEqual(of(within), "")

    def test_python_writes_it(self) -> None:
        made = EmailMessage(policy=SMTP)
        made.set_content(KOREAN + "\n", cte="base64")
        made.add_alternative(f"<p>{KOREAN}</p>", subtype="html")
        made.add_attachment(b"x" * 100_000, maintype="application", subtype="pdf", filename="a.pdf")
        self.assertEqual(of(made.as_bytes()[:20_000]), KOREAN)

    def test_memory_is_bounded(self) -> None:
        summariser = Summariser()
        summariser.feed(b"Content-Type: text/html\r\n\r\n")
        for _ in range(50):
            summariser.feed(b"<b>" * 10_000)
        [text] = summariser._scanner.texts
        self.assertEqual(len(text.octets), HTML_OCTETS)
