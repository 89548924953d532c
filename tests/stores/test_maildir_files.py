"""The formats of a maildir: names of files and folders, the control files, line ends."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.disk import Disk
from mailfw.mail.failure import NameRefused, NoSuchAccount
from mailfw.mail.mailbox import DRAFT, FLAGGED, INBOX, SEEN
from mailfw.stores.maildir import content, layout, names, subscriptions, uidlist
from mailfw.stores.maildir.content import Octets
from mailfw.stores.maildir.keywords import Keywords
from mailfw.stores.maildir.signature import Signature
from mailfw.stores.maildir.uidlist import Entry, UidList
from mailfw.stores.maildir.uidvalidity import next_uid_validity
from mailfw.stores.marks import mark_of
from mailfw.stores.places import account_directory


class NameTests(SynchronousTestCase):
    def test_when_a_message_came(self) -> None:
        """The second that a name begins with, unless it is none or has not been yet."""
        now = 1_800_000_000
        for name, saved in (
            ("1700000000.M1P2Q3.host,S=1", 1_700_000_000),
            ("1700000000.host", 1_700_000_000),
            ("1900000000.M1P2Q3.host", now),
            ("0.M1.host", now),
            ("-5.M1.host", now),
            ("1700000000", now),
            ("message.eml", now),
            ("99999999999999999999.x", now),
            ("\u0661\u0667.x", now),
            ("", now),
        ):
            self.assertEqual(names.saved_at(name, now), saved, name)
        before = int(time.time())
        self.assertIn(names.saved_at(names.NameMaker().make(), 2**33) - before, (0, 1))

    def test_new_names_sort_as_they_were_made(self) -> None:
        """Where the list of UIDs is lost, files of one second are numbered in the order of their names."""
        make, microseconds = names.NameMaker().make, (9, 99_999, 100_000, 999_999, 1_000_000)
        with patch("time.time_ns", side_effect=[1_700_000_000 * 10**9 + each * 1000 for each in microseconds]):
            made = [make() for _ in microseconds]
        self.assertEqual(made, sorted(made))

    def test_new_name(self) -> None:
        make = names.NameMaker().make
        made = [make() for _ in range(100)]
        self.assertEqual(len(set(made)), 100)
        for name in made:
            self.assertTrue(re.fullmatch(r"\d+\.M\d{6}P\d+Q\d+\.[^,:/]+", name), name)
        self.assertEqual(names.claimed_sizes(names.with_sizes(made[0], 1234)), (1234, 1234))

    def test_token_in_a_name(self) -> None:
        make = names.NameMaker().make
        self.assertEqual(names.mark_of(make(mark_of("token"))), mark_of("token"))
        self.assertIsNone(names.mark_of(make()))
        self.assertIsNone(names.mark_of("1700000000.T" + "0" * 32 + ".host"))

    def test_parts_of_names(self) -> None:
        for name, base, letters in (
            ("1.M2P3.host", "1.M2P3.host", ""),
            ("1.host:2,", "1.host", ""),
            ("1.host,S=5,W=6:2,FSab", "1.host,S=5,W=6", "FSab"),
            ("1.host:2,S,x=1,:y", "1.host", "S"),
            ("1.host:1,old", "1.host", ""),
        ):
            self.assertEqual((names.base_of(name), names.letters_of(name)), (base, letters), name)

    def test_other_letters(self) -> None:
        for name, letters, expected in (
            ("1.host", "S", "1.host:2,S"),
            ("1.host:2,S", "", "1.host:2,"),
            ("1.host:2,S", "TaRRb", "1.host:2,RTab"),
            ("1.host:2,S,more,and more", "F", "1.host:2,F,more,and more"),
        ):
            self.assertEqual(names.with_letters(name, letters), expected)

    def test_email_ids(self) -> None:
        first = names.email_id_of("1.host,S=5")
        self.assertTrue(re.fullmatch(r"[A-Za-z0-9_-]{1,255}", first))  # objectid = 1*255(ALPHA / DIGIT / "_" / "-")
        self.assertEqual(names.email_id_of(first), first)
        self.assertNotEqual(names.email_id_of("2.host,S=5"), first)


class LayoutTests(SynchronousTestCase):
    def test_directories(self) -> None:
        for path, directory in (
            (("Work",), ".Work"),
            (("Work", "2026"), ".Work.2026"),
            (("a.b", "c"), ".a\\2eb.c"),
            (("back\\slash",), ".back\\5cslash"),
            (("~home", "a~b"), ".\\7ehome.a~b"),
            (("..",), ".\\2e\\2e"),
            (("R&D",), ".R&-D"),
            (("받은 편지함",), ".&vBvHQA- &07jJwNVo-"),
            (("INBOX", "Sub"), ".INBOX.Sub"),
        ):
            self.assertEqual(layout.directory_of(path), directory)
            self.assertEqual(layout.path_of(directory), path)

    def test_refused(self) -> None:
        for path in ((), ("",), ("a", ""), ("a/b",), ("a\x00",), ("a\n",), ("\x7f",), ("\ud800",), ("x" * 255,)):
            self.assertRaises(NameRefused, layout.directory_of, path)

    def test_directories_that_are_no_folders(self) -> None:
        for directory in (".INBOX", ".inbox", ".&!!-", ".a..b", ".a\\2fb", ".a\\2E", ".&AGE-", "."):
            self.assertIsNone(layout.path_of(directory), directory)

    @given(st.lists(st.text(min_size=1), min_size=1, max_size=5).map(tuple))
    def test_every_path_comes_back(self, path: tuple[str, ...]) -> None:
        try:
            directory = layout.directory_of(path)
        except NameRefused:
            return
        self.assertNotIn("/", directory)
        self.assertTrue(directory.isascii())
        self.assertFalse(directory.startswith(".."))
        self.assertEqual(layout.path_of(directory), None if layout.is_inbox(path) else path)

    @given(st.text())
    def test_any_directory_can_be_looked_at(self, directory: str) -> None:
        path = layout.path_of(directory)
        self.assertTrue(path is None or layout.directory_of(path) == directory)


class AccountNameTests(SynchronousTestCase):
    @given(st.lists(st.text(alphabet="a.@/%~\\é\n\x00Ａ2eE-", min_size=1), min_size=2, max_size=2, unique_by=str.lower))
    def test_no_two_accounts_share_a_directory(self, accounts: list[str]) -> None:
        root = Path("/data/mail")
        places = []
        for account in accounts:
            try:
                places.append(account_directory(root, account))
            except NoSuchAccount:
                return
        self.assertNotEqual(*places)
        for place in places:
            self.assertEqual(place.parent.parent, root)
            self.assertEqual(os.path.normpath(place), str(place))


class UidListTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = self.directory / "dovecot-uidlist"
        self.list = UidList(Disk(), str(self.directory))

    def test_new_list(self) -> None:
        self.list.create(1_700_000_000)
        self.assertEqual(self.list.append([("a", {}), ("b", {"G": "x"})]), [1, 2])
        self.assertEqual(self.list.append([("c", {})]), [3])
        header, *lines = self.path.read_text().splitlines()
        self.assertTrue(re.fullmatch("3 V1700000000 N1 G[0-9a-f]{32}", header))
        self.assertEqual(lines, ["1 :a", "2 Gx :b", "3 :c"])
        again = UidList(Disk(), str(self.directory))
        self.assertEqual(again.read(), {"a": Entry(1), "b": Entry(2, {"G": "x"}), "c": Entry(3)})
        self.assertTrue(again.is_current())
        assert again.header is not None
        self.assertEqual((again.header.uid_next, again.header.uid_validity), (4, 1_700_000_000))

    def test_broken_lines_are_passed_over(self) -> None:
        self.path.write_text("3 V5 N3 Gg Other\n1 :a:2,S\nrubbish\n0 :z\n99999999999 :z\n2 S5 W6 O7 :b\n7 :unfinished")
        self.assertEqual(self.list.read(), {"a": Entry(1), "b": Entry(2, {"S": "5", "W": "6", "O": "7"})})
        self.assertEqual(self.path.read_text(), "3 V5 N3 Gg Other\n1 :a\n2 S5 W6 O7 :b\n")

    def test_doubled_uids(self) -> None:
        """No two files have the same: the second gets another."""
        self.path.write_text("3 V5 N3 Gg\n1 :a\n2 :b\n2 :c\n3 :d\n4 :a\n")
        self.assertEqual(self.list.read(), {"b": Entry(2), "d": Entry(3), "a": Entry(4)})
        self.assertEqual(self.path.read_text(), "3 V5 N5 Gg\n2 :b\n3 :d\n4 :a\n")

    def test_version_1(self) -> None:
        self.path.write_text("1 1234567890 8\n1 a,S=3:2,S\n5 b\n")
        self.assertEqual(self.list.read(), {"a,S=3": Entry(1), "b": Entry(5)})
        header, *lines = self.path.read_text().splitlines()
        self.assertTrue(header.startswith("3 V1234567890 N8 G"))
        self.assertEqual(lines, ["1 :a,S=3", "5 :b"])

    def test_no_header(self) -> None:
        for text in (
            "",
            "\n",
            "2 V5\n",
            "3 N5 Gg\n1 :a\n",
            "3 V0 N1\n",
            "3 Vx N1\n",
            "3 V5 N2147483647\n",
            "3 V5 N1\n2147483646 :a\n",
        ):
            self.path.write_text(text)
            self.assertEqual(UidList(Disk(), str(self.directory)).read(), {})

    def test_new_file_is_always_younger(self) -> None:
        self.list.create(5)
        later = time.time_ns() + 3_000_000_000
        os.utime(self.path, ns=(later, later))
        self.list.read()
        self.list.replace({})
        self.assertGreater(self.path.stat().st_mtime_ns, later)

    @given(
        st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_characters=":\n\r"), min_size=1),
            st.integers(1, 2**31 - 1),
        )
    )
    def test_lines_come_back(self, uids: dict[str, int]) -> None:
        for base, uid in uids.items():
            line = uidlist.format_line(base, Entry(uid, {"G": "g", "P": "0001"}))
            self.assertEqual(uidlist.parse_line(line[:-1], "3"), (base, Entry(uid, {"G": "g", "P": "0001"})))

    def test_uid_validity_grows(self) -> None:
        root = str(self.directory)
        first = next_uid_validity(Disk(), root)
        self.assertLessEqual(abs(first - time.time()), 2)
        self.assertEqual(next_uid_validity(Disk(), root), first + 1)
        self.assertEqual((self.directory / "dovecot-uidvalidity").read_text(), f"{first + 1:08x}")
        self.assertEqual([path.name for path in self.directory.glob("*.*")], [f"dovecot-uidvalidity.{first + 1:08x}"])
        (self.directory / "dovecot-uidvalidity").write_text("ffff0000")
        self.assertEqual(next_uid_validity(Disk(), root), 0xFFFF0001)


class KeywordTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.keywords = Keywords(Disk(), str(self.directory))

    def test_letters_are_given_once(self) -> None:
        self.keywords.learn([SEEN, "b", "a"])
        self.keywords.learn(["c", "A"])
        self.assertEqual((self.directory / "dovecot-keywords").read_text(), "0 a\n1 b\n2 c\n")
        self.assertEqual(self.keywords.letters([FLAGGED, SEEN, "c", "A", "never"]), "FSac")
        self.assertEqual(self.keywords.flags("DSaz"), {DRAFT, SEEN, "a"})

    def test_twenty_seventh(self) -> None:
        words = [f"$K{number:02}" for number in range(30)]
        self.assertTrue(self.keywords.lacks(words))
        self.keywords.learn(words)
        self.assertEqual(self.keywords.letters(words), "abcdefghijklmnopqrstuvwxyz")
        self.assertFalse(self.keywords.lacks(words))
        self.assertEqual([self.keywords.has(word) for word in words[25:28]], [True, False, False])

    def test_broken_table(self) -> None:
        nines = b"9" * 5000
        (self.directory / "dovecot-keywords").write_bytes(
            b"x\n26 out\n-1 y\n3\n4 \n5 good\n\xff\n\xc2\xb2 two\n%b nines\n" % nines
        )
        self.assertTrue(self.keywords.refresh())
        self.assertFalse(self.keywords.refresh())
        self.assertEqual(self.keywords.flags("abcdefz"), {"good"})


class SubscriptionTests(SynchronousTestCase):
    def test_both_versions(self) -> None:
        paths = frozenset({INBOX, ("Work", "2026"), ("받은",)})
        self.assertEqual(subscriptions.parse("Work.2026\ninbox\n&vBvHQA-\n"), paths)
        self.assertEqual(subscriptions.parse("V\t2\n\nINBOX\nWork\t2026\n&vBvHQA-\n"), paths)
        self.assertEqual(subscriptions.parse(subscriptions.format_all(paths)), paths)
        self.assertEqual(subscriptions.parse("&broken\nGood\n"), {("Good",)})

    @given(st.text())
    def test_any_text_can_be_read(self, text: str) -> None:
        found = subscriptions.parse(text)
        self.assertTrue(all(isinstance(path, tuple) for path in found))


class LineEndTests(SynchronousTestCase):
    @given(
        st.binary(max_size=60).map(lambda octets: octets.translate(bytes([*b"\r\n\r\na"] * 52)[:256])),
        st.integers(1, 7),
    )
    def test_bare_lf_becomes_crlf(self, octets: bytes, chunk: int) -> None:
        expected = re.sub(rb"(?<!\r)\n", b"\r\n", octets)
        self.patch(content, "CHUNK", chunk)
        path = Path(self.mktemp())
        path.write_bytes(octets)
        opened = Octets(os.open(path, os.O_RDONLY), converts=True)
        self.assertEqual(opened.size, len(expected))
        for offset in range(len(expected) + 2):
            self.assertEqual(opened.read(offset, 5), expected[offset : offset + 5])
        self.assertEqual(opened.read(0, 1000), expected)
        opened.close()


class SignatureTests(SynchronousTestCase):
    def test_text_comes_back(self) -> None:
        signature = Signature(1, 2, 3.5)
        again = Signature.parse(str(signature))
        assert again is not None
        self.assertTrue(again.is_same(signature))
        for text in (None, "", "x", "1 2", "1 2 x", "1 2 3 4"):
            self.assertIsNone(Signature.parse(text))

    def test_looked_too_soon(self) -> None:
        now = time.time()
        for changed, looked, hides in ((100.0, 100.5, True), (100.0, 102.0, False), (now, now + 0.1, False)):
            self.assertEqual(Signature(int(changed * 1e9), 0, looked).may_hide_changes(), hides)
