"""The commands of RFC 3501 section 9 and its extensions, all but FETCH and SEARCH: from octets to values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mailfw.imap.lexer import BadSyntax, Cursor, Literal, SequenceSet
from mailfw.mail.mailbox import SYSTEM_FLAGS, FlagChange, Flags, Role

# tag     = 1*<any ASTRING-CHAR except "+">
# command = tag SP (command-any / command-auth / command-nonauth / command-select) CRLF
_START = re.compile(rb'([^\x00-\x20(){%*"\\\x7f-\xff+]{1,64})(?: ((?:[Uu][Ii][Dd] )?[A-Za-z]{1,32})(?= |\Z))?')
# literal = "{" number ["+"] "}" CRLF *CHAR8           RFC 7888 section 8; literal8 with "~" is RFC 3516's
_ANNOUNCEMENT = re.compile(rb"(~?)\{([0-9]+)(\+?)\}\Z")
# What a browser, or somebody who misuses one, would say first
_HTTP = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|CONNECT|TRACE|PATCH) \S+ HTTP/")

# base64, loosely: whoever decodes it looks closely
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*=*")

#: RFC 3501 sets no limit on keywords.  Stores keep them in every message's row.
_KEYWORD_LIMIT = 100
_FLAGS_LIMIT = 100
#: Patterns of one LIST, and characters in each; RFC 3501 sets no limit, and no name is longer.
_PATTERNS, _PATTERN_LIMIT = 100, 4000
#: RFC 2971 section 3.3: at most 30 pairs, names of 30 octets, values of 1024.
_ID_PAIRS, _ID_NAME, _ID_VALUE = 30, 30, 1024


@dataclass(frozen=True, slots=True)
class Announcement:
    """A literal that the client is about to send: ``{size}`` after our consent, ``{size+}`` without."""

    size: int
    synchronising: bool
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Append:
    """What stands before the message in APPEND; `mailbox` is decoded but not yet a path."""

    mailbox: str
    flags: Flags
    received: int | None


@dataclass(frozen=True, slots=True)
class Store:
    """What STORE asks for; \\Recent is left out of `flags`, since nobody can set it."""

    wanted: SequenceSet
    change: FlagChange
    flags: Flags
    silent: bool


@dataclass(frozen=True, slots=True)
class SetAccess:
    """What SETACL asks for; `change` is ``+`` or ``-`` where rights are added or taken, else empty."""

    mailbox: str
    identifier: str
    change: str
    rights: str


@dataclass(frozen=True, slots=True)
class ListRequest:
    """What LIST asks for: patterns with their reference before them, and options of RFC 5258 and RFC 6154."""

    reference: str
    patterns: tuple[str, ...]
    only_subscribed: bool = False
    only_special_use: bool = False
    show_subscribed: bool = False
    #: Whether patterns are Unicode, and not in modified UTF-7.
    is_unicode: bool = False


# ---------------------------------------------------------------- lines


def command_start(line: bytes) -> tuple[bytes, bytes, int]:
    """
    Return tag, command name in upper case (``UID FETCH`` as one) and where its arguments begin.

    The name is empty where it cannot be one.  Raises `BadSyntax` if there is no tag.
    """
    found = _START.match(line)
    if found is None or (found[2] is None and found.end() < len(line) and line[found.end()] != 0x20):
        raise BadSyntax("A command begins with a tag")
    return found[1], (found[2] or b"").upper(), found.end()


def announcement(line: bytes) -> tuple[bytes, Announcement | None]:
    """Split a line into its text and the literal it announces at its end, if it does."""
    if not line.endswith(b"}"):
        return line, None
    found = _ANNOUNCEMENT.search(line)
    if found is None:
        return line, None
    # Ten digits are beyond any limit of ours; more are not worth reading.
    size = int(found[2]) if len(found[2]) < 20 else 10**19
    return line[: found.start()], Announcement(size, not found[3], bool(found[1]))


def is_http(line: bytes) -> bool:
    """Whether a first line is that of an HTTP request."""
    return _HTTP.match(line) is not None


# ---------------------------------------------------------------- arguments


def userid_and_password(cursor: Cursor) -> tuple[bytes, bytes]:
    """``login = "LOGIN" SP userid SP password``."""
    cursor.space()
    userid = cursor.astring()
    cursor.space()
    password = cursor.astring()
    cursor.expect_end()
    return userid, password


def mechanism(cursor: Cursor) -> tuple[str, bytes | None]:
    """``authenticate = "AUTHENTICATE" SP auth-type [SP (base64 / "=")]`` (RFC 4959 section 7); still in base64."""
    cursor.space()
    name = cursor.atom().upper().decode("ascii")
    if cursor.at_end():
        return name, None
    cursor.space()
    initial = cursor.match(_BASE64)
    cursor.expect_end()
    assert initial is not None  # the pattern matches nothing at least
    return name, b"" if initial[0] == b"=" else initial[0]


def mailbox(cursor: Cursor) -> str:
    """Read ``SP mailbox`` to the end: what SELECT, DELETE and others take."""
    cursor.space()
    name = cursor.mailbox()
    cursor.expect_end()
    return name


def two_mailboxes(cursor: Cursor) -> tuple[str, str]:
    """``rename = "RENAME" SP mailbox SP mailbox``."""
    cursor.space()
    first = cursor.mailbox()
    return first, mailbox(cursor)


def mailbox_and_identifier(cursor: Cursor) -> tuple[str, str]:
    """``deleteacl = "DELETEACL" SP mailbox SP identifier`` (RFC 4314 section 4), and the same for LISTRIGHTS."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    identifier = _text(cursor.astring())
    cursor.expect_end()
    return name, identifier


def set_access(cursor: Cursor) -> SetAccess:
    """``setacl = "SETACL" SP mailbox SP identifier SP mod-rights`` (RFC 4314 section 4)."""
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


def create(cursor: Cursor) -> tuple[str, Role | None]:
    """``create = "CREATE" SP mailbox [SP "(USE (" use-attr "))"]`` (RFC 6154 section 6)."""
    cursor.space()
    name = cursor.mailbox()
    role = None
    if not cursor.at_end():
        cursor.space()
        cursor.expect(b"(USE (")
        cursor.expect(b"\\")
        role = _role(b"\\" + cursor.atom())
        cursor.expect(b"))")
        cursor.expect_end()
    return name, role


def _role(attribute: bytes) -> Role:
    for role in Role:
        if role.value.lower().encode("ascii") == attribute.lower():
            return role
    raise UseRefused("No mailbox can be made for that use")


class UseRefused(Exception):
    """CREATE asked for a use we do not know: NO [USEATTR]."""


def list_request(cursor: Cursor) -> ListRequest:
    """
    ``list = "LIST" SP mailbox SP list-mailbox``.

    Clients send the options of RFC 5258 to servers that advertise SPECIAL-USE alone; those which that needs
    are understood.
    """
    cursor.space()
    chosen = _options(cursor) if cursor.peek() == ord("(") else set()
    if chosen:
        cursor.space()
    reference = cursor.mailbox()
    cursor.space()
    patterns = _patterns(cursor)
    shown: set[bytes] = set()
    if not cursor.at_end():
        cursor.space()
        cursor.expect(b"RETURN ")
        shown = _options(cursor)
    cursor.expect_end()
    if len(patterns) > _PATTERNS or any(len(reference) + len(pattern) > _PATTERN_LIMIT for pattern in patterns):
        raise BadSyntax("More to look for than LIST takes")
    if not chosen <= {b"SUBSCRIBED", b"SPECIAL-USE", b"REMOTE", b""}:
        raise BadSyntax("An option LIST does not have")
    if not shown <= {b"SUBSCRIBED", b"CHILDREN", b"SPECIAL-USE", b""}:
        raise BadSyntax("A return option LIST does not have")
    subscribed = b"SUBSCRIBED" in chosen
    return ListRequest(
        reference, patterns, subscribed, b"SPECIAL-USE" in chosen, subscribed or b"SUBSCRIBED" in shown, cursor.utf8
    )


def _options(cursor: Cursor) -> set[bytes]:
    """Read a list of options in parentheses; the empty option stands for having been there."""
    options = {b""}
    cursor.expect(b"(")
    while not cursor.take(b")"):
        if len(options) > 1:
            cursor.space()
        options.add(cursor.atom().upper())
    return options


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


#: ``status-att``
STATUS_ITEMS = frozenset({b"MESSAGES", b"RECENT", b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN", b"MAILBOXID"})


def status(cursor: Cursor) -> tuple[str, list[bytes]]:
    """``status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"``; an item asked for twice counts once."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    cursor.expect(b"(")
    items: list[bytes] = []
    while not items or not cursor.take(b")"):
        if items:
            cursor.space()
        items.append(cursor.atom().upper())
    cursor.expect_end()
    if not STATUS_ITEMS.issuperset(items):
        raise BadSyntax("An item STATUS does not have")
    return name, list(dict.fromkeys(items))


def identification(cursor: Cursor) -> dict[str, str]:
    """``id = "ID" SP id-params-list`` (RFC 2971 section 3.3); names in lower case, NIL values left out."""
    cursor.space()
    told: dict[str, str] = {}
    if cursor.take(b"NIL"):
        cursor.expect_end()
        return told
    cursor.expect(b"(")
    pairs = 0
    while not cursor.take(b")"):
        if pairs:
            cursor.space()
        pairs += 1
        name = cursor.string()
        cursor.space()
        value = cursor.nstring()
        if pairs > _ID_PAIRS or len(name) > _ID_NAME or len(value or b"") > _ID_VALUE:
            raise BadSyntax("More than ID can hold")
        if value is not None:
            told[name.decode("utf-8", "replace").lower()] = value.decode("utf-8", "replace")
    cursor.expect_end()
    return told


def capabilities(cursor: Cursor) -> list[bytes]:
    """``enable = "ENABLE" 1*(SP capability)`` (RFC 5161 section 4)."""
    names: list[bytes] = []
    while not names or not cursor.at_end():
        cursor.space()
        names.append(cursor.atom().upper())
    return names


# ---------------------------------------------------------------- messages


def append(cursor: Cursor) -> Append:
    """``append = "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal``, up to the literal."""
    cursor.space()
    name = cursor.mailbox()
    flags: list[str] = []
    received = None
    cursor.space()
    if cursor.peek() == ord("("):
        flags = cursor.flag_list()
        cursor.space()
    if cursor.peek() == ord('"'):
        received = cursor.date_time()
        cursor.space()
    cursor.expect_end()
    return Append(name, permanent_flags(flags), received)


def is_message_next(pieces: Sequence[bytes | Literal], at: int) -> bool:
    """Whether the literal announced behind these pieces of an APPEND is the message itself."""
    try:
        append(Cursor(pieces, at))
    except BadSyntax:
        return False
    return True


# store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag)))
_STORE_ITEM = re.compile(rb"([+-]?FLAGS)(\.SILENT)?(?= )", re.IGNORECASE)


def store(cursor: Cursor) -> Store:
    """``store = "STORE" SP sequence-set SP store-att-flags``."""
    cursor.space()
    wanted = cursor.sequence_set()
    cursor.space()
    item = cursor.match(_STORE_ITEM)
    if item is None:
        raise BadSyntax("STORE changes FLAGS, +FLAGS or -FLAGS")
    cursor.space()
    flags = cursor.flag_list() if cursor.peek() == ord("(") else cursor.flags()
    cursor.expect_end()
    change = FlagChange(item[1].upper().decode("ascii"))
    return Store(wanted, change, permanent_flags(flags), item[2] is not None)


def permanent_flags(flags: list[str]) -> Flags:
    """
    Check flags that a client wants kept.

    \\Recent is passed over: clients give back what they were shown.  Keywords that differ only in case are one
    (RFC 5788 section 3), in the spelling that comes first.
    """
    if len(flags) > _FLAGS_LIMIT or any(len(flag) > _KEYWORD_LIMIT for flag in flags):
        raise BadSyntax("More flags, or longer ones, than a message can have")
    for flag in flags:
        if flag.startswith("\\") and flag not in SYSTEM_FLAGS and flag != "\\Recent":
            raise BadSyntax(f"There is no flag {flag}")
    return frozenset({flag.lower(): flag for flag in reversed(flags)}.values()) - {"\\Recent"}


def copy(cursor: Cursor) -> tuple[SequenceSet, str]:
    """``copy = "COPY" SP sequence-set SP mailbox``, and the same for MOVE (RFC 6851 section 4.4)."""
    cursor.space()
    wanted = cursor.sequence_set()
    return wanted, mailbox(cursor)


def uid_expunge(cursor: Cursor) -> SequenceSet:
    """``uid-expunge = "UID" SP "EXPUNGE" SP sequence-set`` (RFC 4315 section 4)."""
    cursor.space()
    wanted = cursor.sequence_set()
    cursor.expect_end()
    return wanted
