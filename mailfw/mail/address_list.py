"""The addresses of From, To and their kind, as octets; whatever a mailer wrote comes out as something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mailfw.mail.fields import unquote

#: More addresses than this in one field are not looked at: it bounds what one field can cost.
MAX_ADDRESSES = 5000
#: What stands for what an address lacks; NIL would make it a group (RFC 3501 section 7.4.2).
NO_MAILBOX, NO_DOMAIN = b"MISSING_MAILBOX", b"MISSING_DOMAIN"


class MailAddress(NamedTuple):
    """
    One address as RFC 3501 section 7.4.2 takes it apart.

    A group begins with its name as `mailbox` and no `host`, and ends with neither.
    """

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


class _Token(NamedTuple):
    kind: int
    text: bytes
    spaced: bool  # whether something separates it from the token before


_WORD, _QUOTED, _COMMENT, _SPECIAL = range(4)

# The addresses most mail has: addr-spec of plain atoms, and display-name in plain words before it in angles.
_PLAIN = re.compile(
    rb"[ \t]*+(?:(?:([\w!#$%&'*+/=?^`{|}~.-]++(?:[ ][\w!#$%&'*+/=?^`{|}~.-]++)*+)"
    rb"|\"([^\"\\\x00-\x1f]++)\")[ \t]*+(?=<))?"
    rb"(<)?([\w!#$%&'*+/=?^`{|}~.-]++)@([\w.-]++)(?(3)>)[ \t]*+(?:,|\Z)"
)
# atom, quoted-string, comment without another inside, domain-literal, specials       RFC 5322 section 3.2
_SPACE_OR_WORD = rb'(?P<space>[ \t\r\n]++)|(?P<word>[^\s"(),:;<>@\[\]\\]++|\[[^\[\]]*+\])'
_QUOTED_STRING = rb'|(?P<quoted>"(?:[^"\\]|\\.)*+")'
_OTHERS = rb"|(?P<paren>\()|(?P<special>[,:;<>@])|(?P<other>.)"
_LEXEME = re.compile(_SPACE_OR_WORD + _QUOTED_STRING + _OTHERS, re.DOTALL)
_LEXEME_UNQUOTED = re.compile(_SPACE_OR_WORD + _OTHERS, re.DOTALL)
_PAREN = re.compile(rb"\\.|[()]", re.DOTALL)


def parse_addresses(value: bytes) -> list[MailAddress]:
    """Return the addresses of an unfolded field value; broken ones as far as they can be told."""
    found: list[MailAddress] = []
    position = 0
    while (match := _PLAIN.match(value, position)) is not None and len(found) < MAX_ADDRESSES:
        plain, quoted, _, mailbox, host = match.groups()
        found.append(MailAddress(plain or quoted, None, mailbox, host))
        position = match.end()
        if position == len(value):
            return found
    rest = _Parser(list(_tokens(value[position:]))).parse(MAX_ADDRESSES - len(found))
    return found + rest


def _tokens(value: bytes) -> Iterator[_Token]:
    position, spaced, lexeme = 0, False, _LEXEME
    while (match := lexeme.match(value, position)) is not None:
        position = match.end()
        kind = match.lastgroup
        if kind == "space":
            spaced = True
            continue
        if kind == "paren":
            text, position = _comment(value, position)
            yield _Token(_COMMENT, text, True)
            spaced = True
            continue
        if kind == "word":
            yield _Token(_WORD, match[0], spaced)
        elif kind == "quoted":
            yield _Token(_QUOTED, unquote(match[0]), spaced)
        elif kind == "special":
            yield _Token(_SPECIAL, match[0], spaced)
        elif match[0] == b'"':
            lexeme = _LEXEME_UNQUOTED  # where a quoted string has no end, no later one has: it is not looked for again
        elif match[0] not in b")\\":  # quotes and parentheses without their other half are passed over
            yield _Token(_WORD, match[0], spaced)
        spaced = False


def _comment(value: bytes, position: int) -> tuple[bytes, int]:
    """Return the comment that begins before `position`, and where it ends."""
    start, depth = position, 1
    while (match := _PAREN.search(value, position)) is not None:
        position = match.end()
        depth += {b"(": 1, b")": -1}.get(match[0], 0)
        if not depth:
            return value[start : match.start()].strip(), position
    return value[start:].strip(), len(value)


class _Parser:
    """Sorts tokens into addresses, forgiving whatever is amiss."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._found: list[MailAddress] = []
        self._in_group = False
        self._reset()

    def _reset(self) -> None:
        self._words: list[_Token] = []
        self._angle: list[_Token] | None = None
        self._behind: list[_Token] = []
        self._into = self._words  # which of these what comes next belongs to
        self._comment: bytes | None = None
        self._in_angle = self._is_closed = False

    def parse(self, limit: int) -> list[MailAddress]:
        for at, token in enumerate(self._tokens):
            if len(self._found) >= limit:
                return self._found
            self._take(at, token)
        self._end_address()
        self._end_group()
        return self._found

    def _take(self, at: int, token: _Token) -> None:
        special = token.text if token.kind == _SPECIAL else b""
        if token.kind == _COMMENT:
            # RFC 5322 section 3.4: some put the name into a comment, behind the address.
            self._comment = token.text if self._words else None
        elif special == b"<":
            self._open_angle(at)
        elif self._in_angle and not (special == b"," and not self._is_closed):
            if special == b">":
                self._in_angle, self._into = False, self._behind
            else:
                self._into.append(token)
        elif special == b":":
            self._begin_group()
        elif special in (b",", b";"):
            self._end_address()
            if special == b";":
                self._end_group()
        elif special != b">":
            self._into.append(token)

    def _open_angle(self, at: int) -> None:
        """Begin the address; a second one behind it is not looked at, and of two in each other the inner one is."""
        if self._angle is None or self._in_angle:
            self._angle = []
            self._into = self._angle
        else:
            self._into = []
        self._in_angle, self._is_closed = True, self._closes(at)

    def _closes(self, at: int) -> bool:
        for token in self._tokens[at + 1 : at + 200]:
            if token.kind == _SPECIAL and token.text in (b"<", b">"):
                return token.text == b">"
        return False

    def _begin_group(self) -> None:
        if self._in_group or self._angle is not None:
            return
        self._found.append(MailAddress(None, None, _phrase(self._words) or b"", None))
        self._in_group = True
        self._reset()

    def _end_group(self) -> None:
        if self._in_group:
            self._found.append(MailAddress(None, None, None, None))
            self._in_group = False

    def _end_address(self) -> None:
        words, angle = self._words, self._angle
        if angle is not None:
            route, angle = _route(angle)
            mailbox, host = _spec(angle)
            self._found.append(MailAddress(_phrase(words) or _phrase(self._behind), route, mailbox, host))
        elif words:
            before, spec = _divide(words)
            mailbox, host = _spec(spec)
            self._found.append(MailAddress(_phrase(before) or self._comment, None, mailbox, host))
        self._reset()


def _divide(words: list[_Token]) -> tuple[list[_Token], list[_Token]]:
    """Part what has no angle brackets into a name and an address: the word before the last ``@`` begins it."""
    at = _last_at(words)
    if at is None:
        return ([], words) if len(words) == 1 else (words, [])
    begin = max(0, at - 1)
    while begin and _is_joined(words, begin):
        begin -= 1
    return words[:begin], words[begin:]


def _is_joined(tokens: list[_Token], at: int) -> bool:
    """Whether a token goes on with the one before: spaces around dots are nothing (obs-local-part, RFC 5322 4.4)."""
    return not tokens[at].spaced or tokens[at].text[:1] == b"." or tokens[at - 1].text[-1:] == b"."


def _route(tokens: list[_Token]) -> tuple[bytes | None, list[_Token]]:
    """obs-route = obs-domain-list ":", RFC 5322 section 4.4."""
    if tokens and tokens[0].text == b"@" and tokens[0].kind == _SPECIAL:
        for at, token in enumerate(tokens):
            if token.kind == _SPECIAL and token.text == b":":
                return _join(tokens[:at]), tokens[at + 1 :]
    return None, tokens


def _spec(tokens: list[_Token]) -> tuple[bytes, bytes]:
    at = _last_at(tokens)
    if at is None:
        return _join(tokens) if tokens else NO_MAILBOX, NO_DOMAIN
    mailbox = _join(tokens[:at]) if at else NO_MAILBOX
    domain = tokens[at + 1 :]
    end = 1
    while end < len(domain) and _is_joined(domain, end):
        end += 1
    return mailbox, b"".join([token.text for token in domain[:end]]) or NO_DOMAIN


def _last_at(tokens: list[_Token]) -> int | None:
    for at in range(len(tokens) - 1, -1, -1):
        if tokens[at].kind == _SPECIAL and tokens[at].text == b"@":
            return at
    return None


def _join(tokens: list[_Token]) -> bytes:
    pieces = [token.text if not at or _is_joined(tokens, at) else b" " + token.text for at, token in enumerate(tokens)]
    return b"".join(pieces)


def _phrase(tokens: list[_Token]) -> bytes | None:
    """Return a phrase: its words with one space where there was any (RFC 5322 section 3.2.5)."""
    pieces = [b" " + token.text if token.spaced and at else token.text for at, token in enumerate(tokens)]
    return b"".join(pieces) or None
