from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address import Address
from mailfw.mail.reply import Reply
from mailfw.mail.report import Report, Undeliverable, write_report

REPORT = Report(
    id="3f2a-r1",
    hostname="mx.example.org",
    sender=Address("carol", "example.net"),
    recipients=(
        Undeliverable(Address("ann", "example.org"), Reply(550, "5.1.1", "No such user")),
        Undeliverable(Address("bob b", "example.org"), Reply(451, "4.3.0", "Two\nlines")),
    ),
    arrived=1767605400.0,
    written=1767605460.0,
    header=b"From: carol@example.net\r\nSubject: Lunch\r\n",
)


def read(octets: bytes) -> Any:
    return email.message_from_bytes(octets, policy=email.policy.default)


class ReportTests(SynchronousTestCase):
    def test_a_plain_one(self) -> None:
        message = read(write_report(REPORT))
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertEqual(message["Content-Type"].params["report-type"], "delivery-status")
        self.assertEqual(message["To"], "carol@example.net")
        self.assertEqual(message["Auto-Submitted"], "auto-replied")
        self.assertEqual(message["Message-ID"], "<3f2a-r1@mx.example.org>")
        text, status, header = message.iter_parts()
        self.assertEqual(
            [part.get_content_type() for part in (text, status, header)],
            ["text/plain", "message/delivery-status", "text/rfc822-headers"],
        )
        self.assertIn("ann@example.org\n    550 5.1.1 No such user", text.get_content().replace("\r\n", "\n"))
        about, ann, bob = status.get_payload()
        self.assertEqual(about["Reporting-MTA"], "dns; mx.example.org")
        self.assertEqual(about["Arrival-Date"], "Mon, 05 Jan 2026 09:30:00 +0000")
        self.assertEqual(ann["Final-Recipient"], "rfc822; ann@example.org")
        self.assertEqual((ann["Action"], ann["Status"]), ("failed", "5.1.1"))
        self.assertEqual(ann["Diagnostic-Code"], "smtp; 550 5.1.1 No such user")
        self.assertEqual(bob["Final-Recipient"], 'rfc822; "bob b"@example.org')
        self.assertEqual(bob["Status"], "5.3.0")
        self.assertEqual(bob["Diagnostic-Code"], "smtp; 451 4.3.0 Two lines")
        self.assertIn("Subject: Lunch", header.get_payload())

    def test_international_addresses(self) -> None:
        recipients = (Undeliverable(Address("하늘", "예시.한국"), Reply(550, "5.1.1", "없음")),)
        octets = write_report(replace(REPORT, recipients=recipients, header="Subject: 회의\r\n".encode()))
        self.assertIn(b"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit", octets)
        self.assertIn("Final-Recipient: utf-8; 하늘@예시.한국\r\n".encode(), octets)
        self.assertIn(b"Content-Type: message/global-headers\r\n", octets)

    def test_a_header_that_is_no_text(self) -> None:
        octets = write_report(replace(REPORT, header=b"Subject: \xff\xfe\0\r\n"))
        self.assertIn(b"Subject: ???\r\n", octets)
        self.assertTrue(octets.isascii())

    def test_stays_small(self) -> None:
        many = tuple(
            Undeliverable(Address(f"u{n}", "example.org"), Reply(550, "5.1.1", "x" * 2000)) for n in range(9000)
        )
        octets = write_report(replace(REPORT, recipients=many, header=b"X: y\r\n" * 100_000))
        self.assertLess(len(octets), 2_000_000)
        self.assertIn(b"and 8000 more", octets)

    @given(st.text(max_size=100))
    def test_a_foreign_reply_makes_no_line(self, text: str) -> None:
        recipients = (Undeliverable(Address("ann", "example.org"), Reply(550, "5.1.1", text)),)
        octets = write_report(replace(REPORT, recipients=recipients))
        part = octets.split(b"--=_3f2a-r1")[2].decode()
        names = [line.split(":")[0] for line in part.splitlines() if line and not line.startswith(" ")]
        self.assertEqual(
            names,
            [
                "Content-Type",
                "Content-Transfer-Encoding",
                "Reporting-MTA",
                "Arrival-Date",
                "Final-Recipient",
                "Action",
                "Status",
                "Diagnostic-Code",
            ],
        )
