"""Mailbox names."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.imap import names

TABLE = {
    "INBOX": b"INBOX",
    "한글": b"&1VyuAA-",
    "받은 편지함": b"&vBvHQA- &07jJwNVo-",
    "~peter/mail/台北/日本語": b"~peter/mail/&U,BTFw-/&ZeVnLIqe-",
    "Entwürfe": b"Entw&APw-rfe",
    "R&D": b"R&-D",
    "&&": b"&-&-",
    "😀": b"&2D3eAA-",
    "": b"",
    'a b\\"': b'a b\\"',
}


class ModifiedUTF7(SynchronousTestCase):
    def test_both_ways(self) -> None:
        for name, octets in TABLE.items():
            self.assertEqual(names.encode(name), octets)
            self.assertEqual(names.decode(octets), name)

    def test_the_inbox_in_any_case(self) -> None:
        for octets, name in (
            (b"inbox", "INBOX"),
            (b"iNbOx/a", "INBOX/a"),
            (b"inboxes", "inboxes"),
            (b"a/inbox", "a/inbox"),
        ):
            self.assertEqual(names.decode(octets), name)

    def test_what_could_be_written_otherwise_is_refused(self) -> None:
        for octets in (
            b"&",
            b"a&b",
            b"&1Vyu",
            b"&AGE-",  # a, which needs no shift
            b"&AC8-",  # the delimiter in disguise
            b"&1Vw-&rgA-",  # two shifts that should be one
            b"&1VyuAB-",  # bits left over
            b"&1Vyu-",  # half a character
            b"&2D0-",  # half a surrogate pair
            b"&1VyuAA==-",
            b"&1VyuAA/-",
            b"&ACY-",  # &, which is &-
            "한글".encode(),
            b"a\0b",
            b"a\tb",
            b"a\x7f",
            b"a\r\nb",
        ):
            self.assertRaises(names.BadName, names.decode, octets)

    @given(st.text())
    def test_every_text_survives(self, name: str) -> None:
        octets = names.encode(name)
        try:
            decoded = names.decode(octets)
        except names.BadName:
            self.fail(f"{name!r} became {octets!r}")
        if name[:5].upper() != "INBOX":
            self.assertEqual(decoded, name)

    @given(st.binary(max_size=40) | st.text("&,-+/ABCD19az", max_size=20).map(str.encode))
    def test_only_bad_name_is_raised_and_one_name_has_one_spelling(self, octets: bytes) -> None:
        try:
            name = names.decode(octets)
        except names.BadName:
            return
        self.assertEqual(
            names.encode(name).upper() if name.startswith("INBOX") else names.encode(name),
            octets.upper() if name.startswith("INBOX") else octets,
        )


class Paths(SynchronousTestCase):
    def test_names_are_paths(self) -> None:
        self.assertEqual(names.to_path("Work/한글"), ("Work", "한글"))
        self.assertEqual(names.from_path(("Work", "한글")), "Work/한글")
        names.to_path("a" * 255)
        names.to_path("...")
        names.to_path("a\\b")

    def test_what_could_lead_elsewhere_is_refused(self) -> None:
        for name in (
            "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a\0", "a\nb", "a\x7f", "a\x85",
            "a" * 256, "한" * 86, "/".join("a" * 101), "/".join(["a" * 250] * 9),
        ):  # fmt: skip
            self.assertRaises(names.BadName, names.to_path, name)
