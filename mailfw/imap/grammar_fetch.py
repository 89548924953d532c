"""The arguments of FETCH: RFC 3501 sections 6.4.5 and 9, from octets to values."""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass, replace

from mailfw.imap import responses
from mailfw.imap.grammar_pages import Page, partial
from mailfw.imap.lexer import BadSyntax, Cursor, SequenceSet

# The names of fetch-att, without what BODY may have behind it
_NAME = re.compile(rb"[A-Za-z0-9.]+")
# section-part = nz-number *("." nz-number)
_NUMBERS = re.compile(rb"[1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9})*")
# section-text = section-msgtext / "MIME"
_TEXT = re.compile(rb"HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER|TEXT|MIME", re.IGNORECASE)
# What may follow PREVIEW: SP "(" preview-mod ")"                      RFC 8970 section 6
_LAZY = re.compile(rb" \(LAZY\)", re.IGNORECASE)
# "<" number "." nz-number ">"
_PARTIAL = re.compile(rb"<([0-9]{1,10})\.([0-9]{1,10})>")

#: RFC 3501 sets no limit; each may make us send a whole message.
_ITEMS = 100
#: Octets of what names the sections, which the answer about every message repeats.
_LABELS = 16 * 1024
#: What is read but once, in octets: a longer list of items is nobody's habit.
SHORT = 500
#: More than any message has.
_EVERYTHING = 2**63
#: Deeper than `mailfw.mail.mime` ever looks.
_DEPTH = 200


class Item(enum.Enum):
    """What FETCH can ask that is known of a message without opening it; the value is its name."""

    UID = b"UID"
    FLAGS = b"FLAGS"
    DATE = b"INTERNALDATE"
    SIZE = b"RFC822.SIZE"
    ENVELOPE = b"ENVELOPE"
    BODY = b"BODY"
    BODYSTRUCTURE = b"BODYSTRUCTURE"
    PREVIEW = b"PREVIEW"
    EMAIL_ID = b"EMAILID"
    THREAD_ID = b"THREADID"
    SAVED_DATE = b"SAVEDATE"
    MODSEQ = b"MODSEQ"

    #: There is one object for each, and that of `enum.Enum` is written in Python.
    __hash__ = object.__hash__


class Text(enum.Enum):
    """Which octets of a part a section means."""

    ALL = b""
    HEADER = b"HEADER"
    FIELDS = b"HEADER.FIELDS"
    FIELDS_NOT = b"HEADER.FIELDS.NOT"
    TEXT = b"TEXT"
    MIME = b"MIME"
    #: RFC 3516: a part without its content transfer encoding, and how many octets that are.
    DECODED = b"BINARY"
    DECODED_SIZE = b"BINARY.SIZE"

    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Section:
    """
    Octets of a message: `label` is how the answer names them.

    `names` are field names in lower case.  `origin` and `length` are those of a partial FETCH, else None.
    """

    label: bytes
    text: Text = Text.ALL
    numbers: tuple[int, ...] = ()
    names: frozenset[bytes] = frozenset()
    origin: int | None = None
    length: int | None = None
    peek: bool = False

    @property
    def needs_parts(self) -> bool:
        """Whether the table of parts says where it is; only a whole message needs none."""
        return bool(self.numbers) or self.text not in _WHOLE


#: What is the whole message where no part is named: RFC 3516 section 4.2 has nothing to decode there.
_WHOLE = frozenset({Text.ALL, Text.DECODED, Text.DECODED_SIZE})


@dataclass(frozen=True, slots=True, eq=False)
class FetchRequest:
    """
    What FETCH asks for of each message, in order; no two are equal, so that what they come to is found at once.

    Only messages of one `page` are wanted (RFC 9394 section 3.3), and of these those that changed after `changed_since`
    (section 3.4); with `vanished` which others are gone (RFC 7162 sections 3.1.4 and 3.2.6).
    """

    items: tuple[Item | Section, ...]
    changed_since: int | None = None
    vanished: bool = False
    page: Page | None = None


_FAST = (Item.FLAGS, Item.DATE, Item.SIZE)
_MACROS: dict[bytes, tuple[Item, ...]] = {
    b"FAST": _FAST,
    b"ALL": (*_FAST, Item.ENVELOPE),
    b"FULL": (*_FAST, Item.ENVELOPE, Item.BODY),
}
_ITEM_NAMES: dict[bytes, Item] = {item.value: item for item in Item}
#: What of them extensions bring.
_CAPABILITIES = {
    b"PREVIEW": b"PREVIEW",
    b"EMAILID": b"OBJECTID",
    b"THREADID": b"OBJECTID",
    b"SAVEDATE": b"SAVEDATE",
    b"MODSEQ": b"CONDSTORE",
}
_ALIASES: dict[bytes, Section] = {
    b"RFC822": Section(b"RFC822"),
    b"RFC822.HEADER": Section(b"RFC822.HEADER", Text.HEADER, peek=True),
    b"RFC822.TEXT": Section(b"RFC822.TEXT", Text.TEXT),
}


def fetch(cursor: Cursor) -> tuple[SequenceSet, FetchRequest]:
    """
    Read what follows FETCH: what to fetch of which messages, and modifiers (RFC 4466 section 2.4).

    ``SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")")
    [SP "(" fetch-modifier *(SP fetch-modifier) ")"]``.
    """
    cursor.space()
    wanted = cursor.sequence_set()
    cursor.space()
    rest = cursor.rest()
    return wanted, _read(cursor) if rest is None or len(rest) > SHORT else _read_again(rest, cursor.without)


@functools.lru_cache(maxsize=256)
def _read_again(rest: bytes, without: frozenset[bytes]) -> FetchRequest:
    """Do what `_read` does; clients ask the same of one message after the other."""
    return _read(Cursor((rest,), without=without))


def _read(cursor: Cursor) -> FetchRequest:
    """Read what follows the set."""
    if cursor.take(b"("):
        request = FetchRequest(items(cursor))
    else:
        name = _name(cursor)
        request = FetchRequest(_MACROS[name] if name in _MACROS else _bounded([_item(cursor, name)]))
    return request if cursor.at_end() else _modified(cursor, request)


def items(cursor: Cursor) -> tuple[Item | Section, ...]:
    """``"(" fetch-att *(SP fetch-att) ")"``, of which the first parenthesis is taken; nothing is answered twice."""
    found = [_item(cursor, _name(cursor))]
    while not cursor.take(b")"):
        cursor.space()
        found.append(_item(cursor, _name(cursor)))
    return _bounded(found)


def _bounded(found: list[Item | Section]) -> tuple[Item | Section, ...]:
    items = tuple(dict.fromkeys(found))
    if len(items) > _ITEMS or sum(len(each.label) for each in items if isinstance(each, Section)) > _LABELS:
        raise BadSyntax("Too many things to fetch at once")
    return items


def _modified(cursor: Cursor, request: FetchRequest) -> FetchRequest:
    """Read the modifiers: ``"CHANGEDSINCE" SP mod-sequence-value / "VANISHED" / "PARTIAL" SP partial-range``."""
    cursor.space()
    cursor.expect(b"(")
    while True:
        if request.changed_since is None and cursor.take(b"CHANGEDSINCE "):
            cursor.needs(b"CONDSTORE")
            request = replace(request, changed_since=cursor.number64())
        elif not request.vanished and cursor.take(b"VANISHED"):
            cursor.needs(b"QRESYNC")
            request = replace(request, vanished=True)
        elif request.page is None and cursor.take(b"PARTIAL "):
            cursor.needs(b"PARTIAL")
            request = replace(request, page=partial(cursor))
        else:
            raise BadSyntax("FETCH takes CHANGEDSINCE, VANISHED and PARTIAL, once each")
        if cursor.take(b")"):
            break
        cursor.space()
    cursor.expect_end()
    return request


def _name(cursor: Cursor) -> bytes:
    found = cursor.match(_NAME)
    if found is None:
        raise BadSyntax("Expected what to fetch")
    return found[0].upper()


def _item(cursor: Cursor, name: bytes) -> Item | Section:
    if name in (b"BODY", b"BODY.PEEK") and cursor.take(b"["):
        return _section(cursor, name == b"BODY.PEEK")
    if name in _DECODED and cursor.take(b"["):
        cursor.needs(b"BINARY")
        return _decoded(cursor, _DECODED[name], peek=name != b"BINARY")
    if name == Item.PREVIEW.value:
        cursor.match(_LAZY)  # RFC 8970 section 4.1: a preview is kept with its message, so nobody has to wait for it
    if name in _CAPABILITIES:
        cursor.needs(_CAPABILITIES[name])
    if name in _ITEM_NAMES:
        return _ITEM_NAMES[name]
    if name in _ALIASES:
        return _ALIASES[name]
    raise BadSyntax(f"There is no {name.decode('ascii')[:40]} to fetch")


def _section(cursor: Cursor, peek: bool) -> Section:
    """``section = "[" [section-spec] "]"``, of which the bracket is taken, and what may follow it."""
    numbers = _numbers(cursor)
    text = Text.ALL
    names: tuple[bytes, ...] = ()
    if not numbers or cursor.take(b"."):
        text = _text(cursor, bool(numbers))
    if text in (Text.FIELDS, Text.FIELDS_NOT):
        names = _names(cursor)
    cursor.expect(b"]")
    origin, length = _partial(cursor)
    return Section(
        _label(numbers, text, names, origin), text, numbers, frozenset(map(bytes.lower, names)), origin, length, peek
    )


_DECODED = {b"BINARY": Text.DECODED, b"BINARY.PEEK": Text.DECODED, b"BINARY.SIZE": Text.DECODED_SIZE}


def _decoded(cursor: Cursor, text: Text, peek: bool) -> Section:
    """``section-binary = "[" [section-part] "]"`` (RFC 3516 section 7), of which the bracket is taken."""
    numbers = _numbers(cursor)
    cursor.expect(b"]")
    origin, length = _partial(cursor) if text is Text.DECODED else (None, None)
    spec = b".".join([b"%d" % number for number in numbers])
    return Section(_labelled(text.value, spec, origin), text, numbers, frozenset(), origin, length, peek)


def url_section(spec: bytes, origin: bytes | None, length: bytes | None) -> Section:
    """Read what a URL has of a section, and its partial range (RFC 5092 section 11); the length may be missing."""
    cursor = Cursor((spec + b"]",))
    section = _section(cursor, peek=True)
    cursor.expect_end()
    if origin is None:
        return section
    return replace(section, origin=int(origin), length=int(length) if length else _EVERYTHING)


def _numbers(cursor: Cursor) -> tuple[int, ...]:
    found = cursor.match(_NUMBERS)
    if found is None:
        return ()
    numbers = tuple(map(int, found[0].split(b".")))
    if len(numbers) > _DEPTH:
        raise BadSyntax("No message has parts that deep")
    return numbers


def _text(cursor: Cursor, of_part: bool) -> Text:
    found = cursor.match(_TEXT)
    if found is None:
        if of_part or cursor.peek() != ord("]"):
            raise BadSyntax("There is no such section")
        return Text.ALL
    text = Text(found[0].upper())
    if text is Text.MIME and not of_part:
        raise BadSyntax("MIME is of a numbered part only")
    return text


def _names(cursor: Cursor) -> tuple[bytes, ...]:
    """``header-list = "(" header-fld-name *(SP header-fld-name) ")"``."""
    cursor.space()
    cursor.expect(b"(")
    names = [cursor.astring()]
    while not cursor.take(b")"):
        cursor.space()
        names.append(cursor.astring())
    return tuple(names)


def _partial(cursor: Cursor) -> tuple[int | None, int | None]:
    if cursor.peek() != ord("<"):
        return None, None
    found = cursor.match(_PARTIAL)
    if found is None or not int(found[2]):
        raise BadSyntax("A partial fetch is written <origin.length>, and the length is not 0")
    return int(found[1]), int(found[2])


def _label(numbers: tuple[int, ...], text: Text, names: tuple[bytes, ...], origin: int | None) -> bytes:
    spec = b".".join([*(b"%d" % number for number in numbers), *((text.value,) if text.value else ())])
    if names:
        spec += b" (%b)" % b" ".join(map(responses.astring, names))
    return _labelled(b"BODY", spec, origin)


def _labelled(name: bytes, spec: bytes, origin: int | None) -> bytes:
    return b"%b[%b]" % (name, spec) if origin is None else b"%b[%b]<%d>" % (name, spec, origin)
