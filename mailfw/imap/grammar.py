"""The commands of RFC 3501 section 9 and its extensions, all but APPEND, FETCH and SEARCH: from octets to values."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailfw.imap.lexer import BadSyntax, Cursor, SequenceSet
from mailfw.mail.mailbox import SYSTEM_FLAGS, FlagChange, Flags

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
#: RFC 2971 section 3.3: at most 30 pairs, names of 30 octets, values of 1024.
_ID_PAIRS, _ID_NAME, _ID_VALUE = 30, 30, 1024


@dataclass(frozen=True, slots=True)
class Announcement:
    """A literal that the client is about to send: ``{size}`` after our consent, ``{size+}`` without."""

    size: int
    synchronising: bool
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Store:
    """
    What STORE asks for; \\Recent is left out of `flags`, since nobody can set it.

    Messages that changed after `unchanged_since` are to be left alone (RFC 7162 section 3.1.3).
    """

    wanted: SequenceSet
    change: FlagChange
    flags: Flags
    silent: bool
    unchanged_since: int | None = None


@dataclass(frozen=True, slots=True)
class Resync:
    """
    What a client knows of a mailbox that it opens again (RFC 7162 section 3.2.5).

    `known` are its UIDs, None for all; `numbers` and `uids` belong together in their order, as far as it says so.
    """

    uid_validity: int
    modseq: int
    known: SequenceSet | None = None
    numbers: SequenceSet | None = None
    uids: SequenceSet | None = None


@dataclass(frozen=True, slots=True)
class Select:
    """What SELECT and EXAMINE ask for; `mailbox` is decoded but not yet a path, `written` what the client wrote."""

    mailbox: str
    written: str
    condstore: bool = False
    resync: Resync | None = None


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
    cursor.needs(b"SASL-IR")
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


# store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag)))
_STORE_ITEM = re.compile(rb"([+-]?FLAGS)(\.SILENT)?(?= )", re.IGNORECASE)


def select(cursor: Cursor) -> Select:
    """
    ``select = "SELECT" SP mailbox [SP "(" select-param *(SP select-param) ")"]`` (RFC 4466 section 2.1).

    The parameters are those of RFC 7162: ``"CONDSTORE" / "QRESYNC" SP "(" uidvalidity SP mod-sequence-value
    [SP known-uids] [SP "(" known-sequence-set SP known-uid-set ")"] ")"``.
    """
    cursor.space()
    name, written = cursor.named()
    condstore, resync = False, None
    if not cursor.at_end():
        cursor.space()
        cursor.expect(b"(")
        while True:
            if not condstore and cursor.take(b"CONDSTORE"):
                cursor.needs(b"CONDSTORE")
                condstore = True
            elif resync is None and cursor.take(b"QRESYNC ("):
                cursor.needs(b"QRESYNC")
                resync = _resync(cursor)
            else:
                raise BadSyntax("SELECT takes CONDSTORE and QRESYNC, once each")
            if cursor.take(b")"):
                break
            cursor.space()
        cursor.expect_end()
    return Select(name, written, condstore, resync)


def _resync(cursor: Cursor) -> Resync:
    uid_validity = cursor.nz_number()
    cursor.space()
    modseq = cursor.number64()
    known = numbers = uids = None
    if not cursor.take(b")"):
        cursor.space()
        if cursor.peek() != ord("("):
            known = _no_star(cursor)
            if cursor.take(b")"):
                return Resync(uid_validity, modseq, known)
            cursor.space()
        cursor.expect(b"(")
        numbers = _no_star(cursor)
        cursor.space()
        uids = _no_star(cursor)
        cursor.expect(b"))")
    return Resync(uid_validity, modseq, known, numbers, uids)


def _no_star(cursor: Cursor) -> SequenceSet:
    """``sequence-set``, of which RFC 7162 section 7 says that ``*`` is not allowed."""
    found = cursor.sequence_set()
    if found.is_saved or any(end is None for ends in found.ranges for end in ends):
        raise BadSyntax("Nothing but numbers can stand here")
    return found


def store(cursor: Cursor) -> Store:
    """``store = "STORE" SP sequence-set [SP "(" "UNCHANGEDSINCE" SP mod-sequence-valzer ")"] SP store-att-flags``."""
    cursor.space()
    wanted = cursor.sequence_set()
    cursor.space()
    unchanged_since = None
    if cursor.take(b"(UNCHANGEDSINCE "):
        cursor.needs(b"CONDSTORE")
        unchanged_since = cursor.number64()
        cursor.expect(b")")
        cursor.space()
    item = cursor.match(_STORE_ITEM)
    if item is None:
        raise BadSyntax("STORE changes FLAGS, +FLAGS or -FLAGS")
    cursor.space()
    flags = cursor.flag_list() if cursor.peek() == ord("(") else cursor.flags()
    cursor.expect_end()
    change = FlagChange(item[1].upper().decode("ascii"))
    return Store(wanted, change, permanent_flags(flags), item[2] is not None, unchanged_since)


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
