"""Annotations of mailboxes and accounts (RFC 5464): what their names can be, and how much of them is kept."""

from __future__ import annotations

from collections.abc import Mapping

from mailfw.mail.failure import AnnotationTooLong, NameRefused, TooManyAnnotations
from mailfw.mail.rights import INSERT, LOOKUP, POST, READ, SEE, WRITE, Rights

#: Names of entries, in lower case as RFC 5464 section 3.2 compares them, and their values.
Annotations = Mapping[str, bytes]
#: What is to be changed: other values, and None for entries that are to go.
AnnotationEdits = Mapping[str, bytes | None]

#: What begins the names of entries that all who use a mailbox share, and of those that each user has for himself.
SHARED, PRIVATE = "/shared/", "/private/"

#: Octets of a value (the MAXSIZE of RFC 5464 section 4.3), and of a name.
LONGEST_VALUE, LONGEST_NAME = 64 * 1024, 255
#: Entries that one mailbox, or the account itself, has of one user; those that are shared count as its owner's.
MOST_ENTRIES = 100
#: Octets of all names and values that an account's mailboxes have of one user.
MOST_OCTETS = 4 * 1024 * 1024

#: Beside LOOKUP one of these shows annotations                                              RFC 5464 section 3.3
_ANY = frozenset({READ, SEE, WRITE, INSERT, POST})


def are_visible(rights: Rights) -> bool:
    """Whether somebody with these rights to a mailbox sees its annotations."""
    return LOOKUP in rights and bool(rights & _ANY)


def is_private(name: str) -> bool:
    """Whether an entry belongs to the user, not to the mailbox."""
    return name.startswith(PRIVATE)


def holder_of(name: str, user: str | None) -> str:
    """Return whose an entry is: the user's, or nobody's (``""``) if it is shared or the owner's (None)."""
    return user or "" if is_private(name) else ""


def octets_of(name: str, value: bytes) -> int:
    """Return what an entry counts."""
    return len(name) + len(value)


def check_edits(edits: AnnotationEdits) -> None:
    """Refuse names that no entry has, with `NameRefused`, and what is too long, with `AnnotationTooLong`."""
    for name, value in edits.items():
        if not name.startswith((SHARED, PRIVATE)) or name != name.lower() or not _is_entry(name):
            raise NameRefused("This cannot be the name of an annotation.")
        if len(name) > LONGEST_NAME or (value is not None and len(value) > LONGEST_VALUE):
            raise AnnotationTooLong("This annotation is too long.")


def _is_entry(name: str) -> bool:
    # RFC 5464 section 3.2: no "*", "%", "//", nor controls or non-ASCII, and no "/" at the end.
    return name.isascii() and name.isprintable() and not set("*%") & set(name) and all(name.split("/")[1:])


def check_room(entries: int, octets: int) -> None:
    """Refuse what would be too much of one user: entries of one mailbox, and octets of all."""
    if entries > MOST_ENTRIES or octets > MOST_OCTETS:
        raise TooManyAnnotations("There is no room for more annotations.")
