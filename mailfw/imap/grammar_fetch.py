"""The arguments of FETCH: RFC 3501 sections 6.4.5 and 9, from octets to values."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from mailfw.imap import responses
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


class Text(enum.Enum):
    """Which octets of a part a section means."""

    ALL = b""
    HEADER = b"HEADER"
    FIELDS = b"HEADER.FIELDS"
    FIELDS_NOT = b"HEADER.FIELDS.NOT"
    TEXT = b"TEXT"
    MIME = b"MIME"


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
        return bool(self.numbers) or self.text is not Text.ALL


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What FETCH asks for, in order."""

    wanted: SequenceSet
    items: tuple[Item | Section, ...]


_FAST = (Item.FLAGS, Item.DATE, Item.SIZE)
_MACROS: dict[bytes, tuple[Item, ...]] = {
    b"FAST": _FAST,
    b"ALL": (*_FAST, Item.ENVELOPE),
    b"FULL": (*_FAST, Item.ENVELOPE, Item.BODY),
}
_ITEM_NAMES: dict[bytes, Item] = {item.value: item for item in Item}
_ALIASES: dict[bytes, Section] = {
    b"RFC822": Section(b"RFC822"),
    b"RFC822.HEADER": Section(b"RFC822.HEADER", Text.HEADER, peek=True),
    b"RFC822.TEXT": Section(b"RFC822.TEXT", Text.TEXT),
}


def fetch(cursor: Cursor) -> FetchRequest:
    """Read ``SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")")``."""
    cursor.space()
    wanted = cursor.sequence_set()
    cursor.space()
    items: list[Item | Section] = []
    if cursor.take(b"("):
        items.append(_item(cursor, _name(cursor)))
        while not cursor.take(b")"):
            cursor.space()
            items.append(_item(cursor, _name(cursor)))
            if len(items) > _ITEMS:
                raise BadSyntax("Too many things to fetch at once")
    else:
        name = _name(cursor)
        items.extend(_MACROS[name] if name in _MACROS else (_item(cursor, name),))
    cursor.expect_end()
    return FetchRequest(wanted, tuple(items))


def _name(cursor: Cursor) -> bytes:
    found = cursor.match(_NAME)
    if found is None:
        raise BadSyntax("Expected what to fetch")
    return found[0].upper()


def _item(cursor: Cursor, name: bytes) -> Item | Section:
    if name in (b"BODY", b"BODY.PEEK") and cursor.take(b"["):
        return _section(cursor, name == b"BODY.PEEK")
    if name == Item.PREVIEW.value:
        cursor.match(_LAZY)  # RFC 8970 section 4.1: a preview is kept with its message, so nobody has to wait for it
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
    return b"BODY[%b]" % spec if origin is None else b"BODY[%b]<%d>" % (spec, origin)
