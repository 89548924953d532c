from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address import Address
from mailfw.mail.envelope import RecipientOptions
from mailfw.mail.notification import DeliveryStatus, Disposition, asks_for_receipt, read_notification
from mailfw.mail.queued import Action, Concluded
from mailfw.mail.reply import Reply
from mailfw.mail.report import Report, write_report

SEEN = b"""\
From: Joe Recipient <joe@example.com>\r
To: Jane Sender <jane@example.org>\r
Subject: Re: First draft of report\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=disposition-notification;\r
 boundary="RAA14128.773615765/example.com"\r
\r
--RAA14128.773615765/example.com\r
Content-Type: text/plain\r
\r
The message was displayed.\r
\r
--RAA14128.773615765/example.com\r
Content-Type: message/disposition-notification\r
\r
Reporting-UA: joes-pc.cs.example.com; Foomail 97.1\r
Original-Recipient: rfc822;Joe@example.com\r
Final-Recipient: rfc822;Joe_Recipient@example.com\r
Original-Message-ID: <199509192301.23456@example.org>\r
Disposition: manual-action/MDN-sent-manually; displayed\r
\r
--RAA14128.773615765/example.com\r
Content-Type: message/rfc822\r
\r
Message-ID: <other@example.org>\r
\r
Text\r
--RAA14128.773615765/example.com--\r
"""

#: As other servers write them: comments, LF within, odd cases, a whole message given back.
FOREIGN = b"""\
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary="B/x"\r
\r
--B/x\r
Content-Description: Notification\r
\r
I'm sorry.\r
--B/x\r
Content-Description: Delivery report\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mail.example.net\r
X-Queue-ID: 4B1C\r
Original-Envelope-Id: QQ314159\r
Arrival-Date: Mon,  5 Jan 2026 10:00:00 +0100 (CET)\r
\r
Final-Recipient: RFC822; louisl@larry.slip.example.edu\r
Original-Recipient: rfc822;louisl+list@example.edu\r
ACTION: Failed\r
Status: 4.0.0 (the host)\r
Remote-MTA: dns; larry.slip.example.edu\r
Diagnostic-Code: smtp; 426 connection timed out\r
 during something\r
\r
Final-Recipient: utf-8; \\x{D558}\\x{B298}@example.kr\r
Action: delivered\r
Status: 2.1.5\r
--B/x\r
Content-Type: message/rfc822\r
\r
From: a@example.org\r
Message-Id: <42@example.org>\r
\r
Body\r
--B/x--\r
"""


class AskingTests(SynchronousTestCase):
    def test_who_asks(self) -> None:
        header = b"Subject: x\r\nDisposition-Notification-To: Jane <jane@example.org>,\r\n joe@example.com\r\n"
        self.assertEqual(asks_for_receipt(header), ("jane@example.org", "joe@example.com"))
        self.assertEqual(asks_for_receipt(b"Subject: x\r\n"), ())
        self.assertEqual(asks_for_receipt(b"Disposition-Notification-To: undisclosed:;, nobody\r\n"), ())

    def test_not_everybody(self) -> None:
        many = b", ".join(b"u%d@example.org" % number for number in range(500))
        self.assertEqual(len(asks_for_receipt(b"Disposition-Notification-To: " + many + b"\r\n")), 20)


class ReadingTests(SynchronousTestCase):
    def test_a_read_notification(self) -> None:
        self.assertEqual(
            read_notification(SEEN),
            Disposition(
                type="displayed",
                modifiers=(),
                by_hand=True,
                sent_by_hand=True,
                final_recipient="Joe_Recipient@example.com",
                original_recipient="Joe@example.com",
                original_message_id="<199509192301.23456@example.org>",
                reporting_ua="joes-pc.cs.example.com; Foomail 97.1",
            ),
        )

    def test_other_dispositions(self) -> None:
        message = SEEN.replace(
            b"manual-action/MDN-sent-manually; displayed",
            b"automatic-action / mdn-sent-automatically;\r\n Deleted/Error, x-odd",
        ).replace(b"Original-Message-ID", b"X-Gone")
        read = read_notification(message)
        assert isinstance(read, Disposition)
        self.assertEqual((read.type, read.modifiers), ("deleted", ("error", "x-odd")))
        self.assertEqual((read.by_hand, read.sent_by_hand), (False, False))
        self.assertEqual(read.original_message_id, "<other@example.org>")

    def test_a_delivery_report(self) -> None:
        read = read_notification(FOREIGN)
        assert isinstance(read, DeliveryStatus)
        self.assertEqual(
            (read.envid, read.reporting_mta, read.original_message_id),
            ("QQ314159", "mail.example.net", "<42@example.org>"),
        )
        first, second = read.recipients
        self.assertEqual(first.final_recipient, "louisl@larry.slip.example.edu")
        self.assertEqual(first.original_recipient, "louisl+list@example.edu")
        self.assertEqual((first.action, first.status), ("failed", "4.0.0"))
        self.assertEqual(first.diagnostic, "426 connection timed out during something")
        self.assertEqual(first.remote_mta, "larry.slip.example.edu")
        self.assertEqual((second.final_recipient, second.action), ("하늘@example.kr", "delivered"))

    def test_our_own_reports(self) -> None:
        recipient = Address("하늘", "예시.한국")
        report = Report(
            id="1-r1",
            hostname="mx.example.net",
            sender=Address("carol", "example.net"),
            recipients=(Concluded(recipient, recipient, Action.FAILED, Reply(550, "5.1.1", "없음"), "mx.example.kr"),),
            arrived=1.0,
            written=2.0,
            options={recipient: RecipientOptions(original=("utf-8", "하늘@예시.한국"))},
            envid="E 1",
            returned="Subject: 회의\r\nMessage-ID: <1@example.net>\r\n\r\n본문\r\n".encode(),
        )
        for each in (
            report,
            replace(report, is_whole=True),
            replace(report, sender=recipient),
            replace(report, sender=recipient, is_whole=True),
        ):
            read = read_notification(write_report(each))
            assert isinstance(read, DeliveryStatus)
            self.assertEqual((read.envid, read.original_message_id), ("E 1", "<1@example.net>"))
            (one,) = read.recipients
            self.assertEqual((one.final_recipient, one.original_recipient), ("하늘@예시.한국", "하늘@예시.한국"))
            self.assertEqual((one.action, one.status, one.remote_mta), ("failed", "5.1.1", "mx.example.kr"))
            self.assertEqual(one.diagnostic, "550 5.1.1 없음")

    def test_what_is_no_report(self) -> None:
        for message in (
            b"",
            b"Subject: x\r\n\r\nDisposition: manual-action/MDN-sent-manually; displayed\r\n",
            SEEN.replace(b"multipart/report", b"multipart/mixed"),
            SEEN.replace(b"disposition-notification\r\n\r\n", b"x\r\n\r\n"),
            SEEN.replace(b"manually; displayed", b"manually, displayed"),
        ):
            self.assertIsNone(read_notification(message))

    def test_bounded(self) -> None:
        group = b"Final-Recipient: rfc822; a@example.org\r\nAction: failed\r\n\r\n"
        message = FOREIGN.replace(b"Final-Recipient: RFC822", group * 20_000 + b"Final-Recipient: RFC822")
        read = read_notification(message)
        assert isinstance(read, DeliveryStatus)
        self.assertEqual(len(read.recipients), 10_000)

    @given(st.lists(st.sampled_from([*SEEN.splitlines(True), *FOREIGN.splitlines(True), b"\xff\r\n"]), max_size=40))
    def test_nothing_is_raised(self, lines: list[bytes]) -> None:
        read_notification(b"".join(lines))
        read_notification(b"Content-Type: multipart/report; boundary=B/x\r\n\r\n" + b"".join(lines))
