"""Commands about the tree of mailboxes, from octets to values: RFC 3501, RFC 5258, RFC 4314, RFC 9208, RFC 5464."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.mail.mailbox import Role

#: Patterns of one LIST, and characters in all, each with its reference; RFC 3501 sets no limit, and no name is longer.
_PATTERNS, _PATTERN_LIMIT = 100, 4000
#: Entries of one GETMETADATA, SETMETADATA or LIST; RFC 5464 sets no limit, and no mailbox has more.
_ENTRIES = 200
# RFC 5464 section 3.2: neither wildcards nor controls, no empty component, and nothing but ASCII.
_ENTRY = re.compile(rb"(?:/[^\x00-\x1f%*/\x7f-\xff]+)+", re.DOTALL)

_OPEN = ord("(")


@dataclass(frozen=True, slots=True)
class Create:
    """A name for a mailbox, with what the client wrote where that is another, and what the mailbox is for."""

    name: str
    written: str
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class SetAccess:
    """What SETACL asks for; `change` is ``+`` or ``-`` where rights are added or taken, else empty."""

    mailbox: str
    identifier: str
    change: str
    rights: str


@dataclass(frozen=True, slots=True)
class ListRequest:
    """
    What LIST asks for: patterns with their reference before them, and options of RFC 5258 and what builds on it.

    `status` are items of STATUS (RFC 5819), `metadata` names of annotations in lower case (RFC 9590), both empty where
    they are not wanted.
    """

    reference: str
    patterns: tuple[str, ...]
    only_subscribed: bool = False
    only_special_use: bool = False
    show_subscribed: bool = False
    #: Whether what matches only by what is below it is shown (RECURSIVEMATCH).
    with_parents: bool = False
    #: Whether the command is of the extended form: RFC 5258 section 3 allows attributes then that RFC 3501 has not.
    is_extended: bool = False
    #: Whether patterns are Unicode, and not in modified UTF-7.
    is_unicode: bool = False
    status: tuple[bytes, ...] = ()
    rights: bool = False
    metadata: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GetMetadata:
    """What GETMETADATA asks for, of the account itself where there is no mailbox; no `depth` is all that is below."""

    mailbox: str
    entries: tuple[str, ...]
    largest: int | None = None
    depth: int | None = 0


# ---------------------------------------------------------------- the tree


def create(cursor: Cursor) -> Create:
    """``create = "CREATE" SP mailbox [SP "(USE (" *use-attr "))"]`` (RFC 6154 section 6)."""
    cursor.space()
    name, written = cursor.named()
    role = None
    if not cursor.at_end():
        cursor.space()
        cursor.expect(b"(USE (")
        cursor.needs(b"CREATE-SPECIAL-USE")
        role = _uses(cursor)
        cursor.expect(b")")
        cursor.expect_end()
    return Create(name, written, role)


def rename(cursor: Cursor) -> tuple[str, Create]:
    """``rename = "RENAME" SP mailbox SP mailbox``."""
    cursor.space()
    old = cursor.mailbox()
    cursor.space()
    name, written = cursor.named()
    cursor.expect_end()
    return old, Create(name, written)


def _uses(cursor: Cursor) -> Role | None:
    roles: list[Role] = []
    first = True
    while not cursor.take(b")"):
        if not first:
            cursor.space()
        cursor.expect(b"\\")
        roles.append(role_of("\\" + cursor.atom().decode("ascii")))
        first = False
    if len(set(roles)) > 1:
        raise UseRefused("A mailbox has one use here")
    return roles[0] if roles else None


def role_of(attribute: str) -> Role:
    """
    Return the role that an attribute of RFC 6154 stands for.

    \\All, \\Flagged and \\Important (RFC 8457) are views of other mailboxes: none is made by hand.
    """
    for role in Role:
        if role.value.lower() == attribute.lower():
            return role
    raise UseRefused("No mailbox can be made for that use")


class UseRefused(Exception):
    """A use that we do not know, or more than one: NO [USEATTR]."""


# ---------------------------------------------------------------- LIST, LSUB and STATUS


def list_request(cursor: Cursor) -> ListRequest:
    """``list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]`` (RFC 5258 section 6)."""
    cursor.space()
    chosen = None
    if cursor.peek() == _OPEN:
        chosen = _selection(cursor)
        cursor.space()
    reference = cursor.mailbox()
    cursor.space()
    is_group = cursor.peek() == _OPEN
    patterns = _patterns(cursor)
    shown = None
    if not cursor.at_end():
        cursor.space()
        cursor.expect(b"RETURN ")
        shown = _Returned(cursor)
    cursor.expect_end()
    if len(patterns) > _PATTERNS or sum(len(reference) + len(pattern) for pattern in patterns) > _PATTERN_LIMIT:
        raise BadSyntax("More to look for than LIST takes")
    is_extended = is_group or chosen is not None or shown is not None
    if is_extended:
        cursor.needs(b"LIST-EXTENDED")
    options, returned = chosen or frozenset(), shown or _Returned(None)
    subscribed = b"SUBSCRIBED" in options
    return ListRequest(
        reference,
        patterns,
        only_subscribed=subscribed,
        only_special_use=b"SPECIAL-USE" in options,
        show_subscribed=subscribed or b"SUBSCRIBED" in returned.options,
        with_parents=b"RECURSIVEMATCH" in options,
        is_extended=is_extended,
        is_unicode=cursor.utf8,
        status=returned.status,
        rights=b"MYRIGHTS" in returned.options,
        metadata=returned.metadata,
    )


def _selection(cursor: Cursor) -> frozenset[bytes]:
    """
    Read what to select: mailboxes elsewhere (REMOTE) there are none.

    RFC 5258 section 3.1: what there is to match recursively must be said, and SPECIAL-USE is not that (RFC 6154
    section 6 has it among the independent options).
    """
    options = set(_atoms(cursor))
    if not options <= {b"SUBSCRIBED", b"SPECIAL-USE", b"REMOTE", b"RECURSIVEMATCH"}:
        raise BadSyntax("An option LIST does not have")
    if b"RECURSIVEMATCH" in options and b"SUBSCRIBED" not in options:
        raise BadSyntax("RECURSIVEMATCH stands beside SUBSCRIBED")
    if b"SPECIAL-USE" in options:
        cursor.needs(b"SPECIAL-USE")
    return frozenset(options)


#: What LIST returns, and which capability brings it.
_RETURNED = {
    b"SUBSCRIBED": b"LIST-EXTENDED",
    b"CHILDREN": b"LIST-EXTENDED",
    b"SPECIAL-USE": b"SPECIAL-USE",
    b"STATUS": b"LIST-STATUS",
    b"MYRIGHTS": b"LIST-MYRIGHTS",
    b"METADATA": b"LIST-METADATA",
}


class _Returned:
    """What LIST is to return, from a list of options in parentheses."""

    def __init__(self, cursor: Cursor | None) -> None:
        self.options: set[bytes] = set()
        self.status: tuple[bytes, ...] = ()
        self.metadata: tuple[str, ...] = ()
        if cursor is None:
            return
        cursor.expect(b"(")
        while not cursor.take(b")"):
            if self.options:
                cursor.space()
            self._add(cursor, cursor.atom().upper())

    def _add(self, cursor: Cursor, option: bytes) -> None:
        if option not in _RETURNED:
            raise BadSyntax("A return option LIST does not have")
        cursor.needs(_RETURNED[option])
        self.options.add(option)
        if option == b"STATUS":
            cursor.space()
            self.status = _status_items(cursor)
        elif option == b"METADATA":
            cursor.space()
            self.metadata = _entries(cursor)


def _atoms(cursor: Cursor) -> list[bytes]:
    """Read atoms in parentheses, in upper case, perhaps none."""
    cursor.expect(b"(")
    atoms: list[bytes] = []
    while not cursor.take(b")"):
        if atoms:
            cursor.space()
        atoms.append(cursor.atom().upper())
    return atoms


def _patterns(cursor: Cursor) -> tuple[str, ...]:
    if not cursor.take(b"("):
        return (cursor.list_mailbox(),)
    patterns = [cursor.list_mailbox()]
    while not cursor.take(b")"):
        cursor.space()
        patterns.append(cursor.list_mailbox())
    return tuple(patterns)


def lsub_request(cursor: Cursor) -> ListRequest:
    """``lsub = "LSUB" SP mailbox SP list-mailbox``."""
    cursor.space()
    reference = cursor.mailbox()
    cursor.space()
    pattern = cursor.list_mailbox()
    cursor.expect_end()
    if len(reference) + len(pattern) > _PATTERN_LIMIT:
        raise BadSyntax("More to look for than LSUB takes")
    return ListRequest(reference, (pattern,), is_unicode=cursor.utf8)


def status(cursor: Cursor) -> tuple[str, tuple[bytes, ...]]:
    """``status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"``; an item asked for twice counts once."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    items = _status_items(cursor)
    cursor.expect_end()
    return name, items


def _status_items(cursor: Cursor) -> tuple[bytes, ...]:
    items = tuple(dict.fromkeys(_atoms(cursor)))
    if not items:
        raise BadSyntax("Expected items of STATUS")
    return items


# ---------------------------------------------------------------- rights


def mailbox_and_identifier(cursor: Cursor) -> tuple[str, str]:
    """``deleteacl = "DELETEACL" SP mailbox SP identifier`` (RFC 4314 section 7), and the same for LISTRIGHTS."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    identifier = _text(cursor.astring())
    cursor.expect_end()
    return name, identifier


def set_access(cursor: Cursor) -> SetAccess:
    """``setacl = "SETACL" SP mailbox SP identifier SP mod-rights`` (RFC 4314 section 7)."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    identifier = _text(cursor.astring())
    cursor.space()
    rights = _text(cursor.astring())
    cursor.expect_end()
    change = rights[:1] if rights[:1] in ("+", "-") else ""
    return SetAccess(name, identifier, change, rights[len(change) :])


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax("Expected UTF-8")


# ---------------------------------------------------------------- quotas


def quota_root(cursor: Cursor) -> str:
    """``getquota = "GETQUOTA" SP quota-root-name`` (RFC 9208 section 7)."""
    cursor.space()
    root = _text(cursor.astring())
    cursor.expect_end()
    return root


def set_quota(cursor: Cursor) -> tuple[str, dict[bytes, int]]:
    """``setquota = "SETQUOTA" SP quota-root-name SP setquota-list`` (RFC 9208 section 7)."""
    cursor.space()
    root = _text(cursor.astring())
    cursor.space()
    cursor.expect(b"(")
    limits: dict[bytes, int] = {}
    while not cursor.take(b")"):
        if limits:
            cursor.space()
        resource = cursor.atom().upper()
        cursor.space()
        limits[resource] = cursor.number64()
    cursor.expect_end()
    return root, limits


# ---------------------------------------------------------------- annotations


def get_metadata(cursor: Cursor) -> GetMetadata:
    """
    ``getmetadata = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries`` (RFC 5464 section 5).

    The options may stand behind the mailbox too, as in the examples there.
    """
    cursor.space()
    options: dict[bytes, int | None] = {}
    if cursor.peek() == _OPEN:
        options = _metadata_options(cursor)
        cursor.space()
    name = cursor.mailbox()
    cursor.space()
    if not options and cursor.peek() == _OPEN and cursor.follows(b"(MAXSIZE ", b"(DEPTH "):
        options = _metadata_options(cursor)
        cursor.space()
    entries = _entries(cursor)
    cursor.expect_end()
    return GetMetadata(name, entries, options.get(b"MAXSIZE"), options.get(b"DEPTH", 0))


def _metadata_options(cursor: Cursor) -> dict[bytes, int | None]:
    cursor.expect(b"(")
    options: dict[bytes, int | None] = {}
    while not options or not cursor.take(b")"):
        if options:
            cursor.space()
        option = cursor.atom().upper()
        cursor.space()
        match option:
            case b"MAXSIZE":
                options[option] = cursor.number()
            case b"DEPTH":
                options[option] = _depth(cursor.atom().lower())
            case _:
                raise BadSyntax("An option GETMETADATA does not have")
    return options


def _depth(word: bytes) -> int | None:
    try:
        return {b"0": 0, b"1": 1, b"infinity": None}[word]
    except KeyError:
        raise BadSyntax("DEPTH is 0, 1 or infinity") from None


def set_metadata(cursor: Cursor) -> tuple[str, dict[str, bytes | None]]:
    """``setmetadata = "SETMETADATA" SP mailbox SP "(" entry-value *(SP entry-value) ")"`` (RFC 5464 section 5)."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    cursor.expect(b"(")
    values: dict[str, bytes | None] = {}
    while not values or not cursor.take(b")"):
        if values:
            cursor.space()
        entry = _whole_entry(cursor)
        cursor.space()
        values[entry] = cursor.nstring8()
        if len(values) > _ENTRIES:
            raise BadSyntax("More entries than a command takes")
    cursor.expect_end()
    return name, values


def _entries(cursor: Cursor) -> tuple[str, ...]:
    """``entries = entry / "(" entry *(SP entry) ")"``, in lower case: RFC 5464 section 3.2 tells no cases apart."""
    if not cursor.take(b"("):
        return (_entry(cursor),)
    entries = [_entry(cursor)]
    while not cursor.take(b")"):
        cursor.space()
        entries.append(_entry(cursor))
        if len(entries) > _ENTRIES:
            raise BadSyntax("More entries than a command takes")
    return tuple(dict.fromkeys(entries))


def _whole_entry(cursor: Cursor) -> str:
    """Read an entry that can have a value: RFC 5464 section 3.2 wants two components, and four of a vendor's."""
    entry = _entry(cursor)
    components = entry.split("/")[1:]
    if len(components) < (4 if components[1:2] == ["vendor"] else 2):
        raise BadSyntax("That is only the beginning of an entry's name")
    return entry


def _entry(cursor: Cursor) -> str:
    octets = cursor.astring()
    if _ENTRY.fullmatch(octets) is None:
        raise BadSyntax("That cannot be the name of an entry")
    name = octets.decode("ascii").lower()
    if name.split("/")[1] not in ("shared", "private"):
        raise BadSyntax("The name of an entry begins with /shared or /private")
    return name
