"""What the server says."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap import responses
from mailfw.imap.lexer import Cursor, Literal


class Strings(SynchronousTestCase):
    def test_the_shortest_form_is_taken(self) -> None:
        for octets, expected in (
            (b"INBOX", b"INBOX"),
            (b"", b'""'),
            (b"NIL", b'"NIL"'),
            (b"nilly", b"nilly"),
            (b"a b", b'"a b"'),
            (b'a"\\', b'"a\\"\\\\"'),
            (b"a%", b'"a%"'),
            (b"a\r\nb", b"{4}\r\na\r\nb"),
            (b"\xc3\xa9", b"{2}\r\n\xc3\xa9"),
            (b"a" * 2000, b"a" * 2000),
        ):
            self.assertEqual(responses.astring(octets), expected)
        self.assertEqual(responses.nstring(None), b"NIL")
        self.assertEqual(responses.nstring(b"NIL"), b'"NIL"')
        self.assertEqual(responses.mailbox("한글 1"), b'"&1VyuAA- 1"')

    @given(st.binary().filter(lambda octets: b"\0" not in octets))
    def test_what_is_written_can_be_read(self, octets: bytes) -> None:
        written = responses.astring(octets)
        pieces: list[bytes | Literal] = [written]
        if written.startswith(b"{"):
            pieces = [b"", Literal(written.partition(b"\r\n")[2]), b""]
        cursor = Cursor(pieces)
        self.assertEqual(cursor.astring(), octets)
        self.assertTrue(cursor.at_end())


class Values(SynchronousTestCase):
    def test_flags_come_in_one_order(self) -> None:
        self.assertEqual(responses.flags(frozenset({"b", "a", "\\Seen", "\\Answered"})), b"(\\Answered \\Seen a b)")
        self.assertEqual(responses.flags(frozenset(), True), b"(\\Recent)")

    def test_dates(self) -> None:
        self.assertEqual(responses.internal_date(0), b'" 1-Jan-1970 00:00:00 +0000"')
        self.assertEqual(responses.internal_date(837596665), b'"17-Jul-1996 09:44:25 +0000"')
        self.assertEqual(responses.internal_date(10**18), b'" 1-Jan-1970 00:00:00 +0000"')

    @given(st.integers(0, 2**33))
    def test_dates_can_be_read(self, epoch: int) -> None:
        self.assertEqual(Cursor([responses.internal_date(epoch)]).date_time(), epoch)

    def test_uid_sets(self) -> None:
        self.assertEqual(responses.uid_set([1, 2, 3, 7, 9, 10]), b"1:3,7,9:10")
        self.assertEqual(responses.uid_set([3, 2]), b"3,2")

    def test_completions(self) -> None:
        self.assertEqual(responses.no("No", b"TRYCREATE").encode(b"a1"), b"a1 NO [TRYCREATE] No\r\n")
        self.assertEqual(responses.ok("한").encode(b"a1"), b"a1 OK ?\r\n")
