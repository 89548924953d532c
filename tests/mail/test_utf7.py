"""Modified UTF-7."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail import utf7

NAMES = [
    ("INBOX", "INBOX"),
    ("받은 편지", "&vBvHQA- &07jJwA-"),
    ("R&D", "R&-D"),
    ("台北", "&U,BTFw-"),
    ("🎉", "&2DzfiQ-"),
    ("\0", "&AAA-"),
]


class ModifiedUTF7Tests(SynchronousTestCase):
    """RFC 3501 section 5.1.3."""

    def test_both_ways(self) -> None:
        for name, encoded in NAMES:
            self.assertEqual(utf7.encode(name), encoded)
            self.assertEqual(utf7.decode(encoded), name)

    def test_what_is_refused(self) -> None:
        for encoded in ("&", "&x", "&AGE-", "&U,BTF-", "&2Dw-", "é", "&&-", "&AAA-&AAA-"):
            self.assertRaises(ValueError, utf7.decode, encoded)

    @given(st.text())
    def test_every_name_comes_back(self, name: str) -> None:
        encoded = utf7.encode(name)
        self.assertTrue(encoded.isascii())
        self.assertEqual(utf7.decode(encoded), name)

    @given(st.text(alphabet="&-+,AaZ9/=é"))
    def test_one_name_has_one_spelling(self, encoded: str) -> None:
        with contextlib.suppress(ValueError):
            self.assertEqual(utf7.encode(utf7.decode(encoded)), encoded)
