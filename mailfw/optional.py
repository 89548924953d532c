"""What a plug-in may offer besides the interface of its point; whoever asks does without where it is missing."""

# ruff: noqa: N805 -- methods of an Interface have no self

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

from zope.interface import Interface

from mailfw.interfaces import IContent
from mailfw.mail.annotation import AnnotationEdits, Annotations
from mailfw.mail.columns import Columns
from mailfw.mail.mailbox import Altered, Appended, FlagChange, Flags, MailboxInfo, NewMessage, Replaced, Snapshot, Want
from mailfw.mail.personal import Mark
from mailfw.mail.quota import QuotaLimits
from mailfw.mail.retained import Retained
from mailfw.mail.rights import AccessList, Rights
from mailfw.mail.sought import Condition, SearchAnswer


class IGenerations(Interface):
    """
    What a mail store may offer besides `IMailStore`: to say at once that something may have changed.

    Notices of `IMailStore.watch` may come late.  Whoever must not overlook what another client was told a moment ago
    compares generations.
    """

    def generation(account: str, mailbox: str) -> int:
        """
        Return a number, at no cost, that is another after each change of the mailbox that anybody was told of.

        It may be another for no reason.
        """


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


class IColumns(Interface):
    """
    What a mail store may offer besides `IMailStore`: what whole mailboxes are found, sorted and threaded by.

    Who goes through all messages asks for it, and for rows where it is missing.
    """

    def columns(account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[Columns]:
        """
        Iterate, in batches, over those of these messages that are there, ascending.

        Of `want` nothing but `Want.SENT`, `Want.SORT` and `Want.THREAD` counts.  An ``async def`` with ``yield``.
        """


class INumberedMail(Interface):
    """
    What a mail store may offer besides `IMailStore`: mail from elsewhere, under the UIDs that it had there.

    Whoever moves mail asks for it, so that what clients remember of it stays true; where it is missing mail gets new
    UIDs.  No UID is ever given twice under one UIDVALIDITY.
    """

    async def renumber(account: str, mailbox: str, uid_validity: int | None, uid_next: int) -> None:
        """
        Give a mailbox another UIDVALIDITY, and let UIDs go on at `uid_next` if that is higher than what came next.

        A UIDVALIDITY that is named, other than the one it has, only a mailbox can get that never had a message.  None
        stands for a new one of the store's choice: messages keep their UIDs, and clients begin anew.  Raises
        `NumberRefused`, and nothing has changed.
        """

    async def append_numbered(
        account: str, mailbox: str, messages: Sequence[NewMessage], uids: Sequence[int]
    ) -> list[Appended]:
        """
        Add messages as `IMailStore.append` does, all or none, under these ascending UIDs.

        If the process dies over it some may be there, under their UIDs, and the others can be added after them.
        A message that the mailbox has already, by its token, stays under the UID it has.  Raises `NumberRefused` where
        a UID is below the one that comes next, and what `append` raises.
        """


class IUniqueIds(Interface):
    """What a mail store may offer besides `IMailStore`: the unique-ids of POP3 that messages brought along."""

    async def unique_ids(account: str) -> Mapping[int, str]:
        """Return, by UID, those of messages in the inbox; all others have one made of UID and UIDVALIDITY."""


class IRebuildable(Interface):
    """What a mail store may offer besides `IMailStore`: an index beside the mail, which can be made anew from it."""

    async def rebuild(account: str, tell: Callable[[int], None]) -> None:
        """
        Make an account's index anew, calling `tell` with the number of messages taken over since the last call.

        Nobody else uses the account meanwhile.  Raises `NoSuchAccount`, and then nothing has been made.
        """


class ISearchedMail(Interface):
    """
    What a mail store may offer besides `IMailStore`: finding messages by their text without reading them.

    The text of a message is what `mailfw.mail.terms` says; who reads a message to tell comes to the same answer.
    """

    async def search(account: str, mailbox: str, uids: Sequence[int], condition: Condition) -> SearchAnswer:
        """
        Say which of these messages match a condition, exactly, and of which the store cannot tell without reading them.

        It never reads messages for it: what has just come may be among those.
        """

    async def rebuild_search(account: str, tell: Callable[[int], None]) -> None:
        """Make what an account is searched by anew, calling `tell` with the number of messages done since the last."""


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


#: The mailbox that a notice names when something else is shared with the account than before; it has no modseq.
SHARES = ""


#: The mailbox that a notice names when the annotations of the account itself are others than before.
ACCOUNT_ANNOTATIONS = "\n"


class IAnnotatedMail(Interface):
    """
    What a mail store may offer besides `IMailStore`: annotations of mailboxes, and of the account itself (RFC 5464).

    They stay when a mailbox is renamed and go when it is deleted, and are on stable storage when a call returns.  Each
    change is one of the mailbox: it gets the next modification sequence, another `MailboxInfo.annotated`, and who
    watches hears of it; with those of the account, of `ACCOUNT_ANNOTATIONS`.

    ``/shared/`` entries belong to the mailbox, ``/private/`` ones to a user.  `user` is somebody with whom the mailbox
    is shared, None its owner; a store as one user sees it (`mailfw.sharing`) knows who he is and looks at his rights.
    Bounds are those of `mailfw.mail.annotation`.
    """

    async def annotations(account: str, mailbox: str | None, user: str | None = None) -> Annotations:
        """Return the shared entries of a mailbox, or of the account (None), and the user's own."""

    async def all_annotations(account: str, user: str | None = None) -> Mapping[str, Annotations]:
        """Return the same of all mailboxes at once, by id; those without any are left out."""

    async def annotate(account: str, mailbox: str | None, edits: AnnotationEdits, user: str | None = None) -> None:
        """
        Give entries other values, or remove them (None): all or none.  What is as it was is no change.

        Raises `NameRefused`, `AnnotationTooLong`, `TooManyAnnotations`; for a user, `NoPermission`.
        """

    async def annotators(account: str, mailbox: str) -> frozenset[str]:
        """Return the users, other than its owner, who have private entries at a mailbox."""


class IReplacingMail(Interface):
    """What a mail store may offer besides `IMailStore`: a message in another's place, whatever dies over it."""

    async def replace(account: str, mailbox: str, uid: int, to: str, message: NewMessage) -> Replaced:
        """
        Add a message to the mailbox `to`, and expunge the one that it replaces, which need not have \\Deleted.

        Both, or neither: a process that dies over it leaves the one or the other.  A token is not looked at.  What was
        replaced is retained as if expunged.  Raises `NoSuchMessage`, and what `append` raises; the room that the old
        one took counts as free.
        """


class ISettableQuotas(Interface):
    """What a plug-in for quotas may offer besides `IQuotas`: limits that a session can change."""

    async def change_limits(account: str, limits: QuotaLimits) -> None:
        """Give an account limits of its own, in place of those it had; durable, and true for whoever asks after."""


class ISettableQuota(Interface):
    """
    What a mail store may offer besides `IMailStore`: to pass limits on to what says how much an account may keep.

    Who may do that, the caller decides.  A store as one user sees it offers it too, for whatever account.
    """

    async def set_quota(account: str, limits: QuotaLimits) -> None:
        """Give an account limits in place of those it had.  Raises `NoSuchAccount`."""


class ISharedMail(Interface):
    """
    What a mail store may offer besides `IMailStore`: mailboxes that others than their owner use.

    Who may do what is kept with the mailbox, and so is what each other user has seen of it: a *mark* for each message,
    where \\Seen in the message's own flags is the owner's.  Marks change with the account's modification sequences, and
    go with their message.  `account` is always the owner's; each call concerns that one account.  Only `alter_for`
    looks at rights: whoever calls anything else for a user does so before.

    A mailbox made below another begins with that one's access list.  What removes an account also removes what is
    shared with it.
    """

    async def access(account: str, mailbox: str) -> AccessList:
        """Return who else may do what, by identifier."""

    async def grant(account: str, mailbox: str, identifier: str, rights: Rights, change: str = "") -> None:
        """
        Give an identifier exactly these rights, which counts as a change of the mailbox; it is durable.

        With the `change` ``+`` or ``-`` they are added to, or taken from, what it has then, whoever else changes that
        at the same time.  Without any the identifier is no longer in the list.  Who watches the account of a grantee
        hears of `SHARES`.
        """

    async def shared_with(user: str) -> frozenset[str]:
        """
        Return the accounts that may have granted something to a user, or to everybody.

        It names all that have, and may name others.
        """

    async def mailboxes_for(account: str, user: str) -> list[MailboxInfo]:
        """Return the mailboxes on which the user has any right, with his rights and what he has not seen."""

    async def mailbox_for(account: str, mailbox: str, user: str) -> MailboxInfo:
        """Return one mailbox, with the user's rights, perhaps none, and what he has not seen."""

    async def snapshot_for(account: str, mailbox: str, user: str, since: int) -> Snapshot:
        """As `IMailStore.snapshot`, with \\Seen as the user has it; what he has marked since then is in it."""

    async def readers(account: str, mailbox: str) -> frozenset[str]:
        """Return the users who have marked anything in a mailbox, whatever rights they have now."""

    async def marks(account: str, mailbox: str, user: str, uids: Sequence[int]) -> list[Mark]:
        """Return the user's marks of these messages, ascending; a message without one he has not seen."""

    async def alter_for(
        account: str,
        mailbox: str,
        user: str,
        uids: Sequence[int],
        change: FlagChange,
        flags: Flags,
        unchanged_since: int | None = None,
    ) -> Altered:
        """
        As `IMailStore.alter`, for somebody with whom the mailbox is shared: his \\Seen, everybody's other flags.

        What his rights do not allow stays as it is.  Raises `NoPermission` where that is all, and `NoSuchMailbox` where
        he may not know of the mailbox.
        """

    async def forget_user(account: str, user: str) -> None:
        """Take from the account's access lists what they say of a user, and drop his marks and annotations."""


class ISharingView(Interface):
    """What a mail store, as one user sees it, may offer besides `IMailStore`: a say over who else sees a mailbox."""

    async def namespace(account: str) -> tuple[str, ...]:
        """Return the path below which others' mailboxes are, one level for each owner."""

    async def access(account: str, mailbox: str) -> AccessList:
        """Return who may do what, the owner among them.  Raises `NoPermission`."""

    async def grant(account: str, mailbox: str, identifier: str, rights: Rights, change: str = "") -> None:
        """
        Give an identifier, as a user types it, exactly these rights; without any it is no longer in the list.

        With the `change` ``+`` or ``-`` they are added to, or taken from, what it has.  Raises `NoPermission`, and
        `BadRights` for what is no identifier.
        """


class ICount(Interface):
    """A count that all processes of a server share, of what clients, accounts or anybody else with a name do."""

    async def take(name: str) -> float:
        """
        Count one event and return 0, or return in how many seconds one could be; that is not counted.

        While more than half is left a worker counts by itself and tells the others a moment later; then each event is
        asked for.  A limit can be passed by an eighth, by what comes at once.
        """


class ITally(Interface):
    """What a policy's factory gets that has a parameter named ``tally``."""

    def allow(limit: int, period: float) -> ICount:
        """
        Return a count that lets everybody have `limit` events at once, and that many again in each `period`, evenly.

        A limit of 0 is none.  All processes must ask for the same counts in the same order.
        """
