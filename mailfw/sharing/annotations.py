"""Annotations as one user sees them: his own, those that all share, and never another's private ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from zope.interface import implementer

from mailfw.mail.annotation import AnnotationEdits, Annotations, are_visible, is_private
from mailfw.mail.failure import NoPermission
from mailfw.mail.mailbox import MailboxInfo
from mailfw.mail.rights import ADMINISTER, LOOKUP, WRITE, Rights
from mailfw.optional import IAnnotatedMail
from mailfw.sharing import places
from mailfw.sharing.places import Place


@implementer(IAnnotatedMail)
class UsersAnnotations:
    """
    The annotations of a user's own mailboxes and of those that others share with him.

    ``allow(account, place, *rights)`` returns a user's rights, or refuses; ``others(account)`` is what others share
    with him, by owner.
    """

    def __init__(
        self,
        store: Any,
        allow: Callable[..., Awaitable[Rights]],
        others: Callable[[str], Awaitable[Mapping[str, list[MailboxInfo]]]],
    ) -> None:
        self._store = store
        self._allow = allow
        self._others = others

    def lend(self, view: Any) -> None:
        """Let a view have the methods of this part of it."""
        for name in IAnnotatedMail:
            setattr(view, name, getattr(self, name))

    async def annotations(self, account: str, mailbox: str | None, user: str | None = None) -> Annotations:
        """Return the shared entries, and the user's own."""
        if mailbox is None or not places.is_shared(mailbox):
            own: Annotations = await self._store.annotations(account, mailbox)
            return own
        place = places.place_of(mailbox, account)
        await self._may(account, place)
        found: Annotations = await self._store.annotations(place.owner, place.mailbox, account)
        return found

    async def all_annotations(self, account: str, user: str | None = None) -> Mapping[str, Annotations]:
        """Return the same of all mailboxes that the user knows of."""
        found: dict[str, Annotations] = dict(await self._store.all_annotations(account))
        for owner, infos in (await self._others(account)).items():
            seen = {places.place_of(info.id, account).mailbox for info in infos if are_visible(info.rights)}
            theirs = await self._store.all_annotations(owner, account) if seen else {}
            found |= {places.id_of(Place(owner, each)): theirs[each] for each in seen & theirs.keys()}
        return found

    async def annotate(
        self, account: str, mailbox: str | None, edits: AnnotationEdits, user: str | None = None
    ) -> None:
        """Change what is the user's own, and with the right to it what all share."""
        if mailbox is None or not places.is_shared(mailbox):
            await self._store.annotate(account, mailbox, edits)
            return
        place = places.place_of(mailbox, account)
        rights = await self._may(account, place)
        if WRITE not in rights and not all(is_private(name) for name in edits):
            raise NoPermission("You may not change what all who use this mailbox share.")
        await self._store.annotate(place.owner, place.mailbox, edits, account)

    async def annotators(self, account: str, mailbox: str) -> frozenset[str]:
        """Return who else has private entries, to those who administer the mailbox."""
        place = places.place_of(mailbox, account)
        await self._allow(account, place, ADMINISTER)
        users: frozenset[str] = await self._store.annotators(place.owner, place.mailbox)
        return users

    async def _may(self, account: str, place: Place) -> Rights:
        rights = await self._allow(account, place, LOOKUP)
        if not are_visible(rights):
            raise NoPermission("You may not see what is noted of this mailbox.")
        return rights
