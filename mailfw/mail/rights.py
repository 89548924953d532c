"""What somebody may do with a mailbox: the rights of RFC 4314, and who has which of them."""

from __future__ import annotations

from collections.abc import Mapping

from mailfw.mail.address import normalise_domain

#: A set of rights, each a letter of RFC 4314 section 2.1.
Rights = frozenset[str]

LOOKUP, READ, SEE, WRITE, INSERT, POST = "l", "r", "s", "w", "i", "p"
CREATE, DELETE, TRASH, EXPUNGE, ADMINISTER = "k", "x", "t", "e", "a"

#: Every right, in the order in which they are written.
LETTERS = "lrswipkxtea"
ALL_RIGHTS: Rights = frozenset(LETTERS)
NO_RIGHTS: Rights = frozenset()

#: The rights of RFC 2086 that became several (RFC 4314 section 2.1.1): what each stands for.
VIRTUAL: Mapping[str, Rights] = {"c": frozenset("kx"), "d": frozenset("te")}

#: The identifiers that mean every account of the site.  Nobody here is in without being known, so both say the same.
ANYONE = "anyone"
EVERYBODY = frozenset({ANYONE, "authenticated"})

#: Whose rights an access control list names: identifiers as `identifier_of` returns them.
AccessList = Mapping[str, Rights]

#: What begins an identifier whose rights are taken away (RFC 4314 section 2).
_NEGATIVE = "-"
#: Octets of an identifier; an address has no more than 254.
LONGEST = 256


class BadRights(ValueError):
    """Not rights, or not an identifier; the text says why."""


def parse_rights(text: str) -> Rights:
    """Read ``rights = astring`` of RFC 4314 section 7.  Raises `BadRights`."""
    rights: set[str] = set()
    for letter in text:
        if letter not in ALL_RIGHTS and letter not in VIRTUAL:
            raise BadRights(f"There is no right {letter!r}: they are {LETTERS}")
        rights |= VIRTUAL.get(letter, {letter})
    return frozenset(rights)


def format_rights(rights: Rights, with_virtual: bool = False) -> str:
    """
    Write rights in the order of `LETTERS`.

    RFC 4314 section 2.1.1: clients are also told a right of RFC 2086 where they have any part of it.
    """
    old = [letter for letter, members in VIRTUAL.items() if with_virtual and rights & members]
    return "".join([*(letter for letter in LETTERS if letter in rights), *old])


def identifier_of(text: str, domain: str) -> str:
    """
    Return an identifier as access control lists have it: an account's name, `ANYONE`, or either after ``-``.

    A name without a domain gets `domain`.  Raises `BadRights`.
    """
    negative = text.startswith(_NEGATIVE)
    name = text[negative:].lower()
    if name not in EVERYBODY:
        local, at, own = name.rpartition("@")
        local, own = (local, own) if at else (name, domain)
        try:
            name = f"{local}@{normalise_domain(own)}"
        except ValueError:
            raise BadRights("That domain cannot be")
        if not local or not own or not name.isprintable() or " " in name or "/" in name:
            raise BadRights("Not the name of an account, nor anyone")
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST:
        raise BadRights("Nobody has so long a name")
    return _NEGATIVE * negative + name


def is_grant(identifier: str) -> bool:
    """Whether rights of this identifier are given, not taken away."""
    return not identifier.startswith(_NEGATIVE)


def identifiers_of(user: str) -> frozenset[str]:
    """Return the identifiers by which rights may be given to an account."""
    return EVERYBODY.union(entries_of(user)[:1])


def entries_of(user: str) -> tuple[str, ...]:
    """Return the identifiers of the rights that are given to an account by its name, and of those taken from it."""
    # An account's name that begins so would stand for what is taken from another.
    return () if user.startswith(_NEGATIVE) else (user, _NEGATIVE + user)


def rights_of(access: AccessList, user: str) -> Rights:
    """Return what a list gives to somebody who does not own the mailbox."""
    if not access:
        return NO_RIGHTS
    given: set[str] = set()
    taken: set[str] = set()
    for identifier in identifiers_of(user):
        given |= access.get(identifier, NO_RIGHTS)
        taken |= access.get(_NEGATIVE + identifier, NO_RIGHTS)
    return frozenset(given - taken)


def changed(before: Rights, change: str, rights: Rights) -> Rights:
    """Return the rights after these were added (``+``), taken away (``-``), or put in place of all others."""
    match change:
        case "+":
            return before | rights
        case "-":
            return before - rights
    return rights


def right_for(flag: str) -> str:
    """Return the right it takes to set or clear a flag (RFC 4314 section 4)."""
    return _FOR_FLAG.get(flag, WRITE)


def allowed(flags: frozenset[str], rights: Rights) -> frozenset[str]:
    """Return those of the flags that somebody with these rights may set."""
    return frozenset(flag for flag in flags if right_for(flag) in rights)


_FOR_FLAG = {"\\Seen": SEE, "\\Deleted": TRASH}
