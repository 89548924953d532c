"""What others word is made fit to send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.outcome import Deferred, Failed
from mailfw.mail.reply import Reply
from mailfw.mail.verdict import Defer, Refuse
from mailfw.smtp import replies


class ReplyTests(SynchronousTestCase):
    def test_ours_agree_with_themselves(self) -> None:
        """RFC 2034 section 4: the class of the status is the first digit of the code."""
        ours = [value for value in vars(replies).values() if isinstance(value, Reply)]
        self.assertGreater(len(ours), 40)
        for reply in ours:
            self.assertIn(reply.status[:1], ("", str(reply.code)[0]), reply)
            self.assertLess(len(reply.encode()), 512)
            self.assertTrue(reply.text.isascii() and reply.text.isprintable())

    def test_verdicts(self) -> None:
        verdicts: list[tuple[Refuse | Defer, Reply]] = [
            (Refuse("No"), Reply(550, "5.7.1", "No")),
            (Refuse("No", "5.1.8", 553), Reply(553, "5.1.8", "No")),
            (Refuse("No", "4.1.8", 451), Reply(550, "5.0.0", "No")),
            (Refuse("", "5.1.8\r\n250 OK", 5500), Reply(550, "5.0.0", "No reason given")),
            (Defer("Later"), Reply(451, "4.7.1", "Later")),
            (Defer("Later", code=421), Reply(421, "4.7.1", "Later")),
            (Defer("Later", "5.7.1", 550), Reply(451, "4.0.0", "Later")),
            (Refuse("a\r\n250 OK\0\x1b[2Jü"), Reply(550, "5.7.1", "a\n250 OK [2J?")),
        ]
        for verdict, reply in verdicts:
            self.assertEqual(replies.of_verdict(verdict), reply)

    def test_outcomes(self) -> None:
        outcomes: list[tuple[Deferred | Failed, Reply]] = [
            (Deferred(Reply(421, "4.4.2", "one\ntwo\r\n")), Reply(451, "4.4.2", "one\ntwo\nNo reason given")),
            (Failed(Reply(550, "", "no\rno")), Reply(550, "5.0.0", "no no")),
            (Failed(Reply(250, "2.0.0", "OK")), Reply(550, "5.0.0", "OK")),
            (Deferred(Reply(550, "5.1.1", "no")), Reply(451, "4.0.0", "no")),
        ]
        for outcome, reply in outcomes:
            self.assertEqual(replies.of_outcome(outcome), reply)

    @given(st.text(max_size=1200), st.text(max_size=12), st.integers(0, 999))
    def test_any_reason_is_safe(self, reason: str, status: str, code: int) -> None:
        for verdict in (Refuse(reason, status, code), Defer(reason, status, code)):
            lines = replies.of_verdict(verdict).encode().split(b"\r\n")
            self.assertEqual(lines.pop(), b"")
            for number, line in enumerate(lines, 1):
                self.assertRegex(line, rb"\A[45]\d\d[- ][45]\.\d{1,3}\.\d{1,3} [ -~]+\Z")
                self.assertEqual(line[3:4], b" " if number == len(lines) else b"-")
                self.assertLessEqual(len(line), 510)  # RFC 5321 section 4.5.3.1.5
