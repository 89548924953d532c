"""What clients do, or servers got wrong, with messages: each has cost somebody mail or nerves."""

from mailfw.imap.allowances import Allowance
from mailfw.imap.settings import IMAPSettings
from tests.imap.test_fetch import FetchCase

SIMPLE = b"Subject: Hi\r\nX-Own: 1\r\n\r\nHow are you?\r\n"


class Traps(FetchCase):
    def test_chosen_fields_end_with_the_empty_line(self) -> None:
        self.deliver(SIMPLE)
        here = self.open()
        label = b"BODY[HEADER.FIELDS (SUBJECT)] {15}\r\n"
        self.assertEqual(self.fetch(here, b"BODY.PEEK[HEADER.FIELDS (SUBJECT)]"), label + b"Subject: Hi\r\n\r\n")
        self.assertTrue(self.fetch(here, b"BODY.PEEK[HEADER.FIELDS (NONE)]").endswith(b"{2}\r\n\r\n"))
        self.assertTrue(self.fetch(here, b"BODY.PEEK[HEADER.FIELDS.NOT (Subject X-Own)]").endswith(b"{2}\r\n\r\n"))

    def test_old_names_are_answered_by_their_names(self) -> None:
        self.deliver(SIMPLE, "\\Seen")
        here = self.open()
        for name in (b"RFC822", b"RFC822.HEADER", b"RFC822.TEXT", b"RFC822.SIZE"):
            self.assertTrue(self.fetch(here, name).startswith(name + b" "), name)

    def test_reading_is_told_and_the_old_name_reads_too(self) -> None:
        for what in (b"BODY[]", b"RFC822", b"RFC822.TEXT", b"BODY[TEXT]", b"BINARY[1]"):
            self.setUp()
            self.deliver(SIMPLE)
            self.assertIn(b" FLAGS (\\Seen", self.fetch(self.open(), what))
            self.assertEqual(self.flags(), {1: frozenset({"\\Seen"})})

    def test_a_partial_beyond_the_end_is_empty(self) -> None:
        self.deliver(SIMPLE)
        here = self.open()
        self.assertEqual(self.fetch(here, b"BODY.PEEK[]<1000.10>"), b'BODY[]<1000> ""')
        self.assertEqual(self.fetch(here, b"BODY.PEEK[TEXT]<12.1000>"), b"BODY[TEXT]<12> {2}\r\n\r\n")

    def test_an_empty_line_before_a_tag(self) -> None:
        self.deliver(SIMPLE)
        here = self.open()
        here.say(b'\r\nB41 UID MOVE 1 "Trash"\r\n')
        self.assertIn(b"B41 OK", here.hear())
        here.say(b"a APPEND INBOX {%d+}\r\n%b\r\n\r\n\r\nb NOOP\r\n" % (len(SIMPLE), SIMPLE))
        answer = here.hear()
        self.assertIn(b"a OK", answer)
        self.assertIn(b"b OK", answer)
        self.assertNotIn(b"BAD", answer)

    def test_8_bit_in_a_quoted_string(self) -> None:
        self.deliver("Subject: Grüße\r\n\r\nx\r\n".encode())
        here = self.open()
        answer = self.ask(here, 'a SEARCH CHARSET UTF-8 SUBJECT "Grüße"'.encode())
        self.assertIn(b"* SEARCH 1\r\n", answer)
        self.assertIn(b"a BAD", self.ask(here, 'a SELECT "Grüße"'.encode()))

    def test_8_bit_in_a_header_without_utf8(self) -> None:
        octets = "Subject: Grüße\r\n\r\nx\r\n".encode()
        self.deliver(octets, "\\Seen")
        here = self.open()
        self.assertEqual(self.fetch(here, b"BODY[]"), b"BODY[] {%d}\r\n%b" % (len(octets), octets))
        # A string with 8-bit octets is a literal: without UTF8=ACCEPT it cannot be quoted (RFC 3501 section 4.3).
        self.assertIn("{7}\r\nGrüße ".encode(), self.fetch(here, b"ENVELOPE"))

    def test_very_long_lines(self) -> None:
        self.deliver(SIMPLE, "\\Seen")
        here = self.open()
        line = b"a UID FETCH " + b",".join(b"%d" % uid for uid in range(1, 20_000, 2)) + b" FLAGS"
        self.assertIn(b"a OK", self.ask(here, line))
        self.settings = IMAPSettings(
            "mail.example.org", allow_plaintext_auth=True, allowance=Allowance(line=2_000_000, command=3_000_000)
        )
        here = self.open()
        line = b"a UID FETCH " + b",".join(b"%d" % uid for uid in range(1, 400_000, 2)) + b" FLAGS"
        self.assertGreater(len(line), 1_000_000)
        self.assertIn(b"a OK", self.ask(here, line))

    def test_a_preview_comes_at_once(self) -> None:
        self.deliver(SIMPLE)
        here = self.open()
        self.assertEqual(self.fetch(here, b"PREVIEW"), b'PREVIEW "How are you?"')
        self.assertEqual(self.fetch(here, b"(PREVIEW (LAZY))"), b'PREVIEW "How are you?"')
        self.assertIn(b"f BAD", self.ask(here, b"f FETCH 1 (PREVIEW (EAGER))"))

    def test_when_a_message_was_saved(self) -> None:
        self.deliver(SIMPLE)
        here = self.open()
        self.assertRegex(self.fetch(here, b"SAVEDATE"), rb'^SAVEDATE "[ 0-9][0-9]-[A-Z][a-z]{2}-20[0-9]{2} .* \+0000"$')
        self.assertIn(b" SAVEDATE", self.ask(here, b"a CAPABILITY"))
