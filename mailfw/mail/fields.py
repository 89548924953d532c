"""Header fields as octets: splitting a header, unfolding a value, reading ``value; name=value`` lists."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: A parameter list, in order, names as written.
Parameters = tuple[tuple[str, str], ...]

#: More parameters than this are no longer read: it bounds what one header can cost.
MAX_PARAMETERS = 100

# A field is a line and the lines that continue it: FWS, RFC 5322 section 2.2.3.
_FIELD = re.compile(rb"[^\n]+(?:\n|\Z)(?:[ \t][^\n]*(?:\n|\Z))*")
_FOLD = re.compile(rb"\r?\n")
# parameter := attribute "=" value                       RFC 2045 section 5.1; a missing closing quote is forgiven
_PARAMETER = re.compile(rb';[ \t]*+([^\s=;"]++)[ \t]*+=[ \t]*+("(?:[^"\\]|\\.)*+"?|[^;]*+)', re.DOTALL)
# quoted-string, or one that is not closed             RFC 5322 section 3.2.4
_QUOTED_OR_PAREN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[()\\]', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
#: Whose unquoted values may hold spaces: mailers forget the quotes around names of files.
_FILE_NAMES = (b"name", b"filename")


def to_text(octets: bytes) -> str:
    """Return header octets as text that `to_octets` turns back without loss, whatever they are."""
    return octets.decode("utf-8", "surrogateescape")


def to_octets(text: str) -> bytes:
    """Undo `to_text`."""
    return text.encode("utf-8", "surrogateescape")


def split_fields(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    """
    Yield the lower-case name and the raw octets, folds and line end included, of each field in order.

    Lines that are no field have the name ``b""``; the empty line at the end is left out.
    """
    for raw in _FIELD.findall(header):
        colon = raw.find(b":")
        if colon > 0:
            yield raw[:colon].rstrip(b" \t").lower(), raw
        elif raw.strip(b"\r\n"):
            yield b"", raw


def field_value(raw: bytes) -> bytes:
    """Return the value of one raw field, unfolded and stripped."""
    return unfold(raw[raw.find(b":") + 1 :])


def unfold(value: bytes) -> bytes:
    """
    Join the lines of a value: line ends go, white space stays (RFC 5322 section 2.2.3).

    NULs go too, and a CR that ends no line is a space.
    """
    value = value.strip(b" \t\r\n")
    if b"\n" not in value and b"\r" not in value and b"\0" not in value:
        return value
    return _FOLD.sub(b"", value).replace(b"\0", b"").replace(b"\r", b" ").strip(b" \t\n")


def unquote(value: bytes) -> bytes:
    """Take the quotes off a quoted string, closed or not; anything else stays as it is."""
    if not value.startswith(b'"'):
        return value
    end = len(value) - 1 if len(value) > 1 and value.endswith(b'"') else len(value)
    return _QUOTED_PAIR.sub(rb"\1", value[1:end]) if b"\\" in value else value[1:end]


def without_comments(value: bytes) -> bytes:
    """Return a structured value without its comments, which nest (RFC 5322 section 3.2.2)."""
    if b"(" not in value:
        return value
    kept: list[bytes] = []
    depth = start = position = 0
    while (match := _QUOTED_OR_PAREN.search(value, position)) is not None:
        token = match[0]
        position = match.end()
        if token == b"\\":
            position += 1
        elif token == b"(":
            if not depth:
                kept.append(value[start : match.start()])
            depth += 1
        elif token == b")" and depth:
            depth -= 1
            start = position
        elif depth:
            position = match.start() + 1  # a quote inside a comment quotes nothing
    if not depth:
        kept.append(value[start:])
    return b" ".join(kept)


def parse_parameters(value: bytes) -> tuple[bytes, Parameters]:
    """Split ``value; name=value; …`` into the stripped value before the first semicolon and the parameters."""
    value = without_comments(value)
    semicolon = value.find(b";")
    if semicolon < 0:
        return value.strip(), ()
    found: list[tuple[str, str]] = []
    for match in _PARAMETER.finditer(value, semicolon):
        name, given = match[1], match[2]
        found.append((to_text(name), to_text(_parameter_value(name.lower(), given))))
        if len(found) == MAX_PARAMETERS:
            break
    return value[:semicolon].strip(), tuple(found)


def _parameter_value(name: bytes, given: bytes) -> bytes:
    if given.startswith(b'"'):
        return unquote(given)
    if name.startswith(_FILE_NAMES):
        return given.strip()
    return given.split(None, 1)[0] if given.strip() else b""
