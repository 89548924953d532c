"""Rights: how they are written, and who has them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.failure import NoPermission, NoSuchMailbox
from mailfw.mail.mailbox import DELETED, FLAGGED, NO_FLAGS, SEEN, FlagChange
from mailfw.mail.personal import check_change, combined, merged, parted, require
from mailfw.mail.rights import (
    ALL_RIGHTS,
    LETTERS,
    NO_RIGHTS,
    BadRights,
    entries_of,
    format_rights,
    identifier_of,
    parse_rights,
    rights_of,
)

ANN, BOB = "ann@example.org", "bob@example.org"
RIGHTS = st.frozensets(st.sampled_from(LETTERS))
FLAGS = st.frozensets(st.sampled_from([SEEN, DELETED, FLAGGED, "$Work"]))


class Writing(SynchronousTestCase):
    def test_virtual_rights(self) -> None:
        self.assertEqual(parse_rights("lrcd"), frozenset("lrkxte"))
        self.assertEqual(format_rights(frozenset("lk")), "lk")
        self.assertEqual(format_rights(frozenset("lk"), with_virtual=True), "lkc")
        self.assertEqual(format_rights(frozenset("re"), with_virtual=True), "red")
        self.assertEqual(format_rights(ALL_RIGHTS, with_virtual=True), "lrswipkxteacd")

    def test_what_is_none(self) -> None:
        for text in ("L", "q", "l r", "1", "é"):
            self.assertRaises(BadRights, parse_rights, text)

    @given(RIGHTS, st.booleans())
    def test_there_and_back(self, rights: frozenset[str], with_virtual: bool) -> None:
        self.assertTrue(parse_rights(format_rights(rights, with_virtual)) >= rights)
        self.assertEqual(parse_rights(format_rights(rights)), rights)

    @given(st.text())
    def test_nothing_but_a_refusal(self, text: str) -> None:
        for read in (parse_rights, lambda text: identifier_of(text, "example.org")):
            try:
                read(text)
            except BadRights:
                continue

    def test_identifiers(self) -> None:
        for text, expected in (
            ("Ann", ANN),
            ("ANN@Example.ORG", ANN),
            ("-ann", f"-{ANN}"),
            ("Anyone", "anyone"),
            ("-authenticated", "-authenticated"),
            ("ann@example.net", "ann@example.net"),
        ):
            self.assertEqual(identifier_of(text, "example.org"), expected)
        self.assertRaises(BadRights, identifier_of, "ann", "")

    def test_domains_are_those_of_accounts(self) -> None:
        for text in ("-bob@XN--BCHER-KVA.example", "-bob@bücher.example."):
            self.assertEqual(identifier_of(text, "example.org"), "-bob@bücher.example")
        self.assertRaises(BadRights, identifier_of, "bob@xn--a", "example.org")


class Having(SynchronousTestCase):
    def test_a_union_less_what_is_taken(self) -> None:
        access = {
            "anyone": frozenset("l"),
            "authenticated": frozenset("r"),
            BOB: frozenset("swi"),
            f"-{BOB}": frozenset("w"),
            "-anyone": frozenset("i"),
        }
        self.assertEqual(rights_of(access, BOB), frozenset("lrs"))
        self.assertEqual(rights_of(access, ANN), frozenset("lr"))
        self.assertEqual(rights_of({}, BOB), NO_RIGHTS)

    def test_what_is_taken_from_one_is_not_given_to_another(self) -> None:
        access = {"anyone": frozenset("l"), f"-{BOB}": frozenset("lr")}
        self.assertEqual(rights_of(access, f"-{BOB}"), frozenset("l"))
        self.assertEqual(entries_of(f"-{BOB}"), ())

    def test_what_is_needed(self) -> None:
        require(frozenset("lr"), "r")
        self.assertRaises(NoPermission, require, frozenset("lr"), "r", "i")
        self.assertRaises(NoSuchMailbox, require, frozenset("r"), "i")

    def test_changes_that_are_refused(self) -> None:
        check_change(frozenset("rs"), FlagChange.ADD, frozenset({SEEN, FLAGGED}))
        check_change(frozenset("r"), FlagChange.ADD, NO_FLAGS)
        self.assertRaises(NoPermission, check_change, frozenset("lrs"), FlagChange.ADD, frozenset({FLAGGED}))
        self.assertRaises(NoPermission, check_change, frozenset("lr"), FlagChange.REPLACE, NO_FLAGS)
        self.assertRaises(NoSuchMailbox, check_change, frozenset("s"), FlagChange.ADD, frozenset({SEEN}))


class Seeing(SynchronousTestCase):
    @given(FLAGS, st.booleans())
    def test_merged_and_parted(self, flags: frozenset[str], seen: bool) -> None:
        self.assertEqual(parted(merged(flags, seen), flags), (flags, seen))

    @given(FLAGS, st.sampled_from(FlagChange), FLAGS, RIGHTS)
    def test_what_may_not_be_changed_stays(
        self, old: frozenset[str], change: FlagChange, flags: frozenset[str], rights: frozenset[str]
    ) -> None:
        new = combined(old, change, flags, rights)
        for flag, right in ((SEEN, "s"), (DELETED, "t"), (FLAGGED, "w"), ("$Work", "w")):
            whole = combined(old, change, flags, ALL_RIGHTS)
            self.assertEqual(flag in new, flag in (whole if right in rights else old))

    def test_with_all_rights(self) -> None:
        old, flags = frozenset({SEEN, FLAGGED}), frozenset({FLAGGED, DELETED})
        self.assertEqual(combined(old, FlagChange.ADD, flags, ALL_RIGHTS), old | flags)
        self.assertEqual(combined(old, FlagChange.REMOVE, flags, ALL_RIGHTS), {SEEN})
        self.assertEqual(combined(old, FlagChange.REPLACE, flags, ALL_RIGHTS), flags)
