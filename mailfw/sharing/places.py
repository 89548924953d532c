"""Where others' mailboxes are among a user's own: their paths and ids."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mailfw.mail.mailbox import MailboxInfo, Path

#: Below this others' mailboxes are, one level for each owner: ``Shared/ann@example.org/INBOX``.
NAMESPACE: Path = ("Shared",)

#: What stands between owner and id; neither has it.
_BETWEEN = "\n"


@dataclass(frozen=True, slots=True)
class Place:
    """A mailbox as the store knows it: by its owner's account, and its id there."""

    owner: str
    mailbox: str


def is_shared(mailbox: str) -> bool:
    """Whether an id is that of somebody else's mailbox."""
    return _BETWEEN in mailbox


def id_of(place: Place) -> str:
    """Return the id of somebody else's mailbox."""
    return place.owner + _BETWEEN + place.mailbox


def place_of(mailbox: str, user: str) -> Place:
    """Return where the mailbox of an id is."""
    owner, between, own = mailbox.partition(_BETWEEN)
    return Place(owner, own) if between else Place(user, mailbox)


def path_of(owner: str, path: Path) -> Path:
    """Return where a user sees somebody else's mailbox."""
    return (*NAMESPACE, owner, *path)


def below_owner(path: Path) -> tuple[str, Path] | None:
    """Return whose mailbox a path is, and its path there; None for the user's own."""
    depth = len(NAMESPACE)
    if path[:depth] != NAMESPACE or len(path) < depth + 2:
        return None
    return path[depth], path[depth + 1 :]


def is_reserved(path: Path) -> bool:
    """Whether a path cannot be a mailbox's: the namespace itself, and its owners."""
    return path[: len(NAMESPACE)] == NAMESPACE and below_owner(path) is None


def shown(info: MailboxInfo, owner: str, subscribed: frozenset[Path]) -> MailboxInfo:
    """
    Return somebody else's mailbox as a user sees it.

    Nothing is \\Recent there: that is for whoever the mail was delivered to.  And what its owner uses it for is his own
    affair: it has no role.
    """
    path = path_of(owner, info.path)
    return replace(
        info,
        id=id_of(Place(owner, info.id)),
        path=path,
        role=None,
        recent_uid=info.uid_next,
        subscribed=path in subscribed,
    )
