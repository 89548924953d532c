"""Commands and their parameters, both ways."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address import Address
from mailfw.mail.reply import Reply
from mailfw.smtp import grammar, replies
from mailfw.smtp.replies import Rejected

ADDRESSES = [
    ("<a@b>", Address("a", "b")),
    ("<Ann.Lee+x@Here.EXAMPLE>", Address("Ann.Lee+x", "here.example")),
    ("<a@here.example.>", Address("a", "here.example")),
    ("<!#$%&'*+/=?^_`{|}~-@b>", Address("!#$%&'*+/=?^_`{|}~-", "b")),
    ('<"a b"@c>', Address("a b", "c")),
    ('<"a\\"\\\\b"@c>', Address('a"\\b', "c")),
    ('<"a"@c>', Address("a", "c")),
    ('<""@c>', Address("", "c")),
    ('<"a@b"@c>', Address("a@b", "c")),
    ("<@x,@y.z:a@b>", Address("a", "b")),
    ("<a@[192.0.2.1]>", Address("a", "[192.0.2.1]")),
    ("<a@[IPV6:2001:DB8:0::1]>", Address("a", "[ipv6:2001:db8::1]")),
    ("<jürgen@bücher.example>", Address("jürgen", "bücher.example")),
    ("<a@xn--bcher-kva.example>", Address("a", "bücher.example")),
    ("<유니코드@실례.테스트>", Address("유니코드", "실례.테스트")),
    ("<a@1.2.3.4>", Address("a", "1.2.3.4")),
    ("<" + "a" * 256 + "@b>", Address("a" * 256, "b")),
    ("<a@" + "b" * 63 + ".c>", Address("a", "b" * 63 + ".c")),
]
NOT_PATHS = [
    "",
    "a@b",
    "<a@b",
    "<a>",
    "<@b>",
    "<a@>",
    "<a b@c>",
    "<.a@b>",
    "<a.@b>",
    "<a..b@c>",
    "<a@b..c>",
    "<a@.b>",
    "<a@-b>",
    "<a@b->",
    "<a@b_c>",
    "<a@b@c>",
    '<"a@b>',
    '<"a"b@c>',
    '<"a\tb"@c>',
    "<a@[192.0.2]>",
    "<a@[192.0.2.256]>",
    "<a@[::1]>",
    "<a@[IPv6:12345::]>",
    "<a@[IPv6:fe80::1%eth0]>",
    "<a@[tag:content]>",
    "<@x:>",
    "<@x a@b>",
    "<a@\u2028b>",
    "<a\u0085@b>",
    "<a\u202e@b>",
    "<a@xn--0>",
    "<" + "a" * 257 + "@b>",
    "<a@" + "b" * 64 + ".c>",
    "<a@" + "b." * 127 + "bb>",
    "<a@b><c@d>",
]


class Refusals(SynchronousTestCase):
    def refuse(self, wanted: Reply, call: Callable[..., Any], *arguments: Any) -> None:
        refused = self.assertRaises(Rejected, call, *arguments)
        self.assertEqual(refused.reply, wanted, arguments)


class PathTests(Refusals):
    def test_addresses(self) -> None:
        for path, address in ADDRESSES:
            self.assertEqual(grammar.parse_mail("FROM:" + path), (address, {}), path)
            self.assertEqual(grammar.parse_rcpt("TO:" + path), (address, {}), path)

    def test_and_back(self) -> None:
        for _, address in ADDRESSES:
            self.assertEqual(grammar.parse_rcpt(f"TO:<{address}>")[0], address)

    def test_what_is_no_path(self) -> None:
        for path in NOT_PATHS:
            for call, prefix in ((grammar.parse_mail, "FROM:"), (grammar.parse_rcpt, "TO:")):
                refused = self.assertRaises(Rejected, call, prefix + path)
                self.assertEqual(refused.reply.code, 501, path)

    def test_prefix(self) -> None:
        self.assertEqual(grammar.parse_mail("from:  <>"), (None, {}))
        self.assertEqual(grammar.parse_rcpt("to: <postMaster>"), (Address("postMaster", ""), {}))
        for argument in ("", "FROM", "FROM <a@b>", "FROM:\t<a@b>", "TO:<a@b>"):
            self.refuse(replies.BAD_SENDER, grammar.parse_mail, argument)
        for argument in ("", "TO", "FROM:<a@b>", "TO:<>"):
            self.refuse(replies.BAD_RECIPIENT, grammar.parse_rcpt, argument)

    def test_the_bare_postmaster_sends_nothing(self) -> None:
        self.refuse(replies.BAD_SENDER, grammar.parse_mail, "FROM:<postmaster>")

    @settings(deadline=None, max_examples=300)
    @given(
        st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64),
        st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True), min_size=1, max_size=5),
    )
    def test_parse_format(self, local: str, labels: list[str]) -> None:
        domain = ".".join(label for label in labels if not label.startswith("xn--")) or "x"
        address = Address(local, domain)
        self.assertEqual(grammar.parse_rcpt(f"TO:<{address}>"), (address, {}))

    @settings(deadline=None, max_examples=500)
    @given(st.text(st.sampled_from('<>@.:,"\\[]- aA1ü=+xn\t\r\n\0\u2028')), st.booleans())
    @example("<a@xn--ls8h.xn--a>", True)
    def test_nothing_but_the_declared_refusal(self, text: str, prefixed: bool) -> None:
        for call, prefix in ((grammar.parse_mail, "FROM:"), (grammar.parse_rcpt, "TO:<a@b>")):
            try:
                address, _ = call(prefix + text if prefixed else text)
            except Rejected as refused:
                self.assertIn(refused.reply.code, (500, 501))
            else:
                self.assertNotRegex(str(address), "[\x00-\x1f\x7f-\x9f\u2028]")

    def test_long_nonsense_costs_little(self) -> None:
        began = time.process_time()
        for piece in ("a", "a.", "a-", "@a", "@a,", "\\a", '"', "[", "=a ", " ", "ü"):
            for prefix in ("FROM:<", 'FROM:<"', "FROM:<@a:", "FROM:<a@", "FROM:<a@b> "):
                with contextlib.suppress(Rejected):
                    grammar.parse_mail(prefix + piece * (2048 // len(piece)))
        self.assertLess(time.process_time() - began, 0.5)


class CommandTests(Refusals):
    def test_split(self) -> None:
        for line, command in [
            (b"QUIT", (b"QUIT", "")),
            (b"quit  \t", (b"QUIT", "")),
            (b"Mail From:<a@b>", (b"MAIL", "From:<a@b>")),
            (b"", (b"", "")),
            (b" NOOP", (b"", "NOOP")),
            ("RCPT TO:<ü@b>".encode(), (b"RCPT", "TO:<ü@b>")),
        ]:
            self.assertEqual(grammar.split_command(line), command)

    def test_bad_octets(self) -> None:
        for line in (
            b"NOOP \0",
            b"NO\0OP",
            b"NOOP\rNOOP",
            b"NOOP\nNOOP",
            b"NOOP \x1b[2J",
            b"NOOP\x7f",
            b"NOOP \xff",
            b"\xff\xfe",
            "MAıL FROM:<>".encode(),
            b"MAIL FROM:<\xff@b>",
            b"MAIL\tFROM:<a@b>",
        ):
            self.refuse(replies.BAD_OCTETS, grammar.split_command, line)

    @given(st.binary(max_size=40))
    def test_nothing_but_the_declared_refusal(self, line: bytes) -> None:
        try:
            verb, argument = grammar.split_command(line)
        except Rejected:
            return
        self.assertTrue(verb.isascii())
        self.assertNotRegex(argument, "[\x00-\x1f\x7f]")

    def test_helo(self) -> None:
        for name in (
            "a",
            "mail.example.org",
            "MY_PC",
            "_x",
            "[192.0.2.1]",
            "[IPv6:2001:db8::1]",
            "[::1]",
            "a.b.",
            "1.2.3.4",
        ):
            self.assertEqual(grammar.parse_helo(name), name)
        self.refuse(replies.NO_ARGUMENT, grammar.parse_helo, "")
        for name in ("a b", "[", "[]", "a(b)", "a\r\nb", "ü", "-a", "a" * 256, "a;b", "<a>"):
            self.refuse(replies.BAD_ARGUMENT, grammar.parse_helo, name)


class ChunkTests(Refusals):
    def test_argument(self) -> None:
        for argument, parsed in [("0", (0, False)), ("0 LAST", (0, True)), ("86400  last", (86400, True))]:
            self.assertEqual(grammar.parse_chunk(argument), parsed)
        for argument in ("", "LAST", "-1", "1.0", "0x10", "1 2", "1 LAST x", "1LAST", "1" * 21, "١", "+1"):
            self.refuse(replies.BAD_CHUNK, grammar.parse_chunk, argument)


class VerifyTests(Refusals):
    def test_argument(self) -> None:
        self.assertIsNone(grammar.parse_vrfy("ann"))
        self.assertEqual(grammar.parse_vrfy("ann@Here.example"), Address("ann", "here.example"))
        self.assertEqual(grammar.parse_vrfy("<ann@here.example>"), Address("ann", "here.example"))
        self.refuse(replies.NO_ARGUMENT, grammar.parse_vrfy, "")
        self.refuse(replies.BAD_RECIPIENT, grammar.parse_vrfy, "a b@here.example")


class AuthTests(Refusals):
    def test_argument(self) -> None:
        for argument, parsed in [
            ("PLAIN", ("PLAIN", None)),
            ("plain =", ("PLAIN", b"")),
            ("SCRAM-SHA-256 YQ==", ("SCRAM-SHA-256", b"a")),
            ("PLAIN  AGEAYg==", ("PLAIN", b"\0a\0b")),
        ]:
            self.assertEqual(grammar.parse_auth(argument), parsed)
        self.refuse(replies.NO_ARGUMENT, grammar.parse_auth, "")
        self.refuse(replies.BAD_ARGUMENT, grammar.parse_auth, "PLAIN!")
        for argument in ("PLAIN A", "PLAIN YQ== YQ==", "PLAIN Y=Q=", "PLAIN *", "PLAIN ===", "PLAIN YQ-_"):
            self.refuse(replies.BAD_RESPONSE, grammar.parse_auth, argument)

    @given(st.binary(max_size=60))
    def test_any_octets(self, octets: bytes) -> None:
        encoded = base64.b64encode(octets)
        self.assertEqual(grammar.parse_auth("X " + (encoded.decode() or "=")), ("X", octets))
        try:
            grammar.parse_auth(octets.decode("latin-1"))
        except Rejected as refused:
            self.assertEqual(refused.reply.code, 501)
