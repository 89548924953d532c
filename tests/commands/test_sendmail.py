"""Handing over a message: what becomes of it on the way, and the command as programs call it."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.commands import send, sendmail
from mailfw.commands.connection import TryLater
from mailfw.commands.refusal import CommandRefused
from mailfw.commands.submission import TooLarge, read_message, recipients_of
from mailfw.configuration import ConfigurationRefused


def read(octets: bytes, dot: bool = True, limit: int = 10**6) -> bytes:
    with (message := read_message(io.BytesIO(octets), dot, limit, "ann@example.org")).file as file:
        whole = file.read()
    assert message.size == len(whole)
    assert message.is_ascii == whole.isascii()
    return whole


class ReadingTests(SynchronousTestCase):
    def test_line_ends(self) -> None:
        for octets in (
            b"From: a\n\nx\ny\n",
            b"From: a\r\n\r\nx\r\ny\r\n",
            b"From: a\n\nx\ry\r\n",
            b"From: a\n\nx\ny\r",
        ):
            self.assertEqual(read(octets), b"From: a\r\n\r\nx\r\ny\r\n")
        self.assertEqual(read(b"From: a\n\nx"), b"From: a\r\n\r\nx")

    def test_a_line_end_between_two_pieces(self) -> None:
        for size in range(65530, 65540):
            text = b"x" * size
            self.assertEqual(read(b"From: a\n\n" + text + b"\r\ny\n"), b"From: a\r\n\r\n" + text + b"\r\ny\r\n")

    def test_a_dot_ends_it_unless_it_should_not(self) -> None:
        octets = b"From: a\n\nx\n.\ny\n"
        self.assertEqual(read(octets), b"From: a\r\n\r\nx\r\n")
        self.assertEqual(read(octets, dot=False), b"From: a\r\n\r\nx\r\n.\r\ny\r\n")
        self.assertEqual(read(b"From: a\n\n..\n.x\nx.\n"), b"From: a\r\n\r\n..\r\n.x\r\nx.\r\n")

    def test_the_author_is_added(self) -> None:
        self.assertEqual(read(b"Subject: x\n\nHi\n"), b"From: ann@example.org\r\nSubject: x\r\n\r\nHi\r\n")
        self.assertEqual(read(b"from : b\n\nHi\n"), b"from : b\r\n\r\nHi\r\n")

    def test_a_message_without_a_header(self) -> None:
        for octets, body in ((b"Hi\n", b"Hi\r\n"), (b"\nHi\n", b"Hi\r\n"), (b"", b""), (b" Hi\n", b" Hi\r\n")):
            self.assertEqual(read(octets), b"From: ann@example.org\r\n\r\n" + body)

    def test_a_header_that_ends_without_an_empty_line(self) -> None:
        self.assertEqual(read(b"From: a\nHello you\nthere\n"), b"From: a\r\n\r\nHello you\r\nthere\r\n")
        self.assertEqual(read(b"From: a\n b\nSubject: x"), b"From: a\r\n b\r\nSubject: x\r\n\r\n")

    def test_a_line_of_an_mbox_goes(self) -> None:
        self.assertEqual(read(b"From ann Mon Jan  5\nFrom: a\n\nHi\n"), b"From: a\r\n\r\nHi\r\n")

    def test_bounds(self) -> None:
        with self.assertRaises(TooLarge):
            read(b"From: a\n\n" + b"x" * 1000, limit=1000)
        with self.assertRaises(CommandRefused):
            read(b"X: y\n" * 100_000)

    @given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b":", b" ", b".", b"From: x", b"\xff"]), max_size=30))
    def test_every_line_ends_the_same(self, pieces: list[bytes]) -> None:
        whole = read(b"".join(pieces), dot=False)
        self.assertEqual(whole.count(b"\r\n"), whole.count(b"\n"))
        self.assertEqual(whole.count(b"\r\n"), whole.count(b"\r"))


class RecipientTests(SynchronousTestCase):
    def test_to_cc_and_bcc(self) -> None:
        header = b'To: "Bob, B." <bob@example.net>,\r\n eve@example.com\r\nCc: ann\r\n'
        header += b"BCC: x@example.org, eve@example.com\r\n"
        self.assertEqual(recipients_of(header), ["bob@example.net", "eve@example.com", "ann", "x@example.org"])

    def test_a_message_sent_again(self) -> None:
        header = b"To: bob@example.net\r\nResent-To: eve@example.com\r\nResent-Bcc: x@example.org\r\n"
        self.assertEqual(recipients_of(header), ["eve@example.com", "x@example.org"])

    def test_groups_and_odd_names(self) -> None:
        header = 'To: Friends: a@example.org, "b c"@example.org;, 하늘@예시.한국, undisclosed:;\r\n'.encode()
        self.assertEqual(recipients_of(header), ["a@example.org", '"b c"@example.org', "하늘@예시.한국"])

    def test_what_is_no_text_is_refused(self) -> None:
        with self.assertRaises(CommandRefused):
            recipients_of(b"To: \xff@example.org\r\n")


class SendmailTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.asked: list[tuple[dict[str, Any], bytes]] = []
        self.answer: Exception | None = None
        self.patch(send, "ask", self.ask)
        self.patch(sendmail, "ask", self.ask)
        self.patch(os, "environ", {})

    def ask(self, given: argparse.Namespace, request: dict[str, Any], tell: Any, body: Any = None) -> None:
        if self.answer is not None:
            raise self.answer
        self.asked.append((request, body.read() if body else b""))
        tell({"id": "1a", "done": "accepted"})

    def sendmail(self, *arguments: str, typed: bytes = b"Subject: x\n\nHi\n", program: str = "sendmail") -> int:
        out, err = io.StringIO(), io.StringIO()
        source = io.TextIOWrapper(io.BytesIO(typed))
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            patch.object(sys, "stdin", source),
        ):
            exited = self.assertRaises(SystemExit, sendmail.main, list(arguments), program)
        self.said = out.getvalue() + err.getvalue()
        assert isinstance(exited.code, int)
        return exited.code

    def test_as_programs_call_it(self) -> None:
        for arguments, sender, recipients in (
            (("-i", "bob@example.net"), None, ["bob@example.net"]),
            (("-oi", "-f", "ann@example.org", "bob@example.net"), "ann@example.org", ["bob@example.net"]),
            (
                ("-fann@example.org", "-oem", "-odb", "--", "bob", "<eve@x.org>"),
                "ann@example.org",
                ["bob@localhost", "eve@x.org"],
            ),
            (("-FCron Daemon", "-bm", "-r", "root", "bob"), "root@localhost", ["bob@localhost"]),
            (("bob", "-f", "<>", "-v", "-B8BITMIME"), "", ["bob@localhost"]),
            (("-f", "", "-U", "-G", "-n", "-h", "5", "bob"), "", ["bob@localhost"]),
        ):
            self.asked.clear()
            self.assertEqual(self.sendmail(*arguments), 0, self.said)
            ((request, _),) = self.asked
            if sender is not None:
                self.assertEqual(request["sender"], sender, arguments)
            self.assertEqual(request["recipients"], recipients)
            self.assertEqual(self.said, "")

    def test_recipients_from_the_header(self) -> None:
        typed = b"To: bob@example.net\nBcc: eve@example.com\n\nHi\n"
        self.assertEqual(self.sendmail("-t", "-i", "x@example.org", typed=typed), 0)
        self.assertEqual(self.asked[0][0]["recipients"], ["x@example.org", "bob@example.net", "eve@example.com"])

    def test_a_name(self) -> None:
        self.sendmail("-F", 'Ann "A" \\ B', "-f", "ann@example.org", "bob")
        self.assertTrue(self.asked[0][1].startswith(b'From: "Ann \\"A\\" \\\\ B" <ann@example.org>\r\n'))
        self.assertEqual(self.sendmail("-F", "a\r\nBcc: x", "-f", "ann@example.org", "bob"), 69)

    def test_what_a_sender_wants_to_hear(self) -> None:
        self.sendmail("-N", "success,failure", "-R", "hdrs", "-V", "E1", "bob")
        request = self.asked[0][0]
        self.assertEqual((request["notify"], request["returns"], request["envid"]), ("success,failure", "HDRS", "E1"))

    def test_eight_bits(self) -> None:
        self.sendmail("bob", typed="Subject: x\n\nGrüße\n".encode())
        self.sendmail("하늘@example.net")
        self.assertEqual(
            [(each["eight_bit"], each["smtputf8"]) for each, _ in self.asked], [(True, False), (False, True)]
        )

    def test_exit_codes(self) -> None:
        for refusal, code in (
            (TryLater("452 4.3.1 Full"), 75),
            (CommandRefused("550 5.1.1 No such user here"), 67),
            (CommandRefused("550 5.7.1 Not you"), 69),
            (CommandRefused("554 5.6.0 Broken"), 65),
            (ConfigurationRefused("wrong"), 78),
            (OSError(5, "I/O error"), 74),
            (KeyboardInterrupt(), 75),
        ):
            self.answer = refusal  # type: ignore[assignment]  # an interrupt is no Exception
            self.assertEqual(self.sendmail("bob"), code, refusal)
        self.answer = None
        self.assertEqual(self.sendmail(), 69)
        self.assertEqual(self.sendmail("-Z", "bob"), 64)
        self.assertEqual(self.sendmail("-f"), 64)
        self.assertEqual(self.sendmail("-R", "some", "bob"), 69)
        self.assertEqual(self.sendmail("-bs"), 69)
        self.assertEqual(self.asked, [])

    def test_its_other_names(self) -> None:
        self.assertEqual(self.sendmail(program="/usr/bin/newaliases"), 0)
        self.assertEqual(self.sendmail("-bi"), 0)
        self.assertEqual(self.asked, [])
        self.assertEqual(self.sendmail("-q"), 0)
        self.assertEqual(self.sendmail("-q30m"), 0)
        self.assertEqual([each["do"] for each, _ in self.asked], ["retry", "retry"])

    def test_where_its_configuration_is(self) -> None:
        self.assertEqual(self.sendmail("-C", "/nonexistent/x.toml", "bob"), 78)
        os.environ["MAILFW_CONFIG"] = "/nonexistent/y.toml"
        self.assertEqual(self.sendmail("bob"), 78)
        self.assertIn("/nonexistent/y.toml", self.said)
        os.environ["MAILFW_CONFIG"] = ""  # no file, whatever is in /etc
        self.assertEqual(self.sendmail("bob"), 0)
