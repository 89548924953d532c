from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address import Address
from mailfw.mail.envelope import NO_OPTIONS, DeliverBy, Envelope, Notify, RecipientOptions
from mailfw.smtp.client.capabilities import Capabilities, read_capabilities
from mailfw.smtp.client.commands import Unsayable, a_labels, mail_command, rcpt_command, xtext
from mailfw.smtp.grammar import parse_mail, parse_rcpt, split_command

ANN, BOB = Address("ann", "example.org"), Address("bob", "example.net")
NOTHING = Capabilities()
ALL = read_capabilities(
    ["SIZE 0", "DSN", "SMTPUTF8", "8BITMIME", "REQUIRETLS", "MT-PRIORITY", "DELIVERBY", "NO-SOLICITING", "AUTH PLAIN"]
)


def mail(offered: Capabilities = ALL, body: str = "", utf8: bool = False, trusted: bool = False, **more: Any) -> str:
    more.setdefault("sender", ANN)
    envelope = Envelope("1a", recipients=(BOB,), **more)
    return mail_command(envelope, offered, 123, body, utf8, 1000.0, trusted).decode()


def rcpt(address: Address, options: RecipientOptions = NO_OPTIONS, utf8: bool = False) -> str:
    return rcpt_command(address, options, ALL, utf8).decode()


class MailTests(SynchronousTestCase):
    def test_paths(self) -> None:
        self.assertEqual(mail(NOTHING), "MAIL FROM:<ann@example.org>\r\n")
        self.assertEqual(mail(NOTHING, sender=None), "MAIL FROM:<>\r\n")
        self.assertEqual(mail(NOTHING, sender=Address('a b"c', "example.org")), 'MAIL FROM:<"a b\\"c"@example.org>\r\n')
        self.assertEqual(mail(NOTHING, sender=Address("a", "[ipv6:::1]")), "MAIL FROM:<a@[ipv6:::1]>\r\n")
        self.assertEqual(mail(NOTHING, sender=Address("a", "예시.한국")), "MAIL FROM:<a@xn--vv4b11d.xn--3e0b707e>\r\n")
        self.assertEqual(
            mail(ALL, utf8=True, sender=Address("하늘", "예시.한국")),
            "MAIL FROM:<하늘@예시.한국> SIZE=123 SMTPUTF8\r\n",
        )

    def test_parameters_only_where_they_are_known(self) -> None:
        wishes: dict[str, Any] = {
            "returns": "HDRS", "envid": "a+b=c d", "priority": -3, "by": DeliverBy(1120.9, True, True),
            "solicitation": "org.example:ADV", "submitter": "ann+x@example.org", "require_tls": True,
        }  # fmt: skip
        self.assertEqual(
            mail(body="8BITMIME", trusted=True, **wishes),
            "MAIL FROM:<ann@example.org> SIZE=123 RET=HDRS ENVID=a+2Bb+3Dc+20d REQUIRETLS MT-PRIORITY=-3 BY=120;RT "
            "SOLICIT=org.example:ADV AUTH=ann+2Bx@example.org BODY=8BITMIME\r\n",
        )
        self.assertNotIn("AUTH", mail(submitter="ann@example.org"))
        del wishes["require_tls"]  # whoever does not know that is not asked at all
        self.assertEqual(mail(NOTHING, **wishes), "MAIL FROM:<ann@example.org>\r\n")

    def test_a_time_that_has_passed(self) -> None:
        self.assertIn("BY=-500;N", mail(by=DeliverBy(500.0, False)))
        self.assertIn("BY=999999999;N", mail(by=DeliverBy(1e15, False)))

    def test_unknown_submitter(self) -> None:
        self.assertIn(" AUTH=<>", mail(trusted=True, submitter="<>"))

    def test_injection(self) -> None:
        for bad in ("\r\nRCPT TO:<x@y>\r\n", "\n", "\r", "\0", "\x0b", "\u2028", "\x85", "\ud800"):
            for sender in (Address("a" + bad, "example.org"), Address("a", "example.org" + bad)):
                self.assertRaises(Unsayable, mail, sender=sender)
                self.assertRaises(Unsayable, mail, sender=sender, utf8=True)
                self.assertRaises(Unsayable, rcpt, sender)
            self.assertRaises(Unsayable, mail, solicitation="a" + bad)
            self.assertRaises(Unsayable, mail, returns=bad)
            self.assertRaises(Unsayable, rcpt, BOB, RecipientOptions(None, ("rfc822" + bad, "a")))

    def test_encoded_parameters_need_no_refusal(self) -> None:
        self.assertIn("ENVID=a+0D+0ARSET ", mail(envid="a\r\nRSET", utf8=True))
        self.assertIn("ORCPT=rfc822;a+0D+0Ab", rcpt(BOB, RecipientOptions(None, ("rfc822", "a\r\nb"))))
        self.assertIn("ORCPT=utf-8;\\x{D558}\\x{0D}\\x{0A}@b", rcpt(BOB, RecipientOptions(None, ("utf-8", "하\r\n@b"))))

    def test_nothing_gets_out_of_a_path(self) -> None:
        for domain in ("x> NOTIFY=NEVER", "x>", "a b", "<x", "a,b", "a@b", "[1.2.3.4]>", "[a b]", "", 'a"b'):
            if domain:
                self.assertRaises(Unsayable, rcpt, Address("a", domain))

    def test_too_long(self) -> None:
        self.assertRaises(Unsayable, rcpt, Address("a" * 3000, "example.org"))
        self.assertRaises(Unsayable, mail, envid="a" * 3000)

    def test_utf8_where_it_may_not_be_said(self) -> None:
        self.assertRaises(Unsayable, rcpt, Address("하늘", "example.org"))
        self.assertRaises(Unsayable, rcpt, Address("a", "\u3002.x"))

    def test_a_labels(self) -> None:
        self.assertEqual(a_labels("straße.example"), "xn--strae-oqa.example")
        self.assertEqual(a_labels("☃.example"), "xn--n3h.example")
        self.assertEqual(a_labels("a_b.example"), "a_b.example")

    @given(st.text(max_size=20), st.text(max_size=20), st.booleans())
    def test_our_own_server_reads_what_is_said(self, local: str, domain: str, utf8: bool) -> None:
        """Whatever address: it is refused, or read by the server's strict grammar as the same one."""
        address = Address(local, domain)
        try:
            line = rcpt_command(address, NO_OPTIONS, ALL, utf8)
        except Unsayable:
            return
        self.assertEqual(line.count(b"\r\n"), 1)
        self.assertNotRegex(line[:-2], rb"[\r\n\0]")


class RcptTests(SynchronousTestCase):
    def test_parameters(self) -> None:
        for notify, said in {
            Notify.NEVER: "NEVER",
            Notify.SUCCESS: "SUCCESS",
            Notify.SUCCESS | Notify.FAILURE | Notify.DELAY: "SUCCESS,FAILURE,DELAY",
        }.items():
            self.assertEqual(rcpt(BOB, RecipientOptions(notify)), f"RCPT TO:<bob@example.net> NOTIFY={said}\r\n")
        options = RecipientOptions(Notify.DELAY, ("rfc822", "Bob+x@example.net"))
        self.assertEqual(
            rcpt(BOB, options), "RCPT TO:<bob@example.net> NOTIFY=DELAY ORCPT=rfc822;Bob+2Bx@example.net\r\n"
        )
        self.assertEqual(rcpt_command(BOB, options, NOTHING, False), b"RCPT TO:<bob@example.net>\r\n")

    def test_postmaster(self) -> None:
        self.assertEqual(rcpt(Address("Postmaster", "")), "RCPT TO:<Postmaster>\r\n")

    def test_the_server_reads_it(self) -> None:
        for address in (BOB, Address("a b", "example.org"), Address('"', "example.org"), Address("하늘", "예시.한국")):
            verb, argument = split_command(rcpt(address, utf8=True).encode().removesuffix(b"\r\n"))
            self.assertEqual((verb, parse_rcpt(argument)[0]), (b"RCPT", address))
        _, argument = split_command(mail(envid="x y", utf8=True).encode().removesuffix(b"\r\n"))
        self.assertEqual(parse_mail(argument), (ANN, {"SIZE": "123", "ENVID": "x+20y", "SMTPUTF8": None}))

    @given(st.text())
    def test_xtext(self, text: str) -> None:
        self.assertRegex(xtext(text), r"\A([!-*,-<>-~]|\+[0-9A-F]{2})*\Z")
