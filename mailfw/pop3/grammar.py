"""What a POP3 client may send, read from octets into values."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from mailfw.sasl.saslprep import saslprep

#: Octets of a command with its CRLF (RFC 2449 section 4).
LINE_LIMIT = 255


class BadSyntax(Exception):
    """The client broke the grammar; the text is for it."""


@dataclass(frozen=True, slots=True, repr=False)
class Command:
    """A command as it came: `verb` in upper case, `argument` all that follows the first space, None without one."""

    verb: str
    argument: str | None


@dataclass(frozen=True, slots=True)
class Authentication:
    """What AUTH asks for; `initial` is the decoded initial response, None if there was none."""

    mechanism: str
    initial: bytes | None


@dataclass(frozen=True, slots=True)
class Top:
    """A message, and how many lines of its body."""

    number: int
    lines: int


# command = keyword *(SP param); keyword = 3*4VCHAR, here of any length                        RFC 2449 section 4
_COMMAND = re.compile(r"([!-~]+)(?: ([^\x00-\x1f\x7f]*))?")
# message-number and lines of RFC 1939 section 7 are decimal; more digits than these name no message there can be
_NUMBER = re.compile(r"[0-9]{1,10}")
# sasl-mech = 1*20mech-char; mech-char = UPPER-ALPHA / DIGIT / HYPHEN / UNDERSCORE         RFC 4422 section 3.1
_AUTHENTICATION = re.compile(r"([A-Za-z0-9_-]{1,20})(?: (=|[A-Za-z0-9+/=]+))?")
# language-range = (1*8ALPHA *("-" 1*8alphanum)) / "*"                                    RFC 4647 section 2.1
_LANGUAGE_RANGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*")
#: Verbs whose argument may be UTF-8 (RFC 6856 section 2.2); everything else is ASCII.
_IN_UTF_8 = frozenset({"USER", "PASS"})
#: How a browser or a scanner begins that has come to the wrong port.
_HTTP = re.compile(rb"(GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) ")


def is_http(line: bytes) -> bool:
    """Whether this is the first line of an HTTP request: a page must not be able to speak POP3 in its body."""
    return _HTTP.match(line) is not None


def parse_command(line: bytes) -> Command:
    """Read a line without its CRLF.  Raises `BadSyntax`."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax("This is neither ASCII nor UTF-8")
    matched = _COMMAND.fullmatch(text)
    if matched is None:
        raise BadSyntax("This is no command")
    verb, argument = matched.groups()
    verb = verb.upper()
    if not text.isascii() and verb not in _IN_UTF_8:
        raise BadSyntax("Only ASCII may be in this command")
    return Command(verb, argument)


def nothing(argument: str | None) -> None:
    """Read the argument of a command that has none."""
    if argument is not None:
        raise BadSyntax("No argument is allowed")


def text(argument: str | None) -> bytes:
    """Read a name or a password; spaces belong to it, and what is no ASCII is prepared (RFC 6856 section 2.2)."""
    try:
        prepared = argument if argument is None or argument.isascii() else saslprep(argument)
    except ValueError:
        raise BadSyntax("A character is not allowed here")
    if not prepared:  # what SASLprep leaves out is no password either
        raise BadSyntax("An argument is needed")
    return prepared.encode("utf-8")


def language(argument: str | None) -> str | None:
    """Read what LANG asks for: a language range, ``*``, or None for the list."""
    if argument is not None and _LANGUAGE_RANGE.fullmatch(argument) is None:
        raise BadSyntax("This language is not spoken here")
    return argument


def number(argument: str | None) -> int:
    """Read a message number."""
    if argument is None or not _NUMBER.fullmatch(argument):
        raise BadSyntax("A message number is needed")
    return int(argument)


def optional_number(argument: str | None) -> int | None:
    """Read a message number, or none."""
    return None if argument is None else number(argument)


def top(argument: str | None) -> Top:
    """Read a message number and a count of lines."""
    first, space, second = (argument or "").partition(" ")
    if not space or not _NUMBER.fullmatch(second):
        raise BadSyntax("A message number and a number of lines are needed")
    return Top(number(first), int(second))


def authentication(argument: str | None) -> Authentication:
    """Read the name of a mechanism and an initial response (RFC 5034 section 4)."""
    matched = _AUTHENTICATION.fullmatch(argument or "")
    if matched is None:
        raise BadSyntax("The name of a mechanism is needed, and an initial response is in base64")
    initial = None if matched[2] is None else decode(b"" if matched[2] == "=" else matched[2].encode("ascii"))
    return Authentication(matched[1].upper(), initial)


def decode(response: bytes) -> bytes:
    """Read a response in base64 (RFC 4648 section 4)."""
    try:
        return base64.b64decode(response, validate=True)
    except binascii.Error:
        raise BadSyntax("This is not base64")
