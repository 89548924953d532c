"""
Where every message enters, and where we become responsible for it.

The promise: `Delivered` from `accept` means that the message is on stable storage, and that each recipient
will get it or its sender will be told, at least once.

Local mail is delivered while the client waits, so that most messages are written once and a refusal is the
client's to report, not ours (no backscatter).  What is left of a message that somebody has got, the spool takes over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.logger import Logger
from zope.interface import implementer

from mailfw.interfaces import ICourier, IDeliveryPolicy, IDirectory, IDraft, IIntake, IRouter
from mailfw.mail.content import Content, Prefixed
from mailfw.mail.envelope import QUARANTINE, Client, Envelope, Service
from mailfw.mail.failure import NoSpace
from mailfw.mail.message import Header, date_time, field, read_header, received_field, token
from mailfw.mail.outcome import Deferred, Delivered, Failed, Outcome
from mailfw.mail.reply import Reply
from mailfw.mail.verdict import Defer, Discard, Modify, Quarantine, Refuse, Verdict
from mailfw.queue.delivery import BROKEN, Attempt, Delivery, fold
from mailfw.queue.drafts import DraftRoom
from mailfw.queue.queued import Queued, Undelivered
from mailfw.queue.schedule import Schedule
from mailfw.queue.spool import Spool
from mailfw.site import Site

log = Logger()

#: Received fields a message may have; more mean a loop (Postfix's hopcount_limit is 50; RFC 5321 section 6.3).
MAX_HOPS = 50

LOOP = Failed(Reply(554, "5.4.6", "Too many Received fields: this message is going round in a loop"))
NO_SPACE = Deferred(Reply(452, "4.3.1", "The disk is full; try again later"))
HEADER_TOO_LONG = Failed(Reply(554, "5.6.0", "The header of the message is too long"))


@implementer(IIntake)
class Intake:
    """Adds the trace field, asks the policies about the whole message, delivers, and spools what is left."""

    def __init__(
        self,
        *,
        site: Site,
        directory: IDirectory,
        router: IRouter,
        couriers: Mapping[str, ICourier],
        policies: IDeliveryPolicy,
        spool: Spool,
        drafts: DraftRoom,
        schedule: Schedule | None = None,
        software: str = "mailfw",
        max_hops: int = MAX_HOPS,
    ) -> None:
        self._site = site
        self._policies = policies
        self._spool = spool
        self._drafts = drafts
        #: How messages are delivered, for the runner to do likewise.
        self.delivery = Delivery(directory=directory, router=router, couriers=couriers)
        self._schedule = schedule or Schedule()
        self._software = software
        self._max_hops = max_hops

    async def open_draft(self, size_hint: int) -> IDraft:
        """Make room for a message.  Raises `NoSpace`."""
        return await self._drafts.open(size_hint)

    async def accept(self, client: Client, envelope: Envelope, draft: IDraft) -> list[Outcome]:
        """Take responsibility for a message: one outcome for each recipient, in order."""
        try:
            return await self._accept(client, envelope, draft)
        except NoSpace:
            return [NO_SPACE] * len(envelope.recipients)
        except Exception:
            log.failure("Message {id} could not be taken", id=envelope.id)
            return [BROKEN] * len(envelope.recipients)

    async def _accept(self, client: Client, envelope: Envelope, draft: IDraft) -> list[Outcome]:
        header = await read_header(draft)
        refusal = self._refusal(client, header)
        if refusal is not None:
            return [refusal] * len(envelope.recipients)
        verdict = await self._policies.on_message(client, envelope, draft)
        answer = _answer(verdict, envelope)
        if answer is not None:
            return [answer] * len(envelope.recipients)
        content = self._traced(client, envelope, header, draft, verdict)
        junk = isinstance(verdict, Quarantine) or QUARANTINE in client.findings
        attempts = await self.delivery.deliver(envelope, content, junk)
        if client.service is Service.LMTP:
            # RFC 2033 section 4.2: each recipient has a reply of its own, and the client keeps what is not delivered.
            return [fold(address, attempts) for address in envelope.recipients]
        return await self._settle(envelope, content, junk, attempts)

    def _refusal(self, client: Client, header: Header) -> Failed | None:
        if header.count(b"received") > self._max_hops:
            return LOOP
        if client.service is Service.SUBMISSION and not header.is_whole:
            return HEADER_TOO_LONG  # a Bcc could be in what we did not see
        return None

    # ------------------------------------------------------------ what is added

    def _traced(
        self, client: Client, envelope: Envelope, header: Header, draft: IDraft, verdict: Verdict | None
    ) -> Content:
        """Return the message as it is to be kept: our Received first, then what the policies add."""
        now = self._site.reactor.seconds()
        alone = envelope.recipients[0] if len(envelope.recipients) == 1 else None
        prefix = received_field(client, envelope, alone, self._site.hostname, self._software, now)
        if isinstance(verdict, Modify | Quarantine):
            prefix += b"".join(field(name, value) for name, value in verdict.fields)
        dropped = [b"return-path"]  # RFC 5321 section 4.4: ours will be the only one
        if client.service is Service.SUBMISSION:
            prefix += self._completed(envelope, header, now)
            dropped += [b"bcc", b"resent-bcc"]  # RFC 5322 section 3.6.3: the others must not see them
        if any(name in header for name in dropped):
            return Prefixed(prefix + header.without(*dropped), draft, len(header.octets))
        return Prefixed(prefix, draft)

    def _completed(self, envelope: Envelope, header: Header, now: float) -> bytes:
        """Return the fields a submitted message must have and does not (RFC 6409 section 8)."""
        fields = b""
        if b"date" not in header:
            fields += field("Date", date_time(now))
        if b"message-id" not in header:
            fields += field("Message-ID", f"<{int(now)}.{token(envelope.id)}@{self._site.hostname}>")
        return fields

    # ------------------------------------------------------------ what is left

    async def _settle(
        self, envelope: Envelope, content: Content, junk: bool, attempts: Sequence[Attempt]
    ) -> list[Outcome]:
        """
        Return outcomes that agree, since SMTP has one reply for all recipients.

        Where nobody has got the message the client keeps it; otherwise the queue takes what is left.
        """
        left = [attempt for attempt in attempts if not isinstance(attempt.outcome, Delivered)]
        if not left:
            return [Delivered()] * len(envelope.recipients)
        outcome: Outcome = Delivered()
        if len(left) == len(attempts):
            outcome = next((each.outcome for each in left if isinstance(each.outcome, Deferred)), left[0].outcome)
        else:
            await self._take_over(envelope, content, junk, left)
        return [outcome] * len(envelope.recipients)

    async def _take_over(self, envelope: Envelope, content: Content, junk: bool, left: Sequence[Attempt]) -> None:
        """Write down what is left.  If that fails the client is asked to send all again: twice is better than never."""
        now = self._site.reactor.seconds()
        queued = Queued(
            envelope,
            arrived=now,
            due=now + self._schedule.pause(1, 0.5),
            junk=junk,
            waiting=undelivered(left, Deferred),
            failed=undelivered(left, Failed),
        )
        await self._spool.put(queued, content)
        log.info(
            "Message {id} is queued: {waiting} wait, {failed} failed",
            id=envelope.id,
            waiting=[f"{one.recipient}: {one.reply.text}" for one in queued.waiting],
            failed=[f"{one.recipient}: {one.reply.text}" for one in queued.failed],
        )


def undelivered(attempts: Sequence[Attempt], kind: type[Deferred | Failed]) -> tuple[Undelivered, ...]:
    """Return the recipients whose outcome is of a kind, with the reply that says why."""
    return tuple(
        Undelivered(attempt.original, attempt.recipient, attempt.outcome.reply)
        for attempt in attempts
        if isinstance(attempt.outcome, kind)
    )


def _answer(verdict: Verdict | None, envelope: Envelope) -> Outcome | None:
    """Return the outcome for all recipients that a verdict asks for, None to go on."""
    if isinstance(verdict, Refuse):
        return Failed(Reply(verdict.code, verdict.status, verdict.reason))
    if isinstance(verdict, Defer):
        return Deferred(Reply(verdict.code, verdict.status, verdict.reason))
    if isinstance(verdict, Discard):
        log.info("Message {id} is discarded: {reason}", id=envelope.id, reason=verdict.reason)
        return Delivered()
    return None
