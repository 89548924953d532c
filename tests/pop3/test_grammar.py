import base64
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.pop3 import grammar
from mailfw.pop3.grammar import Authentication, BadSyntax, Command, Top, parse_command


class CommandTests(SynchronousTestCase):
    def test_commands(self) -> None:
        for line, command in [
            (b"STAT", Command("STAT", None)),
            (b"stat", Command("STAT", None)),
            (b"RETR 1", Command("RETR", "1")),
            (b"STAT ", Command("STAT", "")),
            (b"PASS  a b ", Command("PASS", " a b ")),
            (b"PASS " + "비밀".encode(), Command("PASS", "비밀")),
        ]:
            self.assertEqual(parse_command(line), command)

    def test_lines_that_are_none(self) -> None:
        for line in (b"", b" ", b" STAT", b"STAT\t", b"ST\0AT", b"PASS a\0b", b"PASS a\rb", b"PASS a\nb", b"\xff"):
            self.refuses(parse_command, line)
        for line in ("RETR １".encode(), "USÉR ann".encode(), b"PASS \xff", b"\x16\x03\x01\x02\x00"):
            self.refuses(parse_command, line)

    def test_password_does_not_show(self) -> None:
        self.assertNotIn("secret", repr(parse_command(b"PASS secret")))

    def refuses(self, parse: Callable[..., Any], argument: Any) -> None:
        with self.assertRaises(BadSyntax, msg=repr(argument)):
            parse(argument)

    def test_arguments(self) -> None:
        cases: list[tuple[Callable[..., Any], list[tuple[str | None, object]], list[str | None]]] = [
            (grammar.nothing, [(None, None)], ["", " ", "x"]),
            (grammar.text, [("ann", b"ann"), (" a ", b" a "), ("é", b"\xc3\xa9")], [None, ""]),
            (
                grammar.number,
                [("1", 1), ("0", 0), ("007", 7), ("9999999999", 9999999999)],
                [None, "", " 1", "1 ", "-1", "+1", "1.0", "a", "１", "1 2", "10000000000000", "1" * 300],
            ),
            (grammar.optional_number, [(None, None), ("2", 2)], ["", "x"]),
            (
                grammar.top,
                [("1 0", Top(1, 0)), ("2 10", Top(2, 10))],
                [None, "", "1", "1 ", " 1", "1  2", "1 -1", "1 2 3"],
            ),
            (
                grammar.authentication,
                [
                    ("plain", Authentication("PLAIN", None)),
                    ("PLAIN =", Authentication("PLAIN", b"")),
                    ("PLAIN AGEAYg==", Authentication("PLAIN", b"\0a\0b")),
                ],
                [
                    None,
                    "",
                    " ",
                    "PLAIN ",
                    "PLAIN ==",
                    "PLAIN AGE",
                    "PLAIN A GE",
                    "PL AIN",
                    "PL.AIN",
                    "P" * 21,
                    "PLAIN !",
                ],
            ),
        ]
        for parse, good, bad in cases:
            for argument, value in good:
                self.assertEqual(parse(argument), value)
            for argument in bad:
                self.refuses(parse, argument)

    @given(st.binary(max_size=300))
    def test_any_line_is_read_or_refused(self, line: bytes) -> None:
        try:
            command = parse_command(line)
        except BadSyntax:
            return
        for parse in (grammar.number, grammar.optional_number, grammar.top, grammar.authentication, grammar.text):
            try:
                parse(command.argument)
            except BadSyntax:
                continue

    @given(st.binary(max_size=100))
    def test_decoding(self, octets: bytes) -> None:
        self.assertEqual(grammar.decode(base64.b64encode(octets)), octets)
        try:
            grammar.decode(octets)
        except BadSyntax:
            return

    def test_http(self) -> None:
        for line in (b"GET / HTTP/1.1", b"POST /x HTTP/1.0", b"CONNECT x:25 HTTP/1.1"):
            self.assertTrue(grammar.is_http(line))
        for line in (b"GET", b"RETR 1", b"get / x"):
            self.assertFalse(grammar.is_http(line))
