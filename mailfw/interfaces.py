"""
Every plug-in point, in the order in which a message meets them.

All methods are ``async def``, and none knows of a protocol: no sequence numbers, no sessions, no commands.
What a method returns `None` for, raises, and promises to survive is said here and tried by the contract
of the same name in `mailfw.testing`.  What a plug-in may offer besides is in `mailfw.optional`.

Any exception a method does not declare is a fault of the plug-in: the mail in hand is deferred, and one
failure naming the plug-in is logged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any

from zope.interface import Attribute, Interface

from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope
from mailfw.mail.hop import Hop
from mailfw.mail.lookup import Answer
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
from mailfw.mail.outcome import Deferred, Failed, Outcome
from mailfw.mail.queued import Queued
from mailfw.mail.quota import Quota, QuotaLimits
from mailfw.mail.resolution import Resolution
from mailfw.mail.route import Route, Unroutable
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
    """Says which addresses are ours and whose they are; no answer within ``limits.answer_timeout`` is a fault."""

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
    """Where every message enters: from SMTP, LMTP, the console and our own reports."""

    async def open_draft(size_hint: int) -> IDraft:
        """Make room for a message of about so many octets (0: unknown).  Raises `NoSpace`."""

    async def accept(client: Client, envelope: Envelope, draft: IDraft) -> list[Outcome]:
        """
        Take responsibility for a message: one outcome for each recipient, in order.

        `Delivered` means that the message is on stable storage, for this recipient: in the mailbox or in
        the queue.  The caller closes the draft.
        """


class ISpool(Interface):
    """
    Keeps the messages of the queue until nothing is left to do with them.

    A message is *out* while its caller works with it: from `put`, `take` or `seize` on, until `give_back` or `remove`;
    nobody else is given it then.  When the process dies, all that were out are in again, as they were last written.

    Each method raises `NoSpace` for a full disk and `OSError` for a broken one; nothing has changed then.
    """

    async def open() -> None:
        """Look at what exists; called once, before anything else."""

    async def open_draft(size_hint: int) -> IDraft:
        """Make room for a message of about so many octets (0: unknown), in memory while it is small."""

    async def put(queued: Queued, content: IContent) -> None:
        """
        Take responsibility for a message: when this returns, message and state are on stable storage, and it is out.

        One sync serves all that wait for one.  `content` is one of our drafts, such a draft behind other octets
        (`Prefixed`), or any other content; it may be closed as soon as this returns.  An id that is kept already stays
        as it is: a report made again after a crash is the same report.
        """

    async def record(queued: Queued) -> None:
        """
        Write down what has become of a message, which stays out.

        It survives the death of this process when it returns, and a power failure no later than whatever is put,
        recorded or removed after it.
        """

    async def give_back(queued: Queued) -> None:
        """Write down what has become of a message and let it wait until ``queued.due``; durable as with `record`."""

    async def remove(name: str) -> None:
        """Forget a message; a power failure may bring it back until something else was put."""

    async def take(now: float, limit: int, each: int, passing_over: Collection[str]) -> list[Queued]:
        """
        Return up to `limit` messages that are due, which are out from then on.

        For no ``str(leg.route)`` are there more than `each`, and none is given whose due legs all go to one in
        `passing_over`: a destination with a million messages hides no other.  Within a destination the highest priority
        comes first, then what has waited longest.
        """

    async def next_due(passing_over: Collection[str]) -> float | None:
        """Return when `take` will next have something to give, None if nothing waits."""

    async def seize(name: str) -> Queued | None:
        """Take one message out, due, held or not; None if there is no such message, or it is out."""

    async def get(name: str) -> Queued | None:
        """Return a message's state, whether it is out or not."""

    async def content(name: str) -> IContent | None:
        """Open a message; the caller closes it."""

    async def scan(after: str, limit: int) -> list[Queued]:
        """Return the states of up to `limit` messages, out or not, by ascending id, the first behind `after`."""

    async def count() -> int:
        """Return how many messages there are."""

    async def close() -> None:
        """Finish what is under way and let go of files and threads."""


# ---------------------------------------------------------------- where does it go?


class IRouter(Interface):
    """Says where mail for an address goes next; no answer within ``limits.answer_timeout`` is a fault."""

    async def route(sender: Address | None, recipient: Address) -> Route | Unroutable:
        """
        Return the way; aliases are resolved already.

        Looks at configuration and directory, not at the network: the courier does that when it gets there.
        """


class IResolver(Interface):
    """
    Asks the DNS; no answer within ``limits.answer_timeout`` is a fault.

    `kind` is ``A`` or ``AAAA`` (records are addresses as text), ``MX`` (`mailfw.mail.lookup.MX`), ``TXT`` (octets, its
    strings joined), ``TLSA`` (`mailfw.mail.lookup.TLSA`), ``PTR`` or ``CNAME`` (names).  Names are in A-labels.
    """

    async def look_up(name: str, kind: str) -> Answer[Any]:
        """Return what is known; never raises for what the network does."""


class IHops(Interface):
    """Says which hosts a destination of `Route` is, in the order in which to try them."""

    async def find(
        destination: str, require_tls: bool, tls_optional: bool = False
    ) -> Sequence[Hop] | Deferred | Failed:
        """
        Return hosts, or why there are none; with `require_tls` only such as RFC 8689 allows.

        `tls_optional` is a sender to whom arriving means more than what the recipient's domain demands of TLS (section
        5 there); what the configuration demands of a host holds for him too.
        """

    def note_tls(destination: str, hop: Hop, result: str) -> None:
        """Count a connection for TLS reports: `result` is ``""`` or a result type of RFC 8460 section 4.3."""


class ICourier(Interface):
    """Takes a message to where some of its recipients are; what takes ``queue.delivery_timeout`` is cancelled."""

    async def deliver(destination: str, envelope: Envelope, content: IContent, junk: bool) -> list[Outcome]:
        """
        Deliver to each of ``envelope.recipients``, which the router sent to `destination`; one outcome each, in order.

        Never retries and never bounces: the caller does.  A recipient and envelope id tried before must
        not be delivered twice where the courier can tell.  `junk` asks for the Junk mailbox.
        """

    async def close() -> None:
        """Let go of connections."""


# ---------------------------------------------------------------- how much may be kept?


class IQuotas(Interface):
    """
    Says how much an account may keep; no answer within ``limits.answer_timeout`` is a fault.

    Stores ask before they add to an account, once for all that is added together: who has to ask somebody else for
    the answer remembers it for a while.
    """

    async def limits(account: str) -> QuotaLimits:
        """Return the account's limits; an account that is not known has those of everybody."""


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

    async def quota(account: str) -> Quota:
        """Return what the account keeps, in octets and messages, and what it may: counted, not looked for."""

    async def edit_mailbox(account: str, edit: MailboxEdit) -> None:
        """
        Change the tree.  Raises `MailboxExists`, `NameRefused`, `RoleTaken`.

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
        own: whoever hears one asks for a snapshot.  A mailbox that is deleted is noticed too; after each change
        of the tree, or of what is subscribed, the id is `mailfw.mail.mailbox.TREE`.
        """

    async def close() -> None:
        """Finish what is under way and let go of files and threads."""


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
        """Create, rename (with all below it) or delete; `Subscribe` and `SetRole` never come.  Raises `NameRefused`."""

    async def scan(account: str, folder: str, cursor: str | None) -> Scan:
        """Look what is there, or what changed since `cursor`; None asks for everything."""

    async def open(account: str, folder: str, key: str) -> IContent:
        """Open a message.  Raises `KeyError` if it is gone."""

    async def put(account: str, folder: str, content: IContent, flags: Flags, received: int) -> Item:
        """
        Keep a message; it is on stable storage when this returns.  Raises `NoSpace`, `OverQuota`.

        A process that dies over it leaves the message as it was given, or nothing.
        """

    async def set_flags(account: str, folder: str, flags: Mapping[str, Flags]) -> None:
        """Give each message (by key) exactly these flags; keys that are gone are passed over."""

    async def drop(account: str, folder: str, keys: Sequence[str]) -> None:
        """Remove messages; keys that are gone are passed over."""

    async def close() -> None:
        """Let go of files and threads."""
