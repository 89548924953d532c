"""GETMETADATA and SETMETADATA (RFC 5464), /private/specialuse (RFC 6154 section 4), and LIST with them (RFC 9590)."""

from __future__ import annotations

from dataclasses import replace

from mailfw.mail.annotation import LONGEST_VALUE, MOST_ENTRIES
from mailfw.mail.mailbox import Role
from tests.imap.sessions import ANN
from tests.imap.test_listing import TreeCase
from tests.sharing.test_imap import BOB, SharedCase


class Entries(TreeCase):
    def setUp(self) -> None:
        super().setUp()
        self.here = self.log_in()

    def test_they_are_kept_until_they_are_removed(self) -> None:
        self.says(self.here, b'SETMETADATA INBOX (/private/comment "My own" /Shared/Comment "Ours")')
        self.says(
            self.here, b"GETMETADATA inbox (/private/comment /shared/COMMENT /private/none)",
            b'* METADATA INBOX (/private/comment "My own" /shared/comment "Ours" /private/none NIL)',
        )  # fmt: skip
        self.says(self.here, b"SETMETADATA INBOX (/private/comment NIL)")
        self.says(self.here, b"GETMETADATA INBOX /private/comment", b"* METADATA INBOX (/private/comment NIL)")
        self.says(self.here, b"GETMETADATA Sent /shared/comment", b"* METADATA Sent (/shared/comment NIL)")

    def test_nothing_and_an_empty_value_are_two_things(self) -> None:
        self.says(self.here, b'SETMETADATA INBOX (/private/comment "")')
        self.says(self.here, b"GETMETADATA INBOX /private/comment", b'* METADATA INBOX (/private/comment "")')

    def test_values_of_any_octets(self) -> None:
        self.here.say(b"a SETMETADATA INBOX (/private/a ~{3+}\r\n\0\r\xff /private/b {2+}\r\n\xc3\xa4)\r\n")
        self.assertTrue(self.here.hear().startswith(b"a OK "))
        answer = self.ask(self.here, b"b GETMETADATA INBOX (/private/a /private/b)")
        expected = b"* METADATA INBOX (/private/a ~{3}\r\n\0\r\xff /private/b {2}\r\n\xc3\xa4)\r\n"
        self.assertTrue(answer.startswith(expected), answer)

    def test_what_is_below(self) -> None:
        self.says(self.here, b'SETMETADATA INBOX (/private/a "1" /private/a/b "2" /private/a/b/c "3" /private/ab "4")')
        for options, expected in (
            (b"", b'/private/a "1"'),
            (b"(DEPTH 0) ", b'/private/a "1"'),
            (b"(DEPTH 1) ", b'/private/a "1" /private/a/b "2"'),
            (b"(DEPTH infinity) ", b'/private/a "1" /private/a/b "2" /private/a/b/c "3"'),
        ):
            line = b"GETMETADATA " + options + b"INBOX /private/a"
            self.says(self.here, line, b"* METADATA INBOX (" + expected + b")")
        self.says(self.here, b"GETMETADATA (DEPTH infinity) INBOX /shared")

    def test_long_values_are_left_out_and_measured(self) -> None:
        self.says(self.here, b'SETMETADATA INBOX (/private/a "%b" /private/b "%b")' % (b"x" * 100, b"y" * 20))
        self.says(
            self.here, b"GETMETADATA (MAXSIZE 50) INBOX (/private/a /private/b)",
            b'* METADATA INBOX (/private/b "%b")' % (b"y" * 20), end=b"a OK [METADATA LONGENTRIES 100] ",
        )  # fmt: skip
        line = b"GETMETADATA INBOX (MAXSIZE 5) (/private/a)"
        self.says(self.here, line, end=b"a OK [METADATA LONGENTRIES 100] ")

    def test_limits(self) -> None:
        self.here.say(
            b"a SETMETADATA INBOX (/private/a {%d+}\r\n%b)\r\n" % (LONGEST_VALUE + 1, b"x" * (LONGEST_VALUE + 1))
        )
        self.assertTrue(self.here.hear().startswith(b"a NO [METADATA MAXSIZE %d] " % LONGEST_VALUE))
        for number in range(MOST_ENTRIES):
            self.ask(self.here, b'a SETMETADATA INBOX (/private/%d "x")' % number)
        self.says(self.here, b'SETMETADATA INBOX (/private/more "x")', end=b"a NO [METADATA TOOMANY] ")
        self.says(self.here, b"GETMETADATA INBOX /private/more", b"* METADATA INBOX (/private/more NIL)")

    def test_what_cannot_be(self) -> None:
        for entry in (b"/private", b"/shared/vendor", b"/private/vendor/x"):
            self.says(self.here, b'SETMETADATA INBOX (%b "x")' % entry, end=b"a BAD ")
            self.says(self.here, b"GETMETADATA (DEPTH infinity) INBOX " + entry)
        self.says(self.here, b'SETMETADATA INBOX (/private/%b "x")' % (b"x" * 300), end=b"a NO [METADATA MAXSIZE ")
        self.says(self.here, b"GETMETADATA nowhere /private/a", end=b"a NO [NONEXISTENT] ")
        self.says(self.here, b'SETMETADATA nowhere (/private/a "x")', end=b"a NO [NONEXISTENT] ")
        self.says(self.here, b"GETMETADATA INBOX /comment", end=b"a BAD ")

    def test_a_mailbox_keeps_them_when_it_is_renamed(self) -> None:
        self.says(self.here, b'SETMETADATA Junk (/private/a "x")')
        self.says(self.here, b"RENAME Junk Spam")
        self.says(self.here, b"GETMETADATA Spam /private/a", b'* METADATA Spam (/private/a "x")')

    def test_the_inbox_gives_them_when_it_is_renamed_and_keeps_them(self) -> None:
        self.says(self.here, b'SETMETADATA INBOX (/private/a "x" /shared/comment "y")')
        self.says(self.here, b"RENAME INBOX Old")
        for name in (b"Old", b"INBOX"):
            told = b'* METADATA %b (/private/a "x" /shared/comment "y")' % name
            self.says(self.here, b"GETMETADATA %b (/private/a /shared/comment)" % name, told)


class Server(TreeCase):
    def test_an_account_has_its_own_and_all_see_the_servers(self) -> None:
        self.settings = replace(self.settings, annotations={"/shared/admin": b"mailto:postmaster@example.org"})
        here = self.log_in()
        self.says(here, b'SETMETADATA "" (/private/color "red")')
        self.says(
            here, b'GETMETADATA "" (/private/color /shared/admin /shared/comment)',
            b'* METADATA "" (/private/color "red" /shared/admin "mailto:postmaster@example.org" /shared/comment NIL)',
        )  # fmt: skip
        self.says(here, b'SETMETADATA "" (/shared/admin "x")', end=b"a NO [NOPERM] ")


class SpecialUse(TreeCase):
    def setUp(self) -> None:
        super().setUp()
        self.here = self.log_in()

    def test_it_is_an_annotation_too(self) -> None:
        self.says(
            self.here, b"GETMETADATA Sent /private/specialuse", b'* METADATA Sent (/private/specialuse "\\\\Sent")'
        )
        self.says(self.here, b"GETMETADATA INBOX /private/specialuse", b"* METADATA INBOX (/private/specialuse NIL)")

    def test_it_can_be_given_to_another(self) -> None:
        self.make("Posted")
        line = b'SETMETADATA Posted (/private/specialuse "\\\\Sent" /private/a "x")'
        self.says(self.here, line, end=b"a NO [USEATTR] ")
        self.says(self.here, b"GETMETADATA Posted /private/a", b"* METADATA Posted (/private/a NIL)")
        self.says(self.here, b"SETMETADATA Sent (/private/specialuse NIL)")
        wrong = b'SETMETADATA Posted (/private/specialuse "\\\\Sent" /private/%b "x")' % (b"x" * 300)
        self.says(self.here, wrong, end=b"a NO [METADATA MAXSIZE ")
        self.assertIs(self.info(("Posted",)).role, None)
        self.says(self.here, line)
        self.says(self.here, b'LIST (SPECIAL-USE) "" P*', b'* LIST (\\HasNoChildren \\Sent) "/" Posted')
        self.assertIs(self.info(("Sent",)).role, None)
        self.assertIs(self.info(("Posted",)).role, Role.SENT)

    def test_what_it_cannot_be(self) -> None:
        self.make("x")
        for value in (b"\\\\All", b"\\\\Sent \\\\Junk", b"nothing"):
            self.says(self.here, b'SETMETADATA x (/private/specialuse "%b")' % value, end=b"a NO [USEATTR] ")
        self.says(self.here, b'SETMETADATA INBOX (/private/specialuse "\\\\Archive")', end=b"a NO [")


class Listed(TreeCase):
    def test_list_returns_what_was_asked_for_of_each(self) -> None:
        here = self.log_in()
        self.says(here, b'SETMETADATA Junk (/private/color "red")')
        self.says(
            here, b'LIST "" (Junk Sent) RETURN (METADATA (/private/Color) STATUS (MESSAGES))',
            b'* LIST (\\HasNoChildren \\Junk) "/" Junk',
            b'* METADATA Junk (/private/color "red")',
            b"* STATUS Junk (MESSAGES 0)",
            b'* LIST (\\HasNoChildren \\Sent) "/" Sent',
            b"* METADATA Sent (/private/color NIL)",
            b"* STATUS Sent (MESSAGES 0)",
        )  # fmt: skip
        self.assertRegex(self.ask(here, b"c CAPABILITY"), rb" METADATA LIST-METADATA\b")


class Shared(SharedCase):
    def test_what_is_shared_and_what_is_ones_own(self) -> None:
        self.share("lr")
        ann, bob = self.enter(ANN), self.enter(BOB)
        name = "Shared/ann@example.org/INBOX"
        self.says(ann, 'a SETMETADATA INBOX (/shared/comment "all" /private/comment "ann")', "a OK")
        self.says(bob, f'a SETMETADATA {name} (/private/comment "bob")', "a OK")
        self.says(bob, f'a SETMETADATA {name} (/shared/comment "mine")', "a NO [NOPERM]")
        said = f'* METADATA {name} (/shared/comment "all" /private/comment "bob")\r\n'
        self.says(bob, f"a GETMETADATA {name} (/shared/comment /private/comment)", said)
        self.says(bob, f'a LIST "" {name} RETURN (METADATA (/shared/comment /private/comment))', said)
        said = '* METADATA INBOX (/shared/comment "all" /private/comment "ann")\r\n'
        self.says(ann, "a GETMETADATA INBOX (/shared/comment /private/comment)", said)

    def test_who_may_do_anything_with_a_mailbox_sees_them(self) -> None:
        self.share("li")
        name = "Shared/ann@example.org/INBOX"
        bob = self.enter(BOB)
        said = f"* METADATA {name} (/shared/comment NIL)\r\n"
        self.says(bob, f"a GETMETADATA {name} /shared/comment", said)
        self.says(bob, f'a LIST "" {name} RETURN (METADATA (/shared/comment))', said)
