"""Putting expunged messages back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any

from zope.interface import Interface, alsoProvides, implementer

from mailfw.interfaces import IContent
from mailfw.mail.failure import NoSuchMailbox
from mailfw.mail.mailbox import CreateMailbox, Path
from mailfw.mail.retained import Retained
from mailfw.optional import IRetainedMail
from mailfw.stores.index import tree
from mailfw.stores.index.account import ATTEMPTS, Account
from mailfw.stores.index.ledger import Outdated
from mailfw.stores.index.mailbox import Mailbox
from mailfw.stores.index.transaction import Returning, Transaction
from mailfw.stores.threads import shielded

# ruff: noqa: N805 -- methods of an Interface have no self

#: Messages that are told of at once.
_BATCH = 256


class IKeepsExpunged(Interface):
    """What a source with a ledger may offer besides, in one of the two ways below: what is expunged can come back."""

    async def retained(account: str) -> list[Retained]:
        """Return what is kept."""

    async def open_retained(account: str, id_: str) -> IContent:
        """Open one of these messages.  Raises `KeyError`."""

    async def forget_retained(before: float) -> bool:
        """As `IRetainedMail.forget_retained`."""


class IRetainingSource(IKeepsExpunged):
    """It keeps what it drops."""

    async def restore(account: str, folder: str, ids: Sequence[str]) -> int:
        """
        Put messages into a folder, all or none of those that are kept still, with new UIDs; return how many.

        Raises `Outdated`.  Never overlaps with what else adds to the account.
        """


class IRetainingIndex(IKeepsExpunged):
    """The index keeps it, in the transaction that removes it; see `mailfw.stores.index.database.Keeping`."""

    async def returning(account: str, ids: Collection[str]) -> list[Returning]:
        """Return those of these messages that are kept still."""


@implementer(IRetainedMail)
class RetainedMail:
    """``ask(name, work)`` does something with an account that exists."""

    def __init__(self, source: Any, ask: Callable[[str, Callable[[Account], Awaitable[Any]]], Awaitable[Any]]) -> None:
        self._source = source
        self._ask = ask

    def lend(self, store: Any) -> None:
        """Let a store provide the interface by this part of it."""
        for name in IRetainedMail:
            setattr(store, name, getattr(self, name))
        alsoProvides(store, IRetainedMail)

    async def retained(self, account: str) -> AsyncIterator[list[Retained]]:
        """Iterate over what can come back."""
        found = await self._ask(account, lambda owner: self._source.retained(owner.name))
        for start in range(0, len(found), _BATCH):
            yield found[start : start + _BATCH]

    async def retained_content(self, account: str, id_: str) -> IContent | None:
        """Open one of these messages."""
        try:
            content: IContent = await self._ask(account, lambda owner: self._source.open_retained(owner.name, id_))
        except KeyError:
            return None
        return content

    async def undelete(self, account: str, ids: Collection[str]) -> int:
        """Put messages back where they were."""
        count: int = await self._ask(account, lambda owner: undelete(owner, ids))
        return count

    async def forget_retained(self, before: float) -> bool:
        """Remove for good some of what was expunged before a time."""
        more: bool = await shielded(self._source.forget_retained(before))
        return more


async def undelete(account: Account, ids: Collection[str]) -> int:
    """Put messages back where they were; `account.source` provides `IRetainingSource`."""
    wanted: dict[Path, list[Retained]] = defaultdict(list)
    for each in await _source(account).retained(account.name):
        if each.id in ids:
            wanted[each.path].append(each)
    sizes = [each.size for group in wanted.values() for each in group]
    (await account.room()).check(sum(sizes), len(sizes))
    return sum([await _restore(account, path, group) for path, group in wanted.items()])


def _source(account: Account) -> IKeepsExpunged:
    return IKeepsExpunged(account.source)


async def _restore(account: Account, path: Path, messages: Sequence[Retained]) -> int:
    box, ids = await _place(account, path), [each.id for each in messages]
    async with account.changing(box):
        await account.ready(box)
        # What was appended meanwhile has taken its room.
        (await account.room()).check(sum([each.size for each in messages]), len(messages))
        if IRetainingIndex.providedBy(account.source):
            return await _return(account, box, ids)
        for _ in range(ATTEMPTS):
            try:
                found = await IRetainingSource(account.source).restore(account.name, box.key, ids)
            except Outdated:
                await account.survey(box)
            else:
                await account.survey(box)
                return int(found)
        raise Outdated(box.key)


async def _return(account: Account, box: Mailbox, ids: Sequence[str]) -> int:
    returning = await IRetainingIndex(account.source).returning(account.name, ids)
    if returning:
        plan = Transaction(account)
        plan.bring_back(box, returning)
        await plan.commit()
    return len(returning)


async def _place(account: Account, path: Path) -> Mailbox:
    """Return the mailbox at a path, made where it is missing."""
    for _ in range(2):
        for box in account.boxes.values():
            if box.path == path:
                return box
        await tree.edit_mailbox(account, CreateMailbox(path))
    raise NoSuchMailbox("the mailbox is gone")
