"""What a store in memory does of `IAnnotatedMail`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zope.interface import alsoProvides, implementer

from mailfw.mail.annotation import AnnotationEdits, Annotations, check_edits, check_room, holder_of, octets_of
from mailfw.optional import ACCOUNT_ANNOTATIONS, IAnnotatedMail
from mailfw.stores.memory.account import Account

#: Values by whose they are and name: those of the owner, and all that are shared, are nobody's (``""``).
Kept = dict[tuple[str, str], bytes]


@implementer(IAnnotatedMail)
class AnnotatedMail:
    """The annotations of accounts that `find` finds by name, or raises `NoSuchAccount`."""

    def __init__(self, find: Callable[[str], Account]) -> None:
        self._find = find

    def lend(self, store: Any) -> None:
        """Let a store provide the interface by this part of it."""
        for name in IAnnotatedMail:
            setattr(store, name, getattr(self, name))
        alsoProvides(store, IAnnotatedMail)

    def _kept(self, account: str, mailbox: str | None) -> Kept:
        owner = self._find(account)
        return owner.annotations if mailbox is None else owner.mailbox(mailbox).annotations

    async def annotations(self, account: str, mailbox: str | None, user: str | None = None) -> Annotations:
        """Return what a user may see of a mailbox, or of the account."""
        return _seen(self._kept(account, mailbox), user)

    async def all_annotations(self, account: str, user: str | None = None) -> Mapping[str, Annotations]:
        """Return the same of all mailboxes."""
        found = {box.id: _seen(box.annotations, user) for box in self._find(account).mailboxes.values()}
        return {mailbox: each for mailbox, each in found.items() if each}

    async def annotate(
        self, account: str, mailbox: str | None, edits: AnnotationEdits, user: str | None = None
    ) -> None:
        """Give entries other values, or remove them."""
        check_edits(edits)
        owner, kept = self._find(account), self._kept(account, mailbox)
        asked = {(holder_of(name, user), name): value for name, value in edits.items()}
        changed = {key: value for key, value in asked.items() if kept.get(key) != value}
        after = {key: value for key, value in {**kept, **changed}.items() if value is not None}
        for holder in {holder for (holder, _), value in changed.items() if value is not None}:
            others = [each for each in owner.all_annotations() if each is not kept]
            octets = sum(octets_of(name, value) for each in (*others, after) for name, value in _of(each, holder))
            check_room(len(_of(after, holder)), octets)
        if not changed:
            return
        kept.clear()
        kept.update(after)
        modseq = owner.next_modseq()
        if mailbox is None:
            owner.tell(ACCOUNT_ANNOTATIONS)
        else:
            box = owner.mailbox(mailbox)
            box.modseq = box.annotated = modseq
            owner.notify([box])

    async def annotators(self, account: str, mailbox: str) -> frozenset[str]:
        """Return who else has private entries."""
        return frozenset(holder for holder, _ in self._kept(account, mailbox) if holder)


def _of(kept: Kept, holder: str) -> list[tuple[str, bytes]]:
    return [(name, value) for (whose, name), value in kept.items() if whose == holder]


def _seen(kept: Kept, user: str | None) -> Annotations:
    return {name: value for (whose, name), value in kept.items() if whose == holder_of(name, user)}
