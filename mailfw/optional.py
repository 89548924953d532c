"""What a plug-in may offer besides the interface of its point; whoever asks does without where it is missing."""

# ruff: noqa: N805 -- methods of an Interface have no self

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence

from zope.interface import Interface

from mailfw.interfaces import IContent
from mailfw.mail.retained import Retained


class IManyContents(Interface):
    """
    What a mail store may offer besides `IMailStore`: opening many messages at once.

    Who reads whole mailboxes asks for it, and opens one message after the other where it is missing.
    """

    def contents(account: str, mailbox: str, uids: Sequence[int]) -> AsyncIterator[Sequence[tuple[int, IContent]]]:
        """
        Iterate, in batches, over messages that are opened as `IMailStore.content` does it, ascending.

        An ``async def`` with ``yield``.  What it holds in memory is bounded, whatever is asked for.  The
        caller closes all contents of a batch before asking for the next, and closes the iterator.
        """


class IRebuildable(Interface):
    """What a mail store may offer besides `IMailStore`: an index beside the mail, which can be made anew from it."""

    async def rebuild(account: str, tell: Callable[[int], None]) -> None:
        """
        Make an account's index anew, calling `tell` with the number of messages taken over since the last call.

        Nobody else uses the account meanwhile.  Raises `NoSuchAccount`, and then nothing has been made.
        """


class IRetainedMail(Interface):
    """
    What a mail store may offer besides `IMailStore`: mail that was expunged, kept out of sight for a while.

    What `expunge` removes, and what was in a mailbox that is deleted, can be put back until it is forgotten.  It counts
    for no quota.  A store that does not keep it now may still have some from when it did.
    """

    def retained(account: str) -> AsyncIterator[list[Retained]]:
        """Iterate, in batches and no order, over what is kept.  An ``async def`` with ``yield``."""

    async def retained_content(account: str, id_: str) -> IContent | None:
        """Open one of these messages; None if it is kept no more."""

    async def undelete(account: str, ids: Collection[str]) -> int:
        """
        Put messages back where they were, without \\Deleted and with new UIDs; return how many there were.

        A mailbox that is missing is made.  Raises `OverQuota`, and then none is back.
        """

    async def forget_retained(before: float) -> bool:
        """
        Remove for good some of what was expunged before a time, of any account; whether to ask again for the rest.

        What one call does is bounded.
        """
