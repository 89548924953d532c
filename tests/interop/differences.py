"""
What Dovecot and mailfw may answer differently about one message, and by which section of which RFC.

Everything else must be the same.  What decides is always the message: a field that breaks the grammar has no meaning
that two servers could agree on, and here the grammar is written anew, strictly, for nothing else.
"""

from __future__ import annotations

import base64
import email
import re
from collections.abc import Iterator
from email.header import decode_header, make_header

from tests.interop.nasty_pieces import CHARSETS
from tests.interop.plain_imap import Value

# ---------------------------------------------------------------- grammar

_FIELD = re.compile(rb"([^\r\n:]+?)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)(?:\n|\Z)")
_TOKEN = rb"[!#$%&'*+.^_`{|}~0-9A-Za-z-]+"
_QUOTED = rb'"(?:[\t !#-\[\]-\xff]|\\[\t -\xff])*"'
# RFC 2045 section 5.1, attributes as RFC 2231 section 7 has them
_SECTIONS = rb"(?:\*(?:0|[1-9][0-9]*))?\*?"
_ATTRIBUTE = rb"[!#$&+.^_`{|}~0-9A-Za-z-]+" + _SECTIONS
_PARAMETERS = rb"(?:[ \t]*;[ \t]*" + _ATTRIBUTE + rb"[ \t]*=[ \t]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))*"
_CONTENT_TYPE = re.compile(_TOKEN + rb"[ \t]*/[ \t]*" + _TOKEN + _PARAMETERS)
_DISPOSITION = re.compile(_TOKEN + _PARAMETERS)
_LANGUAGES = re.compile(rb"[A-Za-z0-9-]+(?:[ \t]*,[ \t]*[A-Za-z0-9-]+)*")
# RFC 2046 section 5.1.1
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_STATED = re.compile(rb";[ \t]*boundary[ \t]*=[ \t]*(" + _TOKEN + rb"|" + _QUOTED + rb")", re.IGNORECASE)
# RFC 5322 sections 3.2.3, 3.2.5, 3.4 and 4.4; RFC 6532 section 3.2
_ATOM = rb"[!#$%&'*+/=?^_`{|}~0-9A-Za-z\x80-\xff-]++"
_WORD = rb"(?:" + _ATOM + rb"|" + _QUOTED + rb")"
_LOCAL = _WORD + rb"(?: *+\. *+" + _WORD + rb")*+"
_DOMAIN = rb"(?:" + _ATOM + rb"(?: *+\. *+" + _ATOM + rb")*+|\[[^\[\]\\]*+\])"
_ADDR_SPEC = _LOCAL + rb" *+@ *+" + _DOMAIN
_PHRASE = _WORD + rb"(?: *+(?:" + _WORD + rb"|\.))*+"
_ROUTE = rb"(?:(?:[ ,]*+@ *+" + _DOMAIN + rb" *+)+: *+)?"
_MAILBOX = rb"(?:(?:" + _PHRASE + rb" *+)?< *+" + _ROUTE + _ADDR_SPEC + rb" *+>|" + _ADDR_SPEC + rb")"
_MAILBOXES = rb"[ ,]*+(?:" + _MAILBOX + rb" *+(?:,[ ,]*+|(?=;)))*+"
_GROUP = _PHRASE + rb" *+:" + _MAILBOXES + rb" *+;"
_ADDRESSES = re.compile(rb"[ ,]*+(?:(?:" + _MAILBOX + rb"|" + _GROUP + rb") *+(?:,[ ,]*+|\Z))++", re.DOTALL)


def values(header: bytes, name: bytes) -> list[bytes]:
    """Return the unfolded values of the fields of this name."""
    found = [match[2] for match in _FIELD.finditer(header) if match[1].lower() == name.lower()]
    return [re.sub(rb"\r?\n", b"", value).strip() for value in found]


def without_comments(value: bytes) -> bytes | None:
    """Return a value with a space for each comment, None where one has no end."""
    kept, depth = b"", 0
    for token in re.findall(rb'"(?:[^"\\]|\\.)*"|\\.|.', value, re.DOTALL):
        if token == b"(" or (token == b")" and depth):
            depth += 1 if token == b"(" else -1
            kept += b" "
        elif not depth:
            kept += token
        elif token.startswith(b'"'):
            depth += token.count(b"(") - token.count(b")")
    return None if depth else kept.replace(b"\t", b" ").strip()


def _follows(grammar: re.Pattern[bytes], value: bytes) -> bool:
    plain = without_comments(value)
    return plain is not None and grammar.fullmatch(plain) is not None


def is_address_list(value: bytes) -> bool:
    """Whether this is the value of an address field, RFC 5322 sections 3.4 and 4.4."""
    return len(value) < 2000 and _follows(_ADDRESSES, value)


def is_content_type(header: bytes) -> bool:
    """Whether a header has no Content-Type, or one by RFC 2045 section 5.1 and boundary by RFC 2046 section 5.1.1."""
    found = values(header, b"Content-Type")
    if not found:
        return True
    plain = without_comments(found[0])
    if len(found) > 1 or plain is None or _CONTENT_TYPE.fullmatch(plain) is None:
        return False
    names = [name.lower() for name in re.findall(rb"; *([^ =]+) *=", plain)]
    sections = [name for name in names if b"*" in name]
    kinds = {(name.split(b"*")[0], re.search(rb"\*[0-9]", name) is not None, b"*" in name) for name in names}
    if len(set(names)) < len(names) or len({base for base, *_ in kinds}) < len(kinds):
        return False  # RFC 2045 section 5: a parameter occurs once
    if not plain.lower().startswith(b"multipart"):
        return _has_all_sections(sections)
    stated = _STATED.search(plain)
    return stated is not None and _BOUNDARY.fullmatch(stated[1].strip(b'"')) is not None


def _has_all_sections(names: list[bytes]) -> bool:
    """Whether the sections of each value are numbered from 0 on, RFC 2231 section 3."""
    numbers: dict[bytes, set[int]] = {}
    for name in names:
        base, _, rest = name.partition(b"*")
        number = rest.rstrip(b"*")
        if number:
            numbers.setdefault(base, set()).add(int(number))
    return all(found == set(range(len(found))) for found in numbers.values())


# ---------------------------------------------------------------- envelopes

_ADDRESS_FIELDS = (b"From", b"Sender", b"Reply-To", b"To", b"Cc", b"Bcc")
#: What both put where an address has nothing.
_NOTHING = [None, None, b"MISSING_MAILBOX", b"MISSING_DOMAIN"]


def envelope(theirs: Value, ours: Value, header: bytes) -> Iterator[str]:
    """Yield what differs in two envelopes and may not."""
    for at, name in ((0, "date"), (1, "subject"), (8, "in-reply-to"), (9, "message-id")):
        # RFC 5322 section 3.2.2: white space around a value is no part of it.
        if theirs[at] != ours[at] and (theirs[at] or b"").strip() != (ours[at] or b""):
            yield f"{name}: {theirs[at]!r} {ours[at]!r}"
    for at, field in enumerate(_ADDRESS_FIELDS, start=2):
        if theirs[at] != ours[at] and not _may_differ(theirs[at], ours[at], field, header):
            yield f"{field.decode()}: {theirs[at]!r} {ours[at]!r}"


def _may_differ(theirs: Value, ours: Value, field: bytes, header: bytes) -> bool:
    # RFC 5322 section 4.4: an obsolete list has elements with nothing in them, which name nobody.
    if [each for each in theirs or () if each != _NOTHING] == (ours or []):
        return True
    found = values(header, field)
    if field in (b"Sender", b"Reply-To") and not any(found):
        found = values(header, b"From")
    # RFC 5322 section 4.4: spaces around the dots of a local part without angle brackets.
    return (
        not all(map(is_address_list, filter(None, found)))
        or re.search(rb"[ \t]\.|\.[ \t]", b",".join(found)) is not None
    )


# ---------------------------------------------------------------- structures


class Node:
    """One part of a BODYSTRUCTURE: what is said of it by name, its children, and its number and that of its header."""

    def __init__(self, value: Value, number: str = "", section: str = "HEADER") -> None:
        self.number, self.section = number, section
        self.children: list[Node] = []
        self.said: dict[str, Value] = {}
        if isinstance(value[0], list):
            self._multipart(value)
        else:
            if section.endswith("HEADER"):  # RFC 3501 section 6.4.5: the only part of a message is its number 1
                self.number = f"{number}.1" if number else "1"
            self._single(value)
        self.said["parameters"] = _sorted(self.said.get("parameters"))
        if isinstance(self.said.get("disposition"), list):
            kind, parameters = self.said["disposition"]
            self.said["disposition"] = [kind, _sorted(parameters)]
        if isinstance(self.said.get("language"), bytes):  # RFC 3501 section 9: body-fld-lang
            self.said["language"] = [self.said["language"]]

    def _multipart(self, value: Value) -> None:
        parts = [each for each in value if isinstance(each, list)]
        parts = parts[: next(at for at, each in enumerate(value) if not isinstance(each, list))]
        start = f"{self.number}." if self.number else ""
        for at, each in enumerate(parts, start=1):
            self.children.append(Node(each, f"{start}{at}", f"{start}{at}.MIME"))
        subtype, *rest = value[len(parts) :]
        self.said = {"type": b"multipart", "subtype": subtype.lower()}
        self.said |= zip(("parameters", "disposition", "language", "location"), rest, strict=False)

    def _single(self, value: Value) -> None:
        names = ("type", "subtype", "parameters", "id", "description", "encoding", "size")
        self.said = dict(zip(names, value, strict=False))
        for name in ("type", "subtype", "encoding"):  # RFC 2045 sections 5.1 and 6.1: in upper or lower case
            self.said[name] = self.said[name].lower()
        rest = value[7:]
        if self.said["type"] == b"message" and rest and isinstance(rest[0], list):
            self.said["envelope"] = rest[0]
            self.children = [Node(rest[1], self.number, f"{self.number}.HEADER")]
            rest = rest[2:]
        if self.said["type"] == b"text" or self.children:
            self.said["lines"], rest = rest[0], rest[1:]
        self.said |= zip(("md5", "disposition", "language", "location"), rest, strict=False)

    @property
    def is_composite(self) -> bool:
        """Whether there may be parts in it."""
        return self.said["type"] in (b"multipart", b"message")

    @property
    def is_message(self) -> bool:
        """Whether a message is in it."""
        return self.said["type"] == b"message" and bool(self.children) and self.said["subtype"] == b"rfc822"

    def __str__(self) -> str:
        inner = f"({' '.join(map(str, self.children))})" if self.children else ""
        return f"{self.said['type'].decode()}/{self.said['subtype'].decode()}{inner}"


def sections(node: Node) -> Iterator[str]:
    """Yield those of the headers of a part and of all within it."""
    yield node.section
    for child in node.children:
        yield from sections(child)


def _sorted(parameters: Value) -> Value:
    """Put parameters in order: RFC 2045 section 5.1 gives the order no meaning."""
    if not isinstance(parameters, list):
        return parameters
    return sorted((name.lower(), value) for name, value in zip(parameters[::2], parameters[1::2], strict=True))


def structure(theirs: Node, ours: Node, headers: dict[str, bytes]) -> Iterator[str]:
    """Yield what differs in two structures and may not; `headers` are by section."""
    header = headers[ours.section]
    is_typed = is_content_type(header)
    for name in {**theirs.said, **ours.said}:
        their, our = theirs.said.get(name), ours.said.get(name)
        if name == "envelope" and their and our:
            yield from envelope(their, our, headers[ours.children[0].section])
        elif their != our and not _is_excused(name, theirs, ours, header, is_typed):
            yield f"{ours.section} {name}: {their!r} {our!r}"
    if not is_typed and b"multipart" in (theirs.said["type"], ours.said["type"]):
        return
    if len(theirs.children) == len(ours.children):
        for pair in zip(theirs.children, ours.children, strict=True):
            yield from structure(*pair, headers)
    elif all(is_content_type(headers[section]) for section in sections(ours)) and not _is_global(ours):
        yield f"{ours.section} parts: {theirs} {ours}"


def _is_excused(name: str, theirs: Node, ours: Node, header: bytes, is_typed: bool) -> bool:
    if not is_typed:
        # RFC 2045 section 5.2: what the type cannot be read of is a text; as much of it as can be read is.
        if name in ("type", "subtype", "parameters", "lines"):
            return True
        if name in ("size", "encoding") and b"multipart" in (theirs.said["type"], ours.said["type"]):
            return True
    if _is_global(ours) and name in ("lines", "envelope"):
        return True
    if name == "encoding":  # RFC 2045 section 6.1; section 5.1 allows comments, RFC 5322 section 4.5 a space
        found = values(header, b"Content-Transfer-Encoding")
        return b"encoding :" in header.lower() or not all(re.fullmatch(_TOKEN, each) for each in found)
    if name == "disposition":  # RFC 2183 section 2
        return not all(_follows(_DISPOSITION, each) for each in values(header, b"Content-Disposition"))
    if name == "language":  # RFC 3282 section 2
        return not all(_follows(_LANGUAGES, each) for each in values(header, b"Content-Language"))
    if name in ("size", "lines") and ours.is_message:
        # RFC 2046 section 5.1.1: the CRLF before a boundary belongs to the boundary.
        more, lines = (int(theirs.said[each]) - int(ours.said[each]) for each in ("size", "lines"))
        return more == 2 and lines in (0, 1)
    return False


def _is_global(node: Node) -> bool:
    """RFC 6532 section 3.7, RFC 9051 section 9: ``message/global`` is a message like ``message/rfc822``."""
    return bool(node.said["subtype"] == b"global")


# ---------------------------------------------------------------- contents


def comparable(theirs: Node, ours: Node, headers: dict[str, bytes]) -> Iterator[tuple[str, Node]]:
    """Yield the numbers of the parts that are the same for both, with our parts."""
    if not is_content_type(headers[ours.section]) and (theirs.is_composite or ours.is_composite):
        return
    if ours.number and (ours.section.endswith(".MIME") or ours.said["type"] != b"multipart"):
        yield ours.number, ours
    if not _is_global(ours) and len(theirs.children) == len(ours.children):
        for pair in zip(theirs.children, ours.children, strict=True):
            yield from comparable(*pair, headers)


def is_content_excused(section: str, theirs: bytes, ours: bytes, header: bytes | None, node: Node | None) -> bool:
    """Whether the octets of a section may differ so; `header` is that of the message whose fields they are."""
    if "FIELDS" in section:
        # RFC 3501 section 6.4.5: only a message that has no empty line is answered without one.
        is_open = header is not None and not re.search(rb"(?:\A|\n)\r?\n\Z", header)
        return is_open and bytes(ours) == (theirs if theirs[-1:] in (b"", b"\n") else theirs + b"\r\n") + b"\r\n"
    # RFC 2046 section 5.1.1: the CRLF before a boundary belongs to the boundary, also behind what ends with another.
    return node is not None and node.is_composite and theirs == ours + b"\r\n"


# ---------------------------------------------------------------- what is found and sorted

# RFC 2047 section 2: encoded words, and nothing that looks like one and is none; RFC 2231 section 5 adds a language
_ENCODED = re.compile(rb"=\?([A-Za-z0-9-]+)\?([BbQq])\?([!->@-~]+)\?=(?=[\s)]|\Z)")
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_Q = re.compile(rb"(?:=[0-9A-F]{2}|[!-<>-^`-~_])+")
# RFC 5322 section 3.3, with the zones of section 4.3 that have a meaning, and years that every server can count
_DATE = re.compile(
    rb"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) *, *)?(?:0?[1-9]|[12][0-9]|3[01])"
    rb" +(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    rb" +(?:197[1-9]|19[89][0-9]|20[0-2][0-9]|203[0-7]) +(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?"
    rb" +(?:[+-](?:0[0-9]|1[0-4])[0-5][0-9]|GMT|UT|EST|EDT|CST|CDT|MST|MDT|PST|PDT)"
)
_MESSAGE_ID = re.compile(rb"<[!#$%&'*+/=?^_`{|}~0-9A-Za-z.-]+@[!#$%&'*+/=?^_`{|}~0-9A-Za-z.-]+>")
_HANGUL, _BETWEEN = re.compile("[\uac00-\ud7a3]"), re.compile("[\u1200-\uabff]")
_ENCODINGS = ("7bit", "8bit", "binary", "base64", "quoted-printable")


def is_text(value: bytes) -> bool:
    """Whether a value is UTF-8 (RFC 6532 section 3.1) and each ``=?`` begins an encoded word (RFC 2047 section 5)."""
    for charset, kind, text in _ENCODED.findall(value):
        if charset.decode().lower() not in CHARSETS or not (_BASE64 if kind in b"Bb" else _Q).fullmatch(text):
            return False
        octets = (
            base64.b64decode(text)
            if kind in b"Bb"
            else re.sub(rb"=(..)", lambda match: bytes.fromhex(match[1].decode()), text.replace(b"_", b" "))
        )
        if not _is_in(octets, charset.decode()):
            return False
    rest = re.sub(rb"(?:(?<=\s)|(?<=[(])|\A)" + _ENCODED.pattern, b"", value)
    return b"=?" not in rest and b"\0" not in value and b"\r" not in value and _is_in(rest, "utf-8")


def _is_in(octets: bytes, charset: str) -> bool:
    try:
        octets.decode(charset)
    except (UnicodeError, LookupError):
        return False
    return True


def is_date(value: bytes) -> bool:
    """Whether this is a date, RFC 5322 section 3.3; no day but one of the calendar has a meaning."""
    return (
        _follows(_DATE, value)
        and re.match(rb"(?:\w+, *)?(?:30|31) +Feb|(?:\w+, *)?31 +(?:Apr|Jun|Sep|Nov)", value) is None
    )


class Soundness:
    """Of which of its fields, and of whose text, there can be no two opinions."""

    def __init__(self, octets: bytes) -> None:
        octets = re.sub(rb"\r?\n", b"\r\n", octets)
        self.header = re.split(rb"(?<=\n)\r\n", b"\n" + octets, maxsplit=1)[0][1:]
        self._message = email.message_from_bytes(octets)
        self._is_whole = octets.endswith(b"\n")  # RFC 5322 section 3.5: a body is lines
        self._body: bool | None = None

    def has_text(self, name: str) -> bool:
        """Whether the text of a field is plain."""
        return all(map(is_text, values(self.header, name.encode())))

    def has_one(self, name: str) -> bool:
        """Whether there is not more than one field of a name that a message has once: RFC 5322 section 3.6."""
        return len(values(self.header, name.encode())) <= 1

    def has_addresses(self, name: str) -> bool:
        """Whether a field is a list of addresses, of which comments (RFC 5322 section 3.2.2) are no part."""
        found = values(self.header, name.encode())
        joined = b",".join(found)
        is_plain = not re.match(rb"[ ,]", joined) and not re.search(rb"[(]|[ \t]\.|\.[ \t]", joined)
        return self.has_text(name) and is_plain and all(map(is_address_list, filter(None, found)))

    def has_date(self) -> bool:
        """Whether there is one date, or none at all."""
        return self.has_one("Date") and all(map(is_date, values(self.header, b"Date")))

    def has_hangul(self, name: str) -> bool:
        """Whether the text of a field has Korean syllables."""
        return _HANGUL.search(self._text(name)) is not None

    def has_hangul_among_others(self, name: str) -> bool:
        """
        Whether there are Korean syllables beside what stands between their letters and them.

        RFC 5051 section 2 takes apart what UnicodeData.txt takes apart, where syllables are not; Dovecot sorts them by
        their letters, which are before Japanese.
        """
        return self.has_hangul(name) and _BETWEEN.search(self._text(name)) is not None

    def _text(self, name: str) -> str:
        found = b" ".join(values(self.header, name.encode())).decode("utf-8", "replace")
        return str(make_header(decode_header(found)))

    def has_ids(self) -> bool:
        """Whether the ids are such, RFC 5322 section 3.6.4."""
        if not all(map(self.has_one, ("Message-ID", "References", "In-Reply-To"))):
            return False
        own, replied, referred = (values(self.header, name) for name in (b"Message-ID", b"In-Reply-To", b"References"))
        written = [*own, *replied, *(each for value in referred for each in value.split())]
        return all(map(_MESSAGE_ID.fullmatch, written))

    @property
    def body(self) -> bool:
        """Whether everybody finds the same text: RFC 2045 sections 5 and 6, RFC 2046 sections 4.1.2 and 5."""
        if self._body is None:
            self._body = self._is_whole and is_content_type(self.header) and all(map(_is_sound, self._message.walk()))
        return self._body

    def has(self, content_type: str) -> bool:
        """Whether any part is of this type."""
        return any(part.get_content_type() == content_type for part in self._message.walk())


def _is_sound(part: email.message.Message) -> bool:
    if part.defects or part.get_content_subtype() == "global":
        return False
    fields = b"".join(
        b"%b: %b\r\n" % (name.encode("ascii", "replace"), str(value).encode("ascii", "replace"))
        for name, value in part.items()
    )
    if not is_content_type(fields) or str(part.get("Content-Transfer-Encoding", "7bit")).lower() not in _ENCODINGS:
        return False
    if part.is_multipart():
        return part.get("Content-Transfer-Encoding", "7bit").lower() in _ENCODINGS[:3]
    if part.get_content_maintype() != "text":
        return True
    payload = part.get_payload(decode=True)
    charset = part.get_content_charset("us-ascii")
    return charset in CHARSETS and isinstance(payload, bytes) and _is_in(payload, charset) and not part.defects
