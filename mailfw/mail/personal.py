"""A mailbox as one of several users sees it: all flags are everybody's but \\Seen, which each has for himself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from mailfw.mail.failure import NoPermission, NoSuchMailbox
from mailfw.mail.mailbox import SEEN, FlagChange, Flags
from mailfw.mail.rights import LOOKUP, READ, Rights, allowed, right_for

_SEEN: Flags = frozenset({SEEN})


@dataclass(frozen=True, slots=True)
class Mark:
    """Whether a user has seen a message of somebody else's mailbox, and since which modification sequence."""

    uid: int
    modseq: int
    seen: bool


@lru_cache(maxsize=4096)
def merged(flags: Flags, seen: bool) -> Flags:
    """Return the flags that a user sees: those of the owner's message, with \\Seen as the user has it."""
    return flags | _SEEN if seen else flags - _SEEN


def parted(flags: Flags, before: Flags) -> tuple[Flags, bool]:
    """Part what a user sees into the message's flags, which keep the owner's \\Seen of `before`, and the user's own."""
    return (flags - _SEEN) | (before & _SEEN), SEEN in flags


@lru_cache(maxsize=4096)
def combined(old: Flags, change: FlagChange, flags: Flags, rights: Rights) -> Flags:
    """Return the flags a message has after a change by somebody with these rights: others stay as they are."""
    match change:
        case FlagChange.ADD:
            return old | allowed(flags, rights)
        case FlagChange.REMOVE:
            return old - allowed(flags, rights)
        case FlagChange.REPLACE:
            return allowed(flags, rights) | {flag for flag in old if right_for(flag) not in rights}


def check_change(rights: Rights, change: FlagChange, flags: Flags) -> None:
    """
    Refuse a change of flags none of which may be changed.

    RFC 4314 section 4: whoever may change one of several is not refused.
    """
    require(rights, READ)
    if change is FlagChange.REPLACE:
        if not rights & {"s", "w", "t"}:
            raise NoPermission("You may not change flags in this mailbox.")
    elif flags and not any(right_for(flag) in rights for flag in flags):
        raise NoPermission("You may not change these flags in this mailbox.")


def require(rights: Rights, *needed: str) -> None:
    """
    Raise `NoPermission` unless all rights that are needed are there.

    To whoever may not even look a mailbox up it does not exist (RFC 4314 section 6): `NoSuchMailbox`.
    """
    if rights.issuperset(needed):
        return
    if LOOKUP in rights:
        raise NoPermission("You have no right to do that with this mailbox.")
    raise NoSuchMailbox("There is no such mailbox.")
