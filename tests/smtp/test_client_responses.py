from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.outcome import Deferred, Failed
from mailfw.mail.reply import Reply
from mailfw.smtp.client.capabilities import Capabilities, read_capabilities
from mailfw.smtp.client.responses import LINES_LIMIT, NotSMTP, ReplyReader, deferred, outcome, read_single


def read(*lines: bytes) -> Reply:
    reader = ReplyReader()
    for line in lines[:-1]:
        assert not reader.feed(line)
    assert reader.feed(lines[-1])
    return reader.reply


class ResponseTests(SynchronousTestCase):
    def test_single_lines(self) -> None:
        for line, reply in {
            b"250 2.1.0 Sender OK": Reply(250, "2.1.0", "Sender OK"),
            b"250 OK": Reply(250, "", "OK"),
            b"250": Reply(250, "", ""),
            b"250 ": Reply(250, "", ""),
            b"354 End with <CRLF>.<CRLF>": Reply(354, "", "End with <CRLF>.<CRLF>"),
            b"550 5.1.1 <bob@x>: no": Reply(550, "5.1.1", "<bob@x>: no"),
            b"550 5.1.1": Reply(550, "5.1.1", ""),
            b"550 4.1.1 wrong class": Reply(550, "", "4.1.1 wrong class"),
            b"550 5.1.1234 no status": Reply(550, "", "5.1.1234 no status"),
            b"450 a\tb\x1b[2Jc": Reply(450, "", "a b [2Jc"),
            "550 5.7.1 닫힘".encode(): Reply(550, "5.7.1", "닫힘"),
            b"550 \xff": Reply(550, "", "\ufffd"),
        }.items():
            self.assertEqual(read_single(line), reply, line)
            self.assertEqual(read(line), reply, line)

    def test_several_lines(self) -> None:
        self.assertIsNone(read_single(b"250-first"))
        self.assertEqual(
            read(b"550-5.7.1 You are", b"550-5.7.1 not", b"550 5.7.1 welcome"),
            Reply(550, "5.7.1", "You are\nnot\nwelcome"),
        )
        self.assertEqual(read(b"250-", b"250"), Reply(250, "", "\n"))

    def test_what_is_no_reply(self) -> None:
        for line in (
            b"", b"2", b"25", b"2500", b"150 early", b"600 late", b"+OK POP3", b"* OK IMAP", b"HTTP/1.1 400 Bad",
            b"250_OK", b"250 a\rb", b"250 a\nb", b"250 a\0b", b" 250 OK", b"\xff\xfe0 OK", "٢٥٠ OK".encode(),
        ):  # fmt: skip
            self.assertRaises(NotSMTP, read_single, line)
            self.assertRaises(NotSMTP, read, line)
        self.assertRaises(NotSMTP, read, b"250-a", b"251 b")

    def test_a_reply_has_an_end(self) -> None:
        reader = ReplyReader()
        for _ in range(LINES_LIMIT):
            self.assertFalse(reader.feed(b"250-again"))
        self.assertRaises(NotSMTP, reader.feed, b"250-again")

    @given(st.binary(max_size=60))
    def test_nothing_else_is_raised(self, line: bytes) -> None:
        try:
            reply = read_single(line)
        except NotSMTP:
            return
        if reply is not None:
            self.assertNotRegex(reply.text, r"[\x00-\x1f\x7f]")

    def test_outcomes(self) -> None:
        for reply, wanted in {
            Reply(550, "5.1.1", "no"): Failed(Reply(550, "5.1.1", "no"), "mx"),
            Reply(554, "", "no"): Failed(Reply(554, "5.0.0", "no"), "mx"),
            Reply(450, "4.2.0", "later"): Deferred(Reply(450, "4.2.0", "later"), "mx"),
            Reply(451, "", "later"): Deferred(Reply(451, "4.0.0", "later"), "mx"),
        }.items():
            self.assertEqual(outcome(reply, "mx"), wanted)
        self.assertEqual(deferred(Reply(552, "5.5.3", "many"), "mx"), Deferred(Reply(452, "4.5.3", "many"), "mx"))
        self.assertEqual(deferred(Reply(550, "", "x"), "mx", True), Deferred(Reply(450, "4.0.0", "x"), "mx", True))


class CapabilityTests(SynchronousTestCase):
    def test_everything(self) -> None:
        offered = read_capabilities(
            [
                "PIPELINING", "size 1000", "8bitmime", "STARTTLS", "AUTH PLAIN login", "CHUNKING", "BINARYMIME", "DSN",
                "SMTPUTF8", "REQUIRETLS", "MT-PRIORITY STANAG4406", "DELIVERBY 240", "FUTURERELEASE 1000 x",
                "LIMITS RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1", "ENHANCEDSTATUSCODES", "",
            ]
        )  # fmt: skip
        self.assertTrue(offered.pipelining and offered.chunking and offered.eight_bit and offered.binary)
        self.assertTrue(offered.dsn and offered.utf8)
        self.assertEqual(offered.size, 1000)
        self.assertEqual(offered.mechanisms, {"PLAIN", "LOGIN"})
        self.assertEqual((offered.recipients, offered.messages, offered.domains), (20, 5, 1))
        self.assertEqual(offered.by_minimum, 240)
        for keyword in ("REQUIRETLS", "MT-PRIORITY", "STARTTLS", "FUTURERELEASE", "ENHANCEDSTATUSCODES"):
            self.assertIn(keyword, offered)
        self.assertNotIn("", offered)

    def test_nothing(self) -> None:
        self.assertEqual(read_capabilities([]), Capabilities({}))
        self.assertEqual(read_capabilities([]).recipients, 100)

    def test_nonsense_is_passed_over(self) -> None:
        offered = read_capabilities(
            [
                "SIZE",
                "SIZE -1",
                "SIZE ٣",
                "SIZE 1e9",
                "SIZE " + "9" * 30,
                "LIMITS RCPTMAX MAILMAX=x =3",
                "DELIVERBY soon",
            ]
        )
        self.assertEqual((offered.size, offered.recipients, offered.messages, offered.by_minimum), (0, 100, 0, 0))

    def test_the_old_form_of_auth(self) -> None:
        self.assertEqual(read_capabilities(["AUTH=LOGIN PLAIN"]).mechanisms, {"LOGIN", "PLAIN"})
        self.assertEqual(read_capabilities(["AUTH=LOGIN", "AUTH CRAM-MD5"]).mechanisms, {"LOGIN", "CRAM-MD5"})

    def test_binarymime_needs_chunking(self) -> None:
        self.assertFalse(read_capabilities(["BINARYMIME"]).binary)

    def test_a_server_that_takes_any_number(self) -> None:
        self.assertEqual(read_capabilities(["LIMITS RCPTMAX=99999999"]).recipients, 1000)

    @given(st.lists(st.text(max_size=30)))
    def test_nothing_is_raised(self, lines: list[str]) -> None:
        read_capabilities(lines)
