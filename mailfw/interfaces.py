"""
Every plug-in point, in the order in which a message meets them.

All methods are ``async def``, and none knows of a protocol: no sequence numbers, no sessions, no commands.
What a method returns `None` for, raises, and promises to survive is said here and tried by the contract
of the same name in `mailfw.testing`.

Any exception a method does not declare is a fault of the plug-in: the mail in hand is deferred, and one
failure naming the plug-in is logged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from zope.interface import Attribute, Interface

from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope
from mailfw.mail.mailbox import (
    Altered,
    Appended,
    Copied,
    Expunged,
    FlagChange,
    Flags,
    Folder,
    Item,
    MailboxEdit,
    MailboxInfo,
    NewMessage,
    Row,
    Scan,
    Snapshot,
    Want,
)
from mailfw.mail.outcome import Outcome
from mailfw.mail.resolution import Resolution
from mailfw.mail.verdict import Verdict

# ---------------------------------------------------------------- content


class IContent(Interface):
    """The octets of one message, with CRLF line ends, read by offset and never as a whole."""

    size: int = Attribute("Octets.")

    async def read(offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, fewer only at the end."""

    async def close() -> None:
        """Let go of what reading needed.  May be called twice."""


class IDraft(IContent):
    """A message while it arrives: written in order, then read."""

    async def write(octets: bytes) -> None:
        """Append.  Raises `NoSpace` when the disk is full; the draft is then of no more use but to close."""


# ---------------------------------------------------------------- who is this?


class IAccount(Interface):
    """The avatar that `twisted.cred` gives a user who has proved to be one."""

    name: str = Attribute("The account's name, as the stores know it.")
    store: IMailStore = Attribute("Where its mail is.")


class IAccountList(Interface):
    """A checker that can also say which accounts there are: the directory asks it."""

    async def has_account(name: str) -> bool:
        """Whether an account of this name exists.  A name is a full address in lower case."""


class IDirectory(Interface):
    """Says which addresses are ours and whose they are."""

    async def resolve(address: Address) -> Resolution:
        """
        Return what the address stands for.

        Aliases come back resolved through to their ends, without loops; the order of rules is: exact
        address, the same without its detail, catch-all of the domain.
        """


# ---------------------------------------------------------------- may it pass?


class IDeliveryPolicy(Interface):
    """
    Says whether mail may pass, at each point where a mail server can answer.

    Policies are asked in the order of the configuration.  Each method returns `None` when the policy has no
    opinion; the first verdict ends the question (`Modify` alone lets the asking go on).  A method that
    takes longer than the policy's timeout, or raises, counts as the policy's declared failure action.
    """

    async def on_connect(client: Client) -> Verdict | None:
        """Somebody connected.  A refusal is said in place of the greeting."""

    async def on_helo(client: Client) -> Verdict | None:
        """The client has named itself; `client.helo` is the name, not yet checked by anybody."""

    async def on_sender(client: Client, sender: Address | None) -> Verdict | None:
        """A message begins; `sender` is None for a notification."""

    async def on_recipient(client: Client, sender: Address | None, recipient: Address) -> Verdict | None:
        """Asked once for each recipient that exists.  A refusal concerns this recipient alone."""

    async def on_message(client: Client, envelope: Envelope, content: IContent) -> Verdict | None:
        """The message is here whole.  `content` may be read, not kept."""


# ---------------------------------------------------------------- taking it


class IIntake(Interface):
    """Where every message enters: from SMTP, LMTP and our own reports."""

    async def open_draft(size_hint: int) -> IDraft:
        """Make room for a message of about so many octets (0: unknown).  Raises `NoSpace`."""

    async def accept(client: Client, envelope: Envelope, draft: IDraft) -> list[Outcome]:
        """
        Take responsibility for a message: one outcome for each recipient, in order.

        `Delivered` means that the message is on stable storage, for this recipient: in the mailbox or in
        the queue.  The caller closes the draft.
        """


# ---------------------------------------------------------------- where does it go?


class IRouter(Interface):
    """Says which courier takes mail for an address."""

    async def route(recipient: Address) -> str | None:
        """Return a courier's name, or None where no courier can reach that address."""


class ICourier(Interface):
    """Takes a message to where some of its recipients are."""

    async def deliver(envelope: Envelope, content: IContent, junk: bool) -> list[Outcome]:
        """
        Deliver to each of ``envelope.recipients`` and say what became of each, in order.

        Never retries and never bounces: the caller does.  A recipient and envelope id tried before must
        not be delivered twice where the courier can tell.  `junk` asks for the Junk mailbox.
        """


# ---------------------------------------------------------------- keeping it, the large interface


class IMailStore(Interface):
    """
    Keeps mailboxes: for backends that own the whole model.

    Every call concerns one account.  UIDs ascend, are never given twice, and stay below 2**31.  One
    modification sequence counts for the whole account: whatever changes gets the next one, and nothing
    with a lower one appears later.  What a call returned is on stable storage.  Ranges are not known here:
    `uids` are ascending and may name messages that are gone, which are passed over.

    Raises `NoSuchAccount`, `NoSuchMailbox`, and `NoSpace` wherever that can be.
    """

    async def open_account(account: str) -> None:
        """
        Make sure the account exists here, with its inbox and `FIRST_MAILBOXES`, subscribed.

        Called before any other method names the account; cheap when it is there.
        """

    async def remove_account(account: str) -> None:
        """Destroy the account and all its mail."""

    async def mailboxes(account: str) -> list[MailboxInfo]:
        """Return every mailbox, the inbox among them, in no order."""

    async def subscriptions(account: str) -> frozenset[tuple[str, ...]]:
        """Return the subscribed paths, also those without a mailbox."""

    async def edit_mailbox(account: str, edit: MailboxEdit) -> None:
        """
        Change the tree.  Raises `MailboxExists`, `NameRefused`.

        A mailbox deleted and made again has a greater UIDVALIDITY.  A rename keeps ids, UIDs and
        subscriptions of other names.
        """

    async def mailbox(account: str, mailbox: str) -> MailboxInfo:
        """Return one mailbox by id, as it is now."""

    async def claim_recent(account: str, mailbox: str) -> int:
        """Return `recent_uid` and set it to the next UID: what lies between is \\Recent for the caller alone."""

    async def snapshot(account: str, mailbox: str, since: int) -> Snapshot:
        """Return what changed after the modification sequence `since`; 0 asks for everything."""

    def rows(account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[list[Row]]:
        """
        Iterate, in batches, over what is known of these messages, ascending; gone ones are left out.

        An ``async def`` with ``yield``.  Costs what the messages asked for cost, not what the mailbox does.
        """

    async def content(account: str, mailbox: str, uid: int) -> IContent | None:
        """Open one message; None if it is gone.  Once open it can be read to its end, expunged or not."""

    async def append(account: str, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        """Add messages, all or none.  Raises `OverQuota`."""

    async def alter(
        account: str,
        mailbox: str,
        uids: Sequence[int],
        change: FlagChange,
        flags: Flags,
        unchanged_since: int | None = None,
    ) -> Altered:
        """Change flags.  A message whose flags stay the same gets no new modification sequence."""

    async def copy(account: str, mailbox: str, uids: Sequence[int], to: str, move: bool = False) -> Copied:
        """Copy or move within the account, all or none, keeping flags, date and email id.  Raises `OverQuota`."""

    async def expunge(account: str, mailbox: str, uids: Sequence[int] | None) -> Expunged:
        """Remove those of `uids` that have \\Deleted; None means: of all messages."""

    async def watch(account: str, notice: Callable[[str, int], None]) -> Callable[[], None]:
        """
        Call ``notice(mailbox id, modseq)`` after each change, until the function returned is called.

        Notices come after the change can be seen.  They may come twice, late, or for a change of one's
        own: whoever hears one asks for a snapshot.  A mailbox that is deleted is noticed too.
        """

    async def close() -> None:
        """Finish what is under way and let go of files and threads."""


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


# ---------------------------------------------------------------- keeping it, the small interface


class IMessageSource(Interface):
    """
    Keeps messages in folders, and no more: write one in an hour, and mailfw's own index adds the rest.

    The index gives UIDs, modification sequences, search and everything else `IMailStore` asks for.  Calls for
    one account never overlap.
    """

    async def open_account(account: str) -> None:
        """Make sure the account exists here, with a folder whose path is ``("INBOX",)``."""

    async def remove_account(account: str) -> None:
        """Destroy the account and all its mail."""

    async def folders(account: str) -> Sequence[Folder]:
        """Return every folder."""

    async def edit_folder(account: str, edit: MailboxEdit) -> None:
        """Create, rename (with all below it) or delete; `Subscribe` is never asked.  Raises `NameRefused`."""

    async def scan(account: str, folder: str, cursor: str | None) -> Scan:
        """Look what is there, or what changed since `cursor`; None asks for everything."""

    async def open(account: str, folder: str, key: str) -> IContent:
        """Open a message.  Raises `KeyError` if it is gone."""

    async def put(account: str, folder: str, content: IContent, flags: Flags, received: int) -> Item:
        """Keep a message; it is on stable storage when this returns.  Raises `NoSpace`, `OverQuota`."""

    async def set_flags(account: str, folder: str, flags: Mapping[str, Flags]) -> None:
        """Give each message (by key) exactly these flags; keys that are gone are passed over."""

    async def drop(account: str, folder: str, keys: Sequence[str]) -> None:
        """Remove messages; keys that are gone are passed over."""

    async def close() -> None:
        """Let go of files and threads."""
