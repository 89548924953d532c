from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address import Address
from mailfw.mail.envelope import RecipientOptions
from mailfw.mail.message import FieldRefused
from mailfw.mail.queued import Action, Concluded
from mailfw.mail.reply import Reply
from mailfw.mail.report import WHOLE_LIMIT, Report, returns_whole, write_report

ANN = Address("ann", "example.org")
BOB = Address("bob b", "example.org")
HANEUL = Address("하늘", "예시.한국")
NO_USER = Reply(550, "5.1.1", "No such user")


def concluded(
    address: Address = ANN,
    action: Action = Action.FAILED,
    reply: Reply = NO_USER,
    host: str = "mx.example.org",
) -> Concluded:
    return Concluded(address, address, action, reply, host, 1767605455.0)


REPORT = Report(
    id="3f2a-r1",
    hostname="mx.example.net",
    sender=Address("carol", "example.net"),
    recipients=(concluded(), concluded(BOB, reply=Reply(451, "4.3.0", "Two\nlines"), host="")),
    arrived=1767605400.0,
    written=1767605460.0,
    returned=b"From: carol@example.net\r\nMessage-ID: <1@example.net>\r\nSubject: Lunch\r\n\r\nAt noon?\r\n",
)


def read(octets: bytes) -> Any:
    return email.message_from_bytes(octets, policy=email.policy.default)


def groups(octets: bytes) -> list[Any]:
    """Return the groups of fields of the second part, as the standard library or we read them."""
    part = list(read(octets).iter_parts())[1]
    if part.get_content_type() == "message/delivery-status":
        return [dict(group.items()) for group in part.get_payload()]
    body = octets.split(b"\r\n--")[2].split(b"\r\n\r\n", 1)[1].decode("utf-8")
    return [dict(email.message_from_string(group).items()) for group in body.split("\r\n\r\n")]


class PlainTests(SynchronousTestCase):
    def test_a_failure(self) -> None:
        octets = write_report(REPORT)
        message = read(octets)
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertEqual(message["Content-Type"].params["report-type"], "delivery-status")
        for name, value in (
            ("To", "carol@example.net"),
            ("From", "Mail Delivery System <mailer-daemon@mx.example.net>"),
            ("Subject", "Your message could not be delivered"),
            ("Auto-Submitted", "auto-replied"),
            ("Message-ID", "<3f2a-r1@mx.example.net>"),
            ("In-Reply-To", "<1@example.net>"),
            ("References", "<1@example.net>"),
            ("Date", "Mon, 05 Jan 2026 09:31:00 +0000"),
        ):
            self.assertEqual(message[name], value)
        text, status, header = message.iter_parts()
        self.assertEqual(
            [part.get_content_type() for part in (text, status, header)],
            ["text/plain", "message/delivery-status", "text/rfc822-headers"],
        )
        said = text.get_content().replace("\r\n", "\n")
        self.assertIn("\n  ann@example.org\n    The server mx.example.org said:\n    550 5.1.1 No such user\n", said)
        self.assertIn('\n  "bob b"@example.org\n    451 4.3.0 Two lines\n', said)
        self.assertIn("will not be tried again", said)
        self.assertIn("Subject: Lunch", header.get_payload())
        self.assertNotIn("noon", header.get_payload())
        about, ann, bob = groups(octets)
        self.assertEqual(
            about, {"Reporting-MTA": "dns; mx.example.net", "Arrival-Date": "Mon, 05 Jan 2026 09:30:00 +0000"}
        )
        self.assertEqual(
            ann,
            {
                "Final-Recipient": "rfc822; ann@example.org",
                "Action": "failed",
                "Status": "5.1.1",
                "Remote-MTA": "dns; mx.example.org",
                "Diagnostic-Code": "smtp; 550 5.1.1 No such user",
                "Last-Attempt-Date": "Mon, 05 Jan 2026 09:30:55 +0000",
            },
        )
        self.assertEqual(bob["Final-Recipient"], 'rfc822; "bob b"@example.org')
        self.assertEqual(bob["Status"], "4.3.0")
        self.assertEqual(bob["Diagnostic-Code"], "x-mailfw; 451 4.3.0 Two lines")
        self.assertNotIn("Remote-MTA", bob)

    def test_where_an_alias_leads_is_not_told(self) -> None:
        one = Concluded(ANN, Address("secret", "example.com"), Action.FAILED, Reply(550, "5.1.1", "Gone"))
        self.assertNotIn(b"secret", write_report(replace(REPORT, recipients=(one,))))

    def test_what_the_sender_said_comes_back(self) -> None:
        options = {
            ANN: RecipientOptions(original=("rfc822", "Ann+list@example.com")),
            BOB: RecipientOptions(original=("bad type\r\nX: y", "bob")),
        }
        about, ann, bob = groups(write_report(replace(REPORT, options=options, envid="QQ 314+1")))
        self.assertEqual(about["Original-Envelope-Id"], "QQ 314+1")
        self.assertEqual(ann["Original-Recipient"], "rfc822; Ann+list@example.com")
        self.assertNotIn("Original-Recipient", bob)

    def test_an_envelope_id_that_cannot_be_written_is_left_out(self) -> None:
        for envid in ("", "a\r\nBcc: x", "é", "x" * 300):
            self.assertNotIn("Original-Envelope-Id", groups(write_report(replace(REPORT, envid=envid)))[0])

    def test_delays(self) -> None:
        late = concluded(action=Action.DELAYED, reply=Reply(450, "4.2.0", "Later"))
        octets = write_report(replace(REPORT, recipients=(late,), retry_until=1768037400.0))
        message = read(octets)
        self.assertEqual(message["Subject"], "Your message is delayed")
        said = next(message.iter_parts()).get_content()
        self.assertIn("You need do nothing.  It will be tried again until Sat, 10 Jan 2026 09:30:00 +0000", said)
        ann = groups(octets)[1]
        self.assertEqual((ann["Action"], ann["Status"]), ("delayed", "4.2.0"))
        self.assertEqual(ann["Will-Retry-Until"], "Sat, 10 Jan 2026 09:30:00 +0000")

    def test_successes(self) -> None:
        for action, subject in (
            (Action.DELIVERED, "Your message was delivered"),
            (Action.RELAYED, "Your message was passed on"),
            (Action.EXPANDED, "Your message was sent on to a list"),
        ):
            octets = write_report(replace(REPORT, recipients=(concluded(action=action, reply=Reply(250, "", "OK")),)))
            self.assertEqual(read(octets)["Subject"], subject)
            ann = groups(octets)[1]
            self.assertEqual((ann["Action"], ann["Status"]), (action.value, "2.0.0"))
            self.assertNotIn("Will-Retry-Until", ann)

    def test_a_mixture(self) -> None:
        mixed = (
            concluded(),
            concluded(BOB, Action.DELIVERED, Reply(250, "2.1.5", "OK")),
            concluded(Address("eve", "example.com"), Action.DELAYED, Reply(421, "", "Busy")),
        )
        octets = write_report(replace(REPORT, recipients=mixed))
        self.assertEqual(read(octets)["Subject"], "Your message could not be delivered to everybody")
        self.assertEqual([g["Action"] for g in groups(octets)[1:]], ["failed", "delivered", "delayed"])
        self.assertEqual([g["Status"] for g in groups(octets)[1:]], ["5.1.1", "2.1.5", "4.0.0"])
        said = next(read(octets).iter_parts()).get_content()
        order = ["could not be delivered to", "could not be delivered yet", "was delivered to"]
        self.assertEqual(sorted(order, key=said.index), order)

    def test_a_status_fits_its_action(self) -> None:
        for action, reply, status in (
            (Action.FAILED, Reply(550, "2.0.0", ""), "5.0.0"),
            (Action.FAILED, Reply(554, "", ""), "5.0.0"),
            (Action.FAILED, Reply(451, "", ""), "4.0.0"),
            (Action.FAILED, Reply(550, "5.1.1\r\nX: y", ""), "5.0.0"),
            (Action.DELAYED, Reply(550, "5.7.1", ""), "4.7.1"),
            (Action.DELIVERED, Reply(250, "", ""), "2.0.0"),
        ):
            octets = write_report(replace(REPORT, recipients=(concluded(action=action, reply=reply),)))
            self.assertEqual(groups(octets)[1]["Status"], status)


class ReturnedTests(SynchronousTestCase):
    WHOLE = replace(REPORT, is_whole=True)

    def returned(self, report: Report) -> Any:
        return list(read(write_report(report)).iter_parts())[2]

    def test_who_gets_the_whole_message(self) -> None:
        failed, late = (concluded(),), (concluded(action=Action.DELAYED),)
        self.assertTrue(returns_whole("FULL", failed, 1000))
        self.assertTrue(returns_whole("FULL", failed + late, WHOLE_LIMIT))
        self.assertFalse(returns_whole("FULL", failed, WHOLE_LIMIT + 1))
        self.assertFalse(returns_whole("FULL", late, 1000))
        self.assertFalse(returns_whole("HDRS", failed, 1000))
        self.assertFalse(returns_whole("", failed, 1000))

    def test_a_whole_message(self) -> None:
        part = self.returned(self.WHOLE)
        self.assertEqual(part.get_content_type(), "message/rfc822")
        self.assertEqual(part.get_content()["Subject"], "Lunch")
        self.assertEqual(part.get_content().get_content().strip(), "At noon?")

    def test_a_whole_message_of_eight_bits(self) -> None:
        octets = write_report(replace(self.WHOLE, returned=b"Subject: x\r\n\r\nM\xc3\xbcller\r\n"))
        self.assertIn(b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n", octets)

    def test_what_is_no_part_goes_back_as_its_header(self) -> None:
        for body in (b"x" * 1000, b"a\0b", b"a\nb", b"a\rb"):
            part = self.returned(replace(self.WHOLE, returned=b"Subject: x\r\n\r\n" + body))
            self.assertEqual(part.get_content_type(), "text/rfc822-headers")

    def test_a_message_may_hold_what_looks_like_our_boundary(self) -> None:
        inner = b"Subject: x\r\n\r\n--=_3f2a-r1\r\n\r\nnot a part\r\n--=_3f2a-r1--\r\n"
        octets = write_report(replace(self.WHOLE, returned=inner))
        self.assertEqual(len(list(read(octets).iter_parts())), 3)
        self.assertIn(inner, octets)

    def test_no_message_at_all(self) -> None:
        for returned in (b"", b"\r\nbody", b"no header"):
            self.assertEqual(
                self.returned(replace(REPORT, returned=returned)).get_content_type(), "text/rfc822-headers"
            )

    def test_a_header_that_is_no_text_comes_back_octet_for_octet(self) -> None:
        header = b"Subject: \xff\xfe\0\r\nX: " + b"y" * 2000 + b"\r\n"
        octets = write_report(replace(REPORT, returned=header))
        self.assertTrue(octets.isascii())
        self.assertLessEqual(max(map(len, octets.split(b"\r\n"))), 998)
        self.assertEqual(self.returned(replace(REPORT, returned=header)).get_payload(decode=True), header)

    def test_stays_small(self) -> None:
        many = tuple(concluded(Address(f"u{n}", "example.org"), reply=Reply(550, "", "x" * 2000)) for n in range(9000))
        octets = write_report(replace(REPORT, recipients=many, returned=b"X: y\r\n" * 100_000))
        self.assertLess(len(octets), 2_000_000)
        self.assertIn(b"and 8000 more", octets)
        self.assertEqual(len(groups(octets)), 1001)


class InternationalTests(SynchronousTestCase):
    def test_a_sender_of_another_alphabet_gets_an_international_report(self) -> None:
        report = replace(
            REPORT,
            sender=Address("영희", "예시.한국"),
            recipients=(concluded(HANEUL, reply=Reply(550, "5.1.1", "없음")),),
            options={HANEUL: RecipientOptions(original=("utf-8", r"\x{D558}\x{B298}@예시.한국"))},
            returned="Subject: 회의\r\n".encode(),
        )
        self.assertTrue(report.is_international)
        octets = write_report(report)
        self.assertIn("To: <영희@예시.한국>\r\n".encode(), octets)
        self.assertIn(b"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit", octets)
        self.assertIn("Final-Recipient: utf-8; 하늘@예시.한국\r\n".encode(), octets)
        self.assertIn("Original-Recipient: utf-8; 하늘@예시.한국\r\n".encode(), octets)
        self.assertIn("Diagnostic-Code: smtp; 550 5.1.1 없음\r\n".encode(), octets)
        self.assertIn("\r\n\r\nSubject: 회의\r\n".encode(), octets)
        self.assertIn(b"Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit", octets)

    def test_any_other_sender_gets_seven_bits(self) -> None:
        report = replace(
            REPORT,
            recipients=(concluded(HANEUL, reply=Reply(550, "5.1.1", "없음 " * 60)),),
            options={HANEUL: RecipientOptions(original=("utf-8", "하늘@예시.한국"))},
            returned="Subject: 회의\r\n".encode(),
        )
        self.assertFalse(report.is_international)
        octets = write_report(report)
        self.assertTrue(octets.isascii())
        self.assertLessEqual(max(map(len, octets.split(b"\r\n"))), 998)
        ann = groups(octets)[1]
        self.assertEqual(ann["Final-Recipient"], r"utf-8; \x{D558}\x{B298}@\x{C608}\x{C2DC}.\x{D55C}\x{AD6D}")
        self.assertEqual(ann["Original-Recipient"], ann["Final-Recipient"])
        self.assertIn(b"Diagnostic-Code: smtp; =?utf-8?B?", octets.replace(b";\r\n ", b"; "))
        text, status, header = read(octets).iter_parts()
        self.assertEqual(status.get_content_type(), "message/delivery-status")
        self.assertIn("하늘@예시.한국", text.get_content())
        self.assertIn("없음 없음", text.get_content())
        self.assertEqual(header.get_content_type(), "message/global-headers")
        self.assertIn(b"Content-Transfer-Encoding: quoted-printable\r\n\r\nSubject: =ED=9A=8C", octets)

    def test_a_domain_of_another_alphabet_has_a_plain_name(self) -> None:
        report = replace(REPORT, sender=Address("ann", "예시.한국"), recipients=(concluded(Address("b", "예시.한국")),))
        octets = write_report(report)
        self.assertTrue(octets.isascii())
        self.assertIn(b"To: <ann@xn--vv4b11d.xn--3e0b707e>", octets)
        self.assertEqual(groups(octets)[1]["Final-Recipient"], "rfc822; b@xn--vv4b11d.xn--3e0b707e")

    def test_a_whole_message_of_other_alphabets(self) -> None:
        message = "From: 하늘@예시.한국\r\n\r\n본문\r\n".encode()
        report = replace(REPORT, is_whole=True, returned=message)
        octets = write_report(report)
        self.assertTrue(octets.isascii())
        self.assertIn(b"Content-Type: message/global\r\nContent-Transfer-Encoding: quoted-printable\r\n", octets)
        octets = write_report(replace(report, sender=HANEUL))
        self.assertIn(b"Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + message, octets)


class InjectionTests(SynchronousTestCase):
    NAMES = ("Content-Type", "Content-Transfer-Encoding", "Reporting-MTA", "Arrival-Date", "Final-Recipient", "Action")
    LAST = ("Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date")

    @given(st.text(max_size=100), st.booleans())
    def test_foreign_words_make_no_line(self, text: str, international: bool) -> None:
        one = Concluded(ANN, ANN, Action.FAILED, Reply(550, "5.1.1", text), "h" + text, 1.0)
        sender = HANEUL if international else ANN
        octets = write_report(replace(REPORT, sender=sender, recipients=(one,)))
        part = octets.split(b"--=_3f2a-r1")[2].decode()
        names = [line.split(":")[0] for line in part.split("\r\n") if line and not line.startswith(" ")]
        self.assertEqual(names, [*self.NAMES, *self.LAST])

    @given(st.text(min_size=1, max_size=60))
    def test_whatever_the_recipient_a_report_is_written(self, local: str) -> None:
        address = Address(local, "example.org")
        options = {address: RecipientOptions(original=("utf-8", local))}
        octets = write_report(replace(REPORT, recipients=(concluded(address),), options=options))
        self.assertTrue(octets.isascii())
        self.assertEqual(len(groups(octets)), 2)

    def test_a_sender_that_cannot_be_written_is_refused(self) -> None:
        with self.assertRaises(FieldRefused):
            write_report(replace(REPORT, sender=Address("a\r\nBcc: x", "example.org")))
