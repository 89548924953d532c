"""What is noted of a mailbox: it goes where the mailbox goes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mailfw.interfaces import IMailStore
from mailfw.mail.annotation import AnnotationEdits, Annotations, check_edits, is_private
from mailfw.mail.failure import StoreRefusal
from mailfw.optional import IAnnotatedMail


@dataclass(frozen=True, slots=True)
class Notes:
    """
    The annotations of a mailbox, by user: those of its owner, and all that are shared, are nobody's (``""``).

    Those of the account itself, `own`, go with its inbox.
    """

    by_user: Mapping[str, Annotations] = field(default_factory=dict)
    own: Annotations = field(default_factory=dict)

    def line(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        by_user = {user: _written(entries) for user, entries in sorted(self.by_user.items())}
        return {"annotations": by_user, **({"account_annotations": _written(self.own)} if self.own else {})}


def _written(entries: Annotations) -> dict[str, str]:
    return {name: base64.b64encode(value).decode("ascii") for name, value in sorted(entries.items())}


def read_notes(told: Any) -> Notes | None:
    """Read what `Notes.line` returned, None where there is none of it.  Raises `ValueError`."""
    if "annotations" not in told:
        return None
    by_user = {str(user): _read(entries) for user, entries in told["annotations"].items()}
    return Notes(by_user, _read(told.get("account_annotations", {})))


def _read(entries: Mapping[str, Any]) -> Annotations:
    found = {str(name): base64.b64decode(str(value), validate=True) for name, value in entries.items()}
    try:
        check_edits(found)
    except StoreRefusal as reason:
        raise ValueError(str(reason))
    return found


async def notes_of(store: IMailStore, account: str, mailbox: str, is_inbox: bool) -> Notes | None:
    """Return what a store has noted of a mailbox, None where it notes nothing of any."""
    if not IAnnotatedMail.providedBy(store):
        return None
    noted = IAnnotatedMail(store)
    by_user = {"": await noted.annotations(account, mailbox)}
    for user in await noted.annotators(account, mailbox):
        seen = await noted.annotations(account, mailbox, user)
        by_user[user] = {name: value for name, value in seen.items() if is_private(name)}
    own = await noted.annotations(account, None) if is_inbox else {}
    return Notes({user: dict(entries) for user, entries in by_user.items() if entries}, dict(own))


async def note(store: IMailStore, account: str, mailbox: str, notes: Notes, exactly: bool) -> None:
    """
    Note the same of a mailbox, and nothing else if `exactly`; otherwise what is there already stays as it is.

    What the store has no room for is left out.
    """
    if not IAnnotatedMail.providedBy(store):
        return
    noted = IAnnotatedMail(store)
    present = await noted.annotators(account, mailbox) if exactly else frozenset()
    for user in {"": None, **dict.fromkeys(notes.by_user), **dict.fromkeys(present)}:
        before = await noted.annotations(account, mailbox, user or None)
        mine = {name: value for name, value in before.items() if not user or is_private(name)}
        edits = _edits(mine, notes.by_user.get(user, {}), exactly)
        with suppress(StoreRefusal):
            await noted.annotate(account, mailbox, edits, user or None)
    if notes.own:
        with suppress(StoreRefusal):
            await noted.annotate(account, None, _edits(await noted.annotations(account, None), notes.own, exactly))


def _edits(before: Annotations, wanted: Annotations, exactly: bool) -> AnnotationEdits:
    if exactly:
        return {**dict.fromkeys(before), **wanted}
    return {name: value for name, value in wanted.items() if name not in before}
