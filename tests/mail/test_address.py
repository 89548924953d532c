"""Addresses as the envelope carries them, and the two forms of their domains."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address import Address, ascii_domain, normalise_domain
from mailfw.mail.srs import reverse, rewrite
from mailfw.smtp.grammar import parse_rcpt

#: A-labels and what they are: of both standards, of the younger alone, and of the older alone.
PAIRS = (
    ("xn--mnchen-3ya.de", "münchen.de"),
    ("xn--fa-hia.de", "faß.de"),
    ("xn--nxasmm1c.example", "βόλος.example"),
    ("xn--n3h.net", "☃.net"),
    ("a.xn--fa-hia.xn--mnchen-3ya.de", "a.faß.münchen.de"),
)


class DomainTests(SynchronousTestCase):
    def test_both_forms_are_one(self) -> None:
        for written, normal in PAIRS:
            self.assertEqual(normalise_domain(written.upper() + "."), normal)
            self.assertEqual(normalise_domain(normal), normal)
            self.assertEqual(ascii_domain(normal), written)
            self.assertEqual(parse_rcpt(f"TO:<ann@{written}>")[0], Address("ann", normal))

    def test_what_is_no_label(self) -> None:
        for broken in ("xn--.de", "xn---.de", "xn--a.b", "xn--99999999.de", "xn--faß.de", "..", "b.."):
            self.assertRaises(ValueError, normalise_domain, broken)

    @given(st.text(alphabet="abß-ςxn1é\u200d.", max_size=12), st.text(alphabet="ab1-", max_size=8))
    def test_nothing_but_a_refusal(self, text: str, punycode: str) -> None:
        for domain in (text, f"xn--{punycode}", f"{text}.xn--{punycode}"):
            try:
                normal = normalise_domain(domain)
            except ValueError:
                continue
            self.assertEqual(normalise_domain(normal), normal)

    def test_a_rewritten_sender_leads_back(self) -> None:
        sender = Address("ann", "faß.de")
        rewritten = rewrite(sender, "example.org", b"secret", 1e9)
        self.assertIn("=xn--fa-hia.de=", rewritten.local)
        self.assertEqual(reverse(rewritten, b"secret", 1e9), sender)
