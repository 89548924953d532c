"""Changes of the tree of mailboxes that concern others: what they are at the owner, and what rights they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mailfw.mail.failure import MailboxExists, NameRefused, NoPermission
from mailfw.mail.mailbox import CreateMailbox, DeleteMailbox, MailboxEdit, Path, RenameMailbox, SetRole
from mailfw.mail.personal import require
from mailfw.mail.rights import CREATE, DELETE, NO_RIGHTS, Rights
from mailfw.sharing.places import below_owner, is_reserved

_OWNERS_AFFAIR = "What a mailbox is for is its owner's affair."


def is_others(edit: MailboxEdit) -> bool:
    """
    Whether a change concerns mailboxes that are not the user's own.

    Raises `MailboxExists` for the names above them, and `NameRefused` for what cannot be.
    """
    paths = _paths(edit)
    if any(is_reserved(path) for path in paths) and not isinstance(edit, DeleteMailbox):
        raise MailboxExists("This name stands for what others share.")
    owners = {below[0] if (below := below_owner(path)) is not None else None for path in paths}
    if len(owners) > 1:
        raise NameRefused("A mailbox cannot go from one account to another; its messages can.")
    return owners != {None}


def owner_of(edit: MailboxEdit) -> str:
    """Return whose mailboxes a change concerns."""
    return _below(edit.path)[0]


def at_owner(edit: MailboxEdit) -> MailboxEdit:
    """Return a change as it is in its owner's account."""
    if isinstance(edit, RenameMailbox):
        return RenameMailbox(_below(edit.path)[1], _below(edit.to)[1])
    return replace(edit, path=_below(edit.path)[1])


def check(edit: MailboxEdit, rights: Mapping[Path, Rights]) -> None:
    """
    Refuse what the user's rights do not allow (RFC 4314 section 4).

    `rights` are those to all the owner's mailboxes, or nothing where he knows of none.
    """
    match edit:
        case CreateMailbox(path, role):
            _check_superior(path, rights)
            if role is not None:
                raise NoPermission(_OWNERS_AFFAIR)
        case DeleteMailbox(path):
            _check_existing(path, rights)
        case RenameMailbox(path, to):
            _check_existing(path, rights)
            _check_superior(to, rights)
        case SetRole():
            raise NoPermission(_OWNERS_AFFAIR)


def _check_existing(path: Path, rights: Mapping[Path, Rights]) -> None:
    require(rights.get(path, NO_RIGHTS), DELETE)


def _check_superior(path: Path, rights: Mapping[Path, Rights]) -> None:
    """
    What is made needs a right in the nearest mailbox above it, also where that is not shown to the user.

    At the top only the owner makes any.
    """
    for depth in range(len(path) - 1, 0, -1):
        if path[:depth] in rights:
            if CREATE in rights[path[:depth]]:
                return
            break
    raise NoPermission("You may not make a mailbox here.")


def _paths(edit: MailboxEdit) -> list[Path]:
    return [edit.path, edit.to] if isinstance(edit, RenameMailbox) else [edit.path]


def _below(path: Path) -> tuple[str, Path]:
    below = below_owner(path)
    assert below is not None
    return below
