"""The courier that delivers into the mailboxes of this site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from zope.interface import classImplements, implementer

from mailfw.couriers.lines import as_lines
from mailfw.couriers.threads import in_threads
from mailfw.interfaces import IContent, ICourier, IDirectory, IDraft, IMailStore
from mailfw.mail.address import Address
from mailfw.mail.content import Prefixed
from mailfw.mail.envelope import Envelope
from mailfw.mail.failure import NoSpace, NoSuchAccount, NoSuchMailbox, OverQuota
from mailfw.mail.mailbox import INBOX, MailboxInfo, NewMessage, Role
from mailfw.mail.message import FieldRefused, delivered_to, return_path
from mailfw.mail.outcome import Deferred as DeferredOutcome
from mailfw.mail.outcome import Delivered, Failed, Outcome
from mailfw.mail.reply import Reply
from mailfw.mail.resolution import account_of
from mailfw.site import Site
from mailfw.smtp.client.fitting import Means

log = Logger()

classImplements(Prefixed, IContent)  # `mail` knows no interfaces

#: Accounts whose inbox we remember the id of: it never changes while the account exists.
_REMEMBERED = 10_000

DELIVERED = Delivered()
NO_SUCH_USER = Failed(Reply(550, "5.1.1", "No such user here"))
UNWRITABLE = Failed(Reply(553, "5.1.3", "The address cannot be written into a message"))
#: RFC 3463 section 3.3 on X.2.2: the recipient can make room, so this is a persistent *transient* failure.
OVER_QUOTA = DeferredOutcome(Reply(452, "4.2.2", "The mailbox is full"))
NO_SPACE = DeferredOutcome(Reply(452, "4.3.1", "The disk is full; try again later"))
#: RFC 3463 section 3.4 on X.3.2: the system does not take messages for this mailbox at the moment.
HELD = DeferredOutcome(Reply(451, "4.3.2", "The mailbox is being moved; try again later"))
BROKEN = DeferredOutcome(Reply(451, "4.3.0", "The mailbox does not work at the moment; try again later"))


@implementer(ICourier)
class MailboxCourier:
    """
    Puts a message, with Return-Path and Delivered-To, into the inbox of each recipient's account.

    A detail (``ann+lists@…``) that is the name of a mailbox, whatever the case, sends the message there, but never to
    one with a special use; junk goes to Junk.  All recipients are under way at the same time, so that a store
    can make their messages durable together.  What is for an account in `held` is deferred.  A binary message
    (RFC 3030) is kept with 7-bit encodings.
    """

    def __init__(
        self,
        *,
        site: Site,
        directory: IDirectory,
        store: IMailStore,
        open_draft: Callable[[int], Awaitable[IDraft]],
        held: Collection[str] = frozenset(),
    ) -> None:
        self._directory = directory
        self._store = store
        self._means = Means(open_draft, in_threads(site.reactor))
        self._held = held
        self._inboxes: dict[str, str] = {}

    async def deliver(self, destination: str, envelope: Envelope, content: IContent, junk: bool) -> list[Outcome]:
        """Deliver to each recipient; whatever the store raises is that recipient's deferral, and logged once."""
        if envelope.body != "BINARYMIME":
            return await self._deliver_all(envelope, content, junk)
        try:
            draft = await as_lines(content, self._means)
        except NoSpace:
            return [NO_SPACE] * len(envelope.recipients)
        except Exception:
            log.failure("Binary message {id} cannot be converted", id=envelope.id)
            return [BROKEN] * len(envelope.recipients)
        if draft is None:
            return await self._deliver_all(envelope, content, junk)
        try:
            return await self._deliver_all(envelope, draft, junk)
        finally:
            await draft.close()

    async def _deliver_all(self, envelope: Envelope, content: IContent, junk: bool) -> list[Outcome]:
        path = _return_path(envelope)
        if path is None:
            return [UNWRITABLE] * len(envelope.recipients)
        if len(envelope.recipients) == 1:
            try:
                return [await self._deliver(path, envelope, envelope.recipients[0], content, junk)]
            except Exception:
                log.failure("The store failed with message {id}", id=envelope.id)
                return [BROKEN]
        begun: list[Deferred[object]] = [
            Deferred.fromCoroutine(self._deliver(path, envelope, recipient, content, junk))
            for recipient in envelope.recipients
        ]
        return _outcomes(envelope, await DeferredList(begun, consumeErrors=True))

    async def close(self) -> None:
        """Do nothing: the store is not ours to close."""

    async def _deliver(
        self, path: bytes, envelope: Envelope, recipient: Address, content: IContent, junk: bool
    ) -> Outcome:
        owner = account_of(recipient, await self._directory.resolve(recipient))
        if owner is None:
            return NO_SUCH_USER
        if owner.account in self._held:
            return HELD
        try:
            prefix = path + delivered_to(recipient)
            message = NewMessage(Prefixed(prefix, content), token=f"{envelope.id}:{owner.account}")
            await self._append(owner.account, owner.detail, message, junk)
        except FieldRefused:
            return UNWRITABLE
        except OverQuota:
            return OVER_QUOTA
        except NoSpace:
            return NO_SPACE
        except NoSuchAccount:
            return NO_SUCH_USER
        return DELIVERED

    async def _append(self, account: str, detail: str, message: NewMessage, junk: bool) -> None:
        """Append to the right mailbox; one that has gone meanwhile is looked for once more."""
        try:
            await self._store.append(account, await self._mailbox(account, detail, junk), [message])
        except (NoSuchAccount, NoSuchMailbox):
            self._inboxes.pop(account, None)
            await self._store.append(account, await self._mailbox(account, detail, junk), [message])

    async def _mailbox(self, account: str, detail: str, junk: bool) -> str:
        """Return the id of the mailbox that a message goes to."""
        inbox = self._inboxes.get(account)
        if inbox is not None and not (detail or junk):
            return inbox
        await self._store.open_account(account)
        mailboxes = await self._store.mailboxes(account)
        inbox = next(mailbox.id for mailbox in mailboxes if mailbox.path == INBOX)
        if len(self._inboxes) >= _REMEMBERED:
            self._inboxes.clear()
        self._inboxes[account] = inbox
        if junk:
            return next((mailbox.id for mailbox in mailboxes if mailbox.role is Role.JUNK), inbox)
        return _named(mailboxes, detail) or inbox


def _return_path(envelope: Envelope) -> bytes | None:
    try:
        return return_path(envelope.sender)
    except FieldRefused:
        return None


def _named(mailboxes: Sequence[MailboxInfo], detail: str) -> str | None:
    """Return the id of the mailbox that a detail names."""
    wanted = detail.casefold()
    for mailbox in mailboxes:
        if wanted and mailbox.role is None and "/".join(mailbox.path).casefold() == wanted:
            return mailbox.id
    return None


def _outcomes(envelope: Envelope, results: Sequence[tuple[bool, Any]]) -> list[Outcome]:
    """Return the outcomes, and log the first fault for all."""
    faults = [result for good, result in results if not good]
    if faults:
        log.failure(
            "The store failed with message {id} for {count} recipients",
            failure=faults[0],
            id=envelope.id,
            count=len(faults),
        )
    return [result if good and isinstance(result, Outcome) else BROKEN for good, result in results]
