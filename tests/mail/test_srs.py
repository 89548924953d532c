from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address import Address
from mailfw.mail.srs import Forged, NotSRS, reverse, rewrite

SECRET = b"a secret of this site"
NOW = 1_767_605_400.0
DAY = 86_400.0
ANN = Address("Ann", "example.org")

LOCALS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=("Cs", "Cc")), min_size=1, max_size=40
)


class RewritingTests(SynchronousTestCase):
    def test_the_form_that_forwarders_know(self) -> None:
        local = rewrite(ANN, "forward.example", SECRET, NOW).local
        self.assertRegex(local, r"^SRS0=[A-Z2-7]{6}=[A-Z2-7]{2}=example\.org=Ann$")

    def test_our_own_sender_stays(self) -> None:
        self.assertEqual(rewrite(ANN, "example.org", SECRET, NOW), ANN)

    def test_it_leads_back(self) -> None:
        forwarded = rewrite(ANN, "forward.example", SECRET, NOW)
        self.assertEqual(forwarded.domain, "forward.example")
        self.assertEqual(reverse(forwarded, SECRET, NOW + 5 * DAY), ANN)

    def test_letters_may_change_their_case_on_the_way(self) -> None:
        forwarded = rewrite(ANN, "forward.example", SECRET, NOW)
        self.assertEqual(reverse(Address(forwarded.local.lower(), "x"), SECRET, NOW), Address("ann", "example.org"))
        self.assertEqual(reverse(Address(forwarded.local.upper(), "x"), SECRET, NOW), Address("ANN", "example.org"))

    def test_a_chain_leads_back_to_the_first_forwarder(self) -> None:
        first = rewrite(ANN, "first.example", SECRET, NOW)
        second = rewrite(first, "second.example", b"another", NOW)
        self.assertRegex(second.local, r"^SRS1=[A-Z2-7]{6}=first\.example==[A-Z2-7]{6}=..=example\.org=Ann$")
        third = rewrite(second, "third.example", b"a third", NOW)
        self.assertRegex(third.local, r"^SRS1=[A-Z2-7]{6}=first\.example==[A-Z2-7]{6}=..=example\.org=Ann$")
        self.assertEqual(reverse(third, b"a third", NOW), first)
        self.assertEqual(reverse(second, b"another", NOW), first)
        self.assertEqual(reverse(first, SECRET, NOW), ANN)

    def test_others_may_write_other_separators(self) -> None:
        foreign = Address("SRS0+yf09=Cw=orig.example=bob", "first.example")
        second = rewrite(foreign, "second.example", SECRET, NOW)
        self.assertTrue(second.local.endswith("=first.example=+yf09=Cw=orig.example=bob"))
        self.assertEqual(reverse(second, SECRET, NOW), foreign)

    def test_what_only_begins_like_one_is_an_address_like_any_other(self) -> None:
        odd = Address("SRS0-nonsense", "example.org")
        self.assertEqual(reverse(rewrite(odd, "forward.example", SECRET, NOW), SECRET, NOW), odd)

    def test_a_long_local_part_is_written_and_a_path_that_is_too_long_is_not(self) -> None:
        long = Address("a" * 64, "example.org")
        forwarded = rewrite(long, "forward.example", SECRET, NOW)
        self.assertGreater(len(forwarded.local), 64)
        self.assertEqual(reverse(forwarded, SECRET, NOW), long)
        too_long = Address("a" * 64, "b" * 63 + "." + "c" * 63 + ".example.org")
        self.assertEqual(rewrite(too_long, "d" * 60 + ".forward.example", SECRET, NOW), too_long)

    def test_a_domain_of_another_alphabet_does_not_ask_for_smtputf8(self) -> None:
        sender = Address("ann", "예시.한국")
        forwarded = rewrite(sender, "forward.example", SECRET, NOW)
        self.assertTrue(forwarded.is_ascii)
        self.assertEqual(reverse(forwarded, SECRET, NOW), sender)

    @given(LOCALS, st.sampled_from(["example.org", "a.b.c.example", "[192.0.2.1]", "예시.한국"]))
    def test_whatever_is_rewritten_leads_back(self, local: str, domain: str) -> None:
        sender = Address(local, domain)
        forwarded = rewrite(sender, "forward.example", SECRET, NOW)
        if forwarded != sender:
            self.assertEqual(reverse(forwarded, SECRET, NOW), sender)

    @given(st.text(max_size=80))
    def test_nothing_else_is_raised(self, local: str) -> None:
        for each in (local, f"SRS0={local}", f"SRS1={local}", f"SRS0=AAAAAA=AA=example.org={local}"):
            with self.assertRaises((NotSRS, Forged)):
                reverse(Address(each, "forward.example"), SECRET, NOW)


class ForgeryTests(SynchronousTestCase):
    def refused(self, local: str, now: float = NOW, secret: bytes = SECRET) -> None:
        with self.assertRaises(Forged):
            reverse(Address(local, "forward.example"), secret, now)

    def test_another_secret(self) -> None:
        self.refused(rewrite(ANN, "forward.example", SECRET, NOW).local, secret=b"guessed")

    def test_another_address(self) -> None:
        local = rewrite(ANN, "forward.example", SECRET, NOW).local
        self.refused(local.replace("=Ann", "=Eve"))
        self.refused(local.replace("example.org", "example.net"))
        self.refused(rewrite(Address(local, "first.example"), "x", SECRET, NOW).local.replace("first", "other"))

    def test_another_day(self) -> None:
        local = rewrite(ANN, "forward.example", SECRET, NOW).local
        head, stamp, rest = local.split("=", 2)
        day = "AA" if rest[:2] != "AA" else "AB"
        self.refused(f"{head}={stamp}={day}{rest[2:]}")

    def test_it_expires(self) -> None:
        local = rewrite(ANN, "forward.example", SECRET, NOW).local
        self.assertEqual(reverse(Address(local, "x"), SECRET, NOW + 21 * DAY), ANN)
        self.assertEqual(reverse(Address(local, "x"), SECRET, NOW - DAY), ANN)
        self.refused(local, NOW + 22 * DAY)
        self.refused(local, NOW - 2 * DAY)

    def test_days_are_counted_around(self) -> None:
        end_of_era = 1023 * DAY
        local = rewrite(ANN, "forward.example", SECRET, end_of_era).local
        self.assertIn("=77=", local)
        self.assertEqual(reverse(Address(local, "x"), SECRET, end_of_era + 3 * DAY), ANN)

    def test_what_is_none(self) -> None:
        for local in ("ann", "SRS0", "SRS0=abcdef=AA", "srs2=abcdef=AA=example.org=ann"):
            with self.assertRaises(NotSRS):
                reverse(Address(local, "forward.example"), SECRET, NOW)
