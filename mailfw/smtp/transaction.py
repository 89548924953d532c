"""One message, from MAIL to what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from twisted.logger import Logger

from mailfw.interfaces import IDraft
from mailfw.mail.address import Address
from mailfw.mail.envelope import QUARANTINE, Client, Envelope, Service
from mailfw.mail.failure import NoSpace
from mailfw.mail.outcome import Deferred, Delivered, Failed, Outcome
from mailfw.mail.reply import Reply
from mailfw.mail.resolution import NoSuchRecipient, NotLocal
from mailfw.mail.verdict import Defer, Discard, Quarantine, Refuse, Verdict
from mailfw.smtp import replies
from mailfw.smtp.body import Body
from mailfw.smtp.extensions import MailOptions
from mailfw.smtp.replies import Rejected
from mailfw.smtp.settings import Reception
from mailfw.wire.stream import Stream

log = Logger()

#: Where `Client.findings` says, before there is a message, what is to become of it: the policy's reason.
DISCARD = "smtp.discard"


def heed(verdict: Verdict | None, client: Client) -> Reply | None:
    """
    Return the reply that a policy's verdict asks for before the message, None to go on.

    A `Quarantine` or `Discard` is left in the client's findings, for whoever takes the message.
    """
    if isinstance(verdict, Refuse | Defer):
        return replies.of_verdict(verdict)
    if isinstance(verdict, Quarantine):
        client.findings.setdefault(QUARANTINE, verdict.reason)
    elif isinstance(verdict, Discard):
        client.findings.setdefault(DISCARD, verdict.reason)
    return None


class Transaction:
    """
    One message of a client that may have several.

    A recipient that a policy discards is accepted and forgotten; a discarded sender, or client, makes that of
    all.  RSET and the like drop the whole transaction: there is nothing to undo.
    """

    def __init__(self, reception: Reception, client: Client, sender: Address | None, options: MailOptions) -> None:
        self._reception = reception
        self._client = replace(client, findings=dict(client.findings))
        self._sender = sender
        self._options = options
        #: As they were accepted, one entry for each RCPT.
        self._named: list[Address] = []
        #: Those that the message is for, each once.
        self._recipients: dict[Address, None] = {}
        self.id = reception.next_id()
        self.is_endless = False

    async def begin(self) -> Reply:
        """Ask the policies about the sender."""
        if self._options.size > self._reception.settings.max_size:
            return replies.TOO_LARGE  # RFC 1870 section 6.1
        verdict = await self._reception.policies.on_sender(self._client, self._sender)
        return heed(verdict, self._client) or replies.SENDER_OK

    @property
    def takes_international(self) -> bool:
        """Whether SMTPUTF8 was asked for."""
        return self._options.smtputf8

    @property
    def has_recipients(self) -> bool:
        """Whether any RCPT was accepted."""
        return bool(self._named)

    async def add_recipient(self, address: Address) -> Reply:
        """Ask the directory, the router where that is allowed, and the policies."""
        if len(self._named) >= self._reception.settings.max_recipients:
            return replies.TOO_MANY_RECIPIENTS
        if address not in self._recipients:
            refusal = await self._find(address) or await self._judge(address)
            if refusal is not None:
                return refusal
        self._named.append(address)
        return replies.RECIPIENT_OK

    async def _find(self, address: Address) -> Reply | None:
        resolution = await self._reception.directory.resolve(address)
        if isinstance(resolution, NoSuchRecipient):
            return replies.NO_SUCH_USER
        if not isinstance(resolution, NotLocal):
            return None
        if self._reception.settings.service is not Service.SUBMISSION:
            return replies.NO_RELAY
        return None if await self._reception.router.route(address) is not None else replies.NO_ROUTE

    async def _judge(self, address: Address) -> Reply | None:
        verdict = await self._reception.policies.on_recipient(self._client, self._sender, address)
        if isinstance(verdict, Discard):
            return None
        refusal = heed(verdict, self._client)
        if refusal is None:
            self._recipients[address] = None
        return refusal

    # ------------------------------------------------------------ the message

    async def receive(self, stream: Stream) -> list[Reply]:
        """
        Take the message and say what became of it: one reply, or with LMTP one for each recipient accepted.

        Raises `Rejected` when there is no room to begin.
        """
        recipients = () if DISCARD in self._client.findings else tuple(self._recipients)
        options = self._options
        envelope = Envelope(self.id, self._sender, recipients, options.smtputf8, options.body)
        draft = await self._open_draft() if recipients else None
        try:
            stream.write(replies.encode(replies.GO_AHEAD))
            body = self._body(stream, draft)
            refusal = await body.read()
            self.is_endless = body.is_endless
            outcomes: Sequence[Outcome] = ()
            if refusal is None and draft is not None:
                outcomes, refusal = await self._hand_over(envelope, draft)
        finally:
            await _close(draft)
        answers = self._answers(dict(zip(recipients, outcomes, strict=False)), refusal)
        self._log(envelope, body.size, answers)
        return answers

    async def _open_draft(self) -> IDraft:
        try:
            return await self._reception.intake.open_draft(self._options.size)
        except NoSpace:
            raise Rejected(replies.NO_SPACE)

    def _body(self, stream: Stream, draft: IDraft | None) -> Body:
        settings = self._reception.settings
        sink = _forget if draft is None else draft.write
        return Body(stream, sink, settings.max_size, normalise=settings.service is Service.SUBMISSION)

    async def _hand_over(self, envelope: Envelope, draft: IDraft) -> tuple[Sequence[Outcome], Reply | None]:
        """Give the message to the intake: outcomes, or why there are none."""
        try:
            outcomes = await self._reception.intake.accept(self._client, envelope, draft)
            if len(outcomes) != len(envelope.recipients):
                raise ValueError("The intake must return one outcome for each recipient")
        except NoSpace:
            return (), replies.NO_SPACE
        except Exception:
            log.failure("Message {id} could not be taken in", id=envelope.id)
            return (), replies.FAULT
        return outcomes, None

    def _answers(self, outcomes: dict[Address, Outcome], refusal: Reply | None) -> list[Reply]:
        taken = Reply(250, "2.0.0", f"Taken as {self.id}")
        if self._reception.settings.service is not Service.LMTP:
            return [refusal or _fold(tuple(outcomes.values())) or taken]
        if refusal is not None:
            return [refusal] * len(self._named)
        return [_fold((outcomes[each],)) or taken if each in outcomes else taken for each in self._named]

    def _log(self, envelope: Envelope, size: int, answers: Sequence[Reply]) -> None:
        client = self._client
        log.info(
            "Message {id} from {sender} to {recipients}, {size} octets, by {service} from {address}: {answers}",
            id=envelope.id,
            sender=str(self._sender or "<>"),
            recipients=[str(each) for each in self._named],
            size=size,
            service=client.service.value,
            address=client.address,
            port=client.port,
            helo=client.helo,
            protocol=client.protocol,
            tls=client.tls,
            account=client.account,
            answers=[f"{each.code} {each.status} {each.text}" for each in answers],
            discarded=client.findings.get(DISCARD),
        )


def _fold(outcomes: Sequence[Outcome]) -> Reply | None:
    """
    Return the one reply for several recipients, None where the message was taken.

    What is delivered to somebody cannot be refused: the intake keeps or reports the rest.
    """
    if not outcomes or any(isinstance(each, Delivered) for each in outcomes):
        return None
    for kind in (Deferred, Failed):
        for each in outcomes:
            if isinstance(each, kind):
                return replies.of_outcome(each)
    raise TypeError("Not an outcome")


async def _forget(octets: bytes) -> None:
    """Take octets of a message that nobody will get."""


async def _close(draft: IDraft | None) -> None:
    """Close a draft; whatever that meets changes nothing of what became of the message."""
    if draft is None:
        return
    try:
        await draft.close()
    except Exception:
        log.failure("A draft could not be closed")
