from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.destination import TLS_LEVELS, Destination, is_destination, without_password
from mailfw.mail.hop import TLSLevel


class DestinationTests(SynchronousTestCase):
    def test_read(self) -> None:
        for url, text in (
            ("smtp://host", "smtp://host:25"),
            ("smtp://host/", "smtp://host:25"),
            ("SMTP://HOST.Example.", "smtp://host.example:25"),
            ("smtp://user:pass@host", "smtp://user@host:587"),
            ("smtp://ann%40example.org:p%40ss@host:2525", "smtp://ann%40example.org@host:2525"),
            ("smtp://ann@example.org:pass@host", "smtp://ann%40example.org@host:587"),
            ("smtps://host?tls=encrypt", "smtps://host:465?tls=encrypt"),
            ("lmtp://[2001:DB8::1]:24", "lmtp://[2001:db8::1]:24"),
            ("lmtp:///run/my%20store", "lmtp:///run/my%20store"),
            ("smtp://예시.한국", "smtp://예시.한국:25"),
            ("smtp://u@h?password_file=/etc/secret", "smtp://u@h:587"),
        ):
            destination = Destination.read(url)
            self.assertEqual(str(destination), text)
            self.assertEqual(Destination.read(text), destination)

    def test_what_is_none(self) -> None:
        for url in (
            "",
            "host",
            "http://host",
            "smtp://",
            "smtp:///run/socket",
            "lmtp:///",
            "smtp://host:0",
            "smtp://host:70000",
            "smtp://host:x",
            "smtp://host/path",
            "smtp://host#x",
            "smtp://host?tls=maybe",
            "smtp://host?port=25",
            "smtp://host?password_file=relative",
            "smtp://:pass@host",
            "smtp://user:pa/ss@host",
            "smtp://user:pa?ss@host",
            "smtp://user:pa#ss@host",
            "smtp://ho st",
            "smtp://-host",
            "smtp://[fe80::1%25eth0]",
            "smtp://host\r\nQUIT",
        ):
            with self.assertRaises(ValueError, msg=url) as caught:
                Destination.read(url)
            self.assertNotIn("pa/ss", str(caught.exception))
            self.assertNotIn("ss@", str(caught.exception))

    def test_passwords_are_shown_nowhere(self) -> None:
        url = "smtp://user:sec%40ret@host?tls=verify"
        for shown in (str(Destination.read(url)), repr(Destination.read(url)), without_password(url)):
            self.assertNotIn("sec", shown)
        for url in ("smtp://u:a:b@c@host", "smtp://u:a/b?c#d@host", "lmtp://u:p\n@h", "smtp://u:p@h"):
            self.assertTrue(without_password(url).startswith(url.partition("//")[0] + "//u:***@"), url)
        for harmless in ("mx", "mailbox", "refuse: write to a@b: now", "smtp://user@host:25", "smtp://host:25"):
            self.assertEqual(without_password(harmless), harmless)

    def test_the_levels_are_those_of_hops(self) -> None:
        self.assertEqual({level.value for level in TLSLevel}, set(TLS_LEVELS))

    @given(st.text(max_size=60))
    def test_any_text(self, text: str) -> None:
        for url in (text, f"smtp://{text}", f"lmtp:///{text}"):
            without_password(url)
            with contextlib.suppress(ValueError):
                destination = Destination.read(url)
                self.assertTrue(is_destination(str(destination)))
                self.assertTrue(str(destination).isprintable() or any(not c.isprintable() for c in destination.host))
                self.assertEqual(Destination.read(str(destination)), destination)
