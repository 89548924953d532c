"""One message, from MAIL to what became of it."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from mailfw.interfaces import IDraft
from mailfw.mail.address import Address
from mailfw.mail.envelope import NO_OPTIONS, QUARANTINE, Client, Envelope, RecipientOptions, Service
from mailfw.mail.failure import NoSpace
from mailfw.mail.outcome import Deferred, Delivered, Failed, Outcome
from mailfw.mail.reply import Reply
from mailfw.mail.resolution import NoSuchRecipient, NotLocal
from mailfw.mail.route import Route, Unroutable
from mailfw.mail.verdict import Defer, Discard, Quarantine, Refuse, Verdict
from mailfw.smtp import replies
from mailfw.smtp.body import Inlet, read_chunk, read_data
from mailfw.smtp.extensions import MailOptions
from mailfw.smtp.identity import has_own_authors, may_send_as
from mailfw.smtp.reception import Reception
from mailfw.smtp.replies import Rejected
from mailfw.wire.stream import Stream

log = Logger()

#: Where `Client.findings` says, before there is a message, what is to become of it: the policy's reason.
DISCARD = "smtp.discard"

_GO_AHEAD = replies.GO_AHEAD.encode()


def heed(verdict: Verdict | None, client: Client) -> Reply | None:
    """
    Return the reply that a policy's verdict asks for before the message, None to go on.

    A `Quarantine` or `Discard` is left in the client's findings, for whoever takes the message.
    """
    if verdict is None:
        return None
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
    all.  Whoever drops a transaction calls `abandon`: by BDAT some of the message may be here already.
    """

    __slots__ = (
        "_client",
        "_draft",
        "_inlet",
        "_named",
        "_options",
        "_reception",
        "_recipient_options",
        "_recipients",
        "_sender",
        "_settings",
        "id",
        "is_broken",
        "is_endless",
    )

    def __init__(self, reception: Reception, client: Client, sender: Address | None, options: MailOptions) -> None:
        self._reception = reception
        self._settings = reception.settings
        self._client = client.afresh()
        self._sender = sender
        self._options = options
        #: As they were accepted, one entry for each RCPT.
        self._named: list[Address] = []
        #: Those that the message is for, each once.
        self._recipients: dict[Address, None] = {}
        self._recipient_options: dict[Address, RecipientOptions] = {}
        self._draft: IDraft | None = None
        self._inlet: Inlet | None = None
        self.id = reception.next_id()
        #: Whether a chunk was refused: nothing but RSET helps.
        self.is_broken = False
        self.is_endless = False

    # ------------------------------------------------------------ the envelope

    async def begin(self) -> Reply:
        """Look at the sender, and ask the policies about it."""
        if self._options.size > self._settings.max_size:
            return replies.TOO_LARGE  # RFC 1870 section 6.1
        if self._reception.load.is_full:
            return replies.OVERLOADED
        account, sender = self._bound_account, self._sender
        # The null sender is everybody's, for read receipts (RFC 8098 section 3).
        if account is not None and sender is not None:
            own = await may_send_as(self._reception.directory, account, sender)
            if not own:
                return replies.NOT_YOURS
        verdict = await self._reception.policies.on_sender(self._client, self._sender)
        return heed(verdict, self._client) or replies.SENDER_OK

    @property
    def _bound_account(self) -> str | None:
        """The account whose own addresses must be used."""
        settings = self._settings
        if settings.service is not Service.SUBMISSION or settings.send_as == "off":
            return None
        account = self._client.account
        return None if account in settings.send_as_any else account

    @property
    def takes_international(self) -> bool:
        """Whether SMTPUTF8 was asked for."""
        return self._options.smtputf8

    @property
    def is_binary(self) -> bool:
        """Whether the message comes as BINARYMIME."""
        return self._options.body == "BINARYMIME"

    @property
    def has_recipients(self) -> bool:
        """Whether any RCPT was accepted."""
        return bool(self._named)

    @property
    def has_begun(self) -> bool:
        """Whether some of the message is here."""
        return self._inlet is not None or self.is_broken

    async def add_recipient(self, address: Address, options: RecipientOptions = NO_OPTIONS) -> Reply:
        """Ask the directory, the router where that is allowed, and the policies."""
        if len(self._named) >= self._settings.max_recipients:
            return replies.TOO_MANY_RECIPIENTS
        if address not in self._recipients:
            refusal = await self._find(address) or await self._judge(address)
            if refusal is not None:
                return refusal
        if options is not NO_OPTIONS:
            self._recipient_options[address] = options
        self._named.append(address)
        return replies.RECIPIENT_OK

    async def _find(self, address: Address) -> Reply | None:
        resolution = await self._reception.directory.resolve(address)
        if isinstance(resolution, NoSuchRecipient):
            return None if await self._is_for_others(address) else replies.NO_SUCH_USER
        if not isinstance(resolution, NotLocal):
            return None
        if not self._may_relay:
            return replies.NO_RELAY
        route = await self._reception.router.route(self._sender, address)
        return replies.of_route(route.reply) if isinstance(route, Unroutable) else None

    async def _is_for_others(self, address: Address) -> bool:
        """Whether a domain is ours and a rule has this mail taken to another server, which may know whom we do not."""
        route = await self._reception.router.route(self._sender, address)
        return isinstance(route, Route) and bool(route.destination)

    @property
    def _may_relay(self) -> bool:
        """Whether mail for others is taken from this client."""
        service = self._settings.service
        if service is Service.LMTP:
            return False
        trusted = self._client.account is not None or self._settings.relay.have(self._client.address)
        return service is Service.SUBMISSION or trusted

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
        Take the message by DATA and say what became of it: one reply, or with LMTP one for each recipient accepted.

        Raises `Rejected` when there is no room to begin.
        """
        inlet = await self._open()
        try:
            stream.write(_GO_AHEAD)
            await read_data(stream, inlet)
            self.is_endless = inlet.is_endless
            return await self._conclude(inlet)
        finally:
            await self.abandon()

    async def receive_chunk(self, stream: Stream, length: int, last: bool) -> list[Reply]:
        """
        Take `length` octets by BDAT, and with the last of them the message as `receive` does (RFC 3030 section 2).

        Whatever happens they are read, or `is_endless` says that they were not.
        """
        try:
            inlet = self._inlet or await self._open()
        except Rejected as rejected:
            inlet = self._inlet = self._make_inlet()
            inlet.refusal = rejected.reply
        self.is_endless = inlet.is_beyond(length)
        if self.is_endless:
            inlet.refusal = inlet.refusal or replies.TOO_LARGE
        else:
            await read_chunk(stream, inlet, length)
        if last:
            await inlet.finish()
        if not last and inlet.refusal is None:
            return [Reply(250, "2.0.0", f"{length} octets received")]
        self.is_broken = not last
        try:
            return await self._conclude(inlet)
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """Let go of what is here of the message.  May be called twice."""
        inlet, draft, self._inlet, self._draft = self._inlet, self._draft, None, None
        if inlet is None:
            return
        inlet.release()
        self._reception.load.messages -= 1
        if draft is not None:
            await _close(draft)

    async def _open(self) -> Inlet:
        """Make room for the message; raises `Rejected`."""
        if self._reception.load.is_full:
            raise Rejected(replies.OVERLOADED)
        if self._is_wanted:
            try:
                self._draft = await self._reception.intake.open_draft(self._options.size)
            except NoSpace:
                raise Rejected(replies.NO_SPACE)
        self._inlet = inlet = self._make_inlet()
        return inlet

    def _make_inlet(self) -> Inlet:
        self._reception.load.messages += 1
        sink = self._draft.write if self._draft is not None else _forget
        return Inlet(sink, self._settings, self._reception.load, self.is_binary)

    @property
    def _is_wanted(self) -> bool:
        """Whether anybody is to get the message."""
        return bool(self._recipients) and DISCARD not in self._client.findings

    async def _conclude(self, inlet: Inlet) -> list[Reply]:
        """Hand the whole message over, unless it is refused."""
        envelope, refusal = self._envelope(), inlet.refusal
        outcomes: Sequence[Outcome] = ()
        if refusal is None and self._draft is not None:
            outcomes, refusal = await self._hand_over(envelope, self._draft)
        answers = self._answers(envelope.recipients, outcomes, refusal)
        if self.is_broken:
            answers = answers[:1]  # the reply to a chunk that is not the last is one for all recipients
        self._log(envelope, inlet.size, answers)
        return answers

    def _envelope(self) -> Envelope:
        options = self._options
        return Envelope(
            self.id,
            self._sender,
            tuple(self._recipients) if self._is_wanted else (),
            options.smtputf8,
            options.body,
            options.returns,
            options.envid,
            self._recipient_options,
            options.require_tls,
            options.priority,
            options.release,
            options.by,
            options.solicitation,
            options.submitter,
        )

    async def _hand_over(self, envelope: Envelope, draft: IDraft) -> tuple[Sequence[Outcome], Reply | None]:
        """Give the message to the intake: outcomes, or why there are none."""
        try:
            account = self._bound_account if self._settings.send_as == "header" else None
            if account is not None and not await has_own_authors(self._reception.directory, account, draft):
                return (), replies.NOT_YOURS_IN_HEADER
            outcomes = await self._reception.intake.accept(self._client, envelope, draft)
            if len(outcomes) != len(envelope.recipients):
                raise ValueError("The intake must return one outcome for each recipient")
        except NoSpace:
            return (), replies.NO_SPACE
        except Exception:
            log.failure("Message {id} could not be taken in", id=envelope.id)
            return (), replies.FAULT
        return outcomes, None

    def _answers(
        self, recipients: Sequence[Address], outcomes: Sequence[Outcome], refusal: Reply | None
    ) -> list[Reply]:
        taken = Reply(250, "2.0.0", f"Taken as {self.id}")
        if self._settings.service is not Service.LMTP:
            return [refusal or _fold(outcomes) or taken]
        if refusal is not None:
            return [refusal] * len(self._named)
        found = dict(zip(recipients, outcomes, strict=True)) if outcomes else {}
        return [_fold((found[each],)) or taken if each in found else taken for each in self._named]

    def _log(self, envelope: Envelope, size: int, answers: Sequence[Reply]) -> None:
        client = self._client
        sender = str(self._sender or "<>")
        recipients = [str(each) for each in self._named]
        said = [f"{each.code} {each.status} {each.text}" for each in answers]
        # One placeholder: Twisted spends more on each of them than we on all of a message's words.
        log.info(
            "{event}",
            event=(
                f"Message {envelope.id} from {sender} to {recipients}, {size} octets, "
                f"by {client.service.value} from {client.address}: {said}"
            ),
            id=envelope.id,
            sender=sender,
            recipients=recipients,
            size=size,
            service=client.service.value,
            address=client.address,
            port=client.port,
            helo=client.helo,
            protocol=client.protocol,
            tls=client.tls,
            account=client.account,
            answers=said,
            discarded=client.findings.get(DISCARD),
        )


def _fold(outcomes: Sequence[Outcome]) -> Reply | None:
    """
    Return the one reply for several recipients, None where the message was taken.

    What is delivered to somebody cannot be refused: the intake keeps or reports the rest.
    """
    if not outcomes:
        return None
    if Delivered in {type(each) for each in outcomes}:
        return None
    for kind in (Deferred, Failed):
        for each in outcomes:
            if isinstance(each, kind):
                return replies.of_outcome(each)
    raise TypeError("Not an outcome")


async def _forget(octets: bytes) -> None:
    """Take octets of a message that nobody will get."""


async def _close(draft: IDraft) -> None:
    """Close a draft; whatever that meets changes nothing of what became of the message."""
    try:
        await draft.close()
    except Exception:
        log.failure("A draft could not be closed")
