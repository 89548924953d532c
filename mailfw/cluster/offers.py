"""What else than `IMailStore` a store may offer to other processes: which of it there is, and how they ask for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from zope.interface import alsoProvides, implementer

from mailfw.cluster.carried import HeldContent, carry
from mailfw.cluster.desk import NewParcel
from mailfw.cluster.remote_shares import RemoteShares
from mailfw.interfaces import IContent
from mailfw.mail.annotation import AnnotationEdits, Annotations
from mailfw.mail.mailbox import NewMessage, Replaced
from mailfw.mail.quota import QuotaLimits
from mailfw.optional import IAnnotatedMail, IReplacingMail, ISettableQuota, ISharedMail


def offers_of(store: object) -> list[str]:
    """Return the names of what a store offers that `lend` knows."""
    return [each.__name__ for each in _LENDING if each.providedBy(store)]


def lend(asking: Any, store: Any, offers: Collection[str]) -> None:
    """Let another process's `store` provide these by asking; `asking` is the channel to the process that has them."""
    for interface, make in _LENDING.items():
        if interface.__name__ in offers:
            part = make(asking)
            for name in interface:
                setattr(store, name, getattr(part, name))
            alsoProvides(store, interface)


@implementer(IAnnotatedMail)
class RemoteAnnotations:
    """The annotations that the keeper's store has; `asking` is the channel to it."""

    def __init__(self, asking: Any) -> None:
        self._asking = asking

    async def annotations(self, account: str, mailbox: str | None, user: str | None = None) -> Annotations:
        """Return what a user may see of a mailbox, or of the account."""
        found: Annotations = await self._asking.call("annotations", account, mailbox, user)
        return found

    async def all_annotations(self, account: str, user: str | None = None) -> Mapping[str, Annotations]:
        """Return the same of all mailboxes."""
        found: Mapping[str, Annotations] = await self._asking.call("all_annotations", account, user)
        return found

    async def annotate(
        self, account: str, mailbox: str | None, edits: AnnotationEdits, user: str | None = None
    ) -> None:
        """Give entries other values, or remove them."""
        await self._asking.call("annotate", account, mailbox, edits, user)

    async def annotators(self, account: str, mailbox: str) -> frozenset[str]:
        """Return who else has private entries."""
        users: frozenset[str] = await self._asking.call("annotators", account, mailbox)
        return users


@implementer(IReplacingMail)
class RemoteReplacing:
    """What the keeper's store does to replace messages; `asking` is the channel to it."""

    def __init__(self, asking: Any) -> None:
        self._asking = asking

    async def replace(self, account: str, mailbox: str, uid: int, to: str, message: NewMessage) -> Replaced:
        """Add a message in place of another."""
        drafts: list[HeldContent] = []
        try:
            content = await carry(self._asking, IContent(message.content), drafts)
            parcel = NewParcel(content, message.flags, message.received, message.token, message.summary)
            replaced: Replaced = await self._asking.call("replace", account, mailbox, uid, to, parcel)
            return replaced
        finally:
            for draft in drafts:
                await draft.close()


@implementer(ISettableQuota)
class RemoteQuota:
    """The limits that the keeper's store can set; `asking` is the channel to it."""

    def __init__(self, asking: Any) -> None:
        self._asking = asking

    async def set_quota(self, account: str, limits: QuotaLimits) -> None:
        """Give an account other limits."""
        await self._asking.call("set_quota", account, limits)


_LENDING: Mapping[Any, Any] = {
    ISharedMail: RemoteShares,
    IAnnotatedMail: RemoteAnnotations,
    IReplacingMail: RemoteReplacing,
    ISettableQuota: RemoteQuota,
}
