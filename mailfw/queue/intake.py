"""
Where every message enters, and where we become responsible for it.

The promise: `Delivered` from `accept` means that message and envelope are on stable storage, and that each recipient
will get the message or its sender will be told, at least once.  The spool keeps it until then, the runner delivers.

Mail by LMTP is delivered while the client waits, since each recipient has a reply of its own: the client has the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from twisted.logger import Logger
from zope.interface import implementer

from mailfw.interfaces import IContent, IDeliveryPolicy, IDraft, IIntake
from mailfw.mail.address import Address
from mailfw.mail.content import Content, Octets, Prefixed
from mailfw.mail.envelope import QUARANTINE, Client, Envelope, Service
from mailfw.mail.failure import NoSpace
from mailfw.mail.message import Header, read_header
from mailfw.mail.outcome import Deferred, Delivered, Failed, Outcome
from mailfw.mail.queued import Action, Concluded, Queued
from mailfw.mail.reply import Reply
from mailfw.mail.verdict import Defer, Discard, Hold, Quarantine, Refuse, Verdict
from mailfw.queue.attempt import BROKEN
from mailfw.queue.custody import Custody
from mailfw.queue.planning import Arrival, Plan, Planner, divide, is_local
from mailfw.queue.settlement import is_wanted
from mailfw.queue.traces import Tracer
from mailfw.site import Site

log = Logger()

#: Received fields a message may have; more mean a loop (RFC 5321 section 6.3: normally at least 100).
MAX_HOPS = 100
#: Octets of a message that is read once and then kept in memory until it is delivered.
_SMALL = 64 * 1024

DELIVERED = Delivered()
LOOP = Failed(Reply(554, "5.4.6", "Too many Received fields: this message is going round in a loop"))
NO_SPACE = Deferred(Reply(452, "4.3.1", "The disk is full; try again later"))
HEADER_TOO_LONG = Failed(Reply(554, "5.6.0", "The header of the message is too long"))


@implementer(IIntake)
class Intake:
    """
    Adds the trace field, asks the policies about the whole message, finds out who gets it, and gives it into custody.

    `clock` is the time the queue goes by, and `pause` how many seconds the queue lets pass after the first attempt.
    """

    def __init__(
        self,
        *,
        site: Site,
        planner: Planner,
        policies: IDeliveryPolicy,
        custody: Custody,
        clock: Callable[[], float],
        pause: float,
        software: str = "mailfw",
        max_hops: int = MAX_HOPS,
    ) -> None:
        self._clock = clock
        self._planner = planner
        self._policies = policies
        self._custody = custody
        self._pause = pause
        self._tracer = Tracer(site, software)
        self._max_hops = max_hops

    async def open_draft(self, size_hint: int) -> IDraft:
        """Make room for a message.  Raises `NoSpace`."""
        return await self._custody.open_draft(size_hint)

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
        whole: Content = draft
        if draft.size <= _SMALL:
            whole = Octets(await draft.read(0, draft.size))
        header = await read_header(whole)
        refusal = self._refusal(client, header)
        if refusal is not None:
            return [refusal] * len(envelope.recipients)
        if not envelope.require_tls and b"no" in map(bytes.lower, header.values(b"tls-required")):
            envelope = replace(envelope, tls_optional=True)  # RFC 8689 section 5
        verdict = await self._policies.on_message(client, envelope, draft)
        answer = _answer(verdict, envelope)
        if answer is not None:
            return [answer] * len(envelope.recipients)
        plan = await self._planner.plan(envelope, header, self._clock())
        if plan.failed and not any(parcel.legs for parcel in plan.parcels):
            return [plan.outcome_of(each) or BROKEN for each in envelope.recipients]
        traced = self._tracer.traced(client, envelope, header, whole, verdict)
        arrival = self._arrival(client, envelope, traced.size, verdict)
        if client.service is Service.LMTP and not arrival.held:
            return await self._deliver(plan, traced, arrival)
        await self._take(divide(plan, arrival), traced)
        return [DELIVERED] * len(envelope.recipients)

    def _refusal(self, client: Client, header: Header) -> Failed | None:
        if header.count(b"received") > self._max_hops:
            return LOOP
        if client.service.takes_new_mail and not header.is_whole:
            return HEADER_TOO_LONG  # a Bcc could be in what we did not see
        return None

    def _arrival(self, client: Client, envelope: Envelope, size: int, verdict: Verdict | None) -> Arrival:
        now = self._clock()
        return Arrival(
            now,
            max(now, envelope.release),
            now + self._pause,
            size,
            client.account or "",
            client.address,
            isinstance(verdict, Quarantine) or QUARANTINE in client.findings,
            f"quarantine: {verdict.reason}" if isinstance(verdict, Hold) else "",
        )

    # ------------------------------------------------------------ keeping it

    async def _take(self, messages: Sequence[tuple[Queued, bytes]], content: Content) -> None:
        """Put all into the spool, then let them be delivered; when this returns all are on stable storage."""
        await self._custody.take([(queued, cast("IContent", _marked(marks, content))) for queued, marks in messages])

    # ------------------------------------------------------------ LMTP

    async def _deliver(self, plan: Plan, content: Content, arrival: Arrival) -> list[Outcome]:
        """
        Deliver into our own mailboxes at once, and keep what leaves, but for whom the client will come back.

        RFC 2033 section 4.2: each recipient has a reply of its own, and the client keeps what is not delivered.
        """
        outcomes: dict[Address, list[Outcome]] = {}
        for one in plan.failed:
            outcomes.setdefault(one.original, []).append(Failed(one.reply) if one.reply else BROKEN)
        plan.failed.clear()  # the reply says so
        first = plan.parcels[0]
        for route in [route for route in first.legs if is_local(route)]:
            pendings = tuple(first.legs.pop(route))
            found = await self._custody.deliver(route, plan.envelope, pendings, cast("IContent", content), arrival.junk)
            for one in pendings:
                outcome = found[one.address]
                outcomes.setdefault(one.original, []).append(outcome)
                if isinstance(outcome, Delivered) and is_wanted(plan.envelope, one.original, Action.DELIVERED):
                    reply, now = outcome.reply, arrival.arrived
                    plan.owed.append(Concluded(one.original, one.address, Action.DELIVERED, reply, when=now))
        _leave_out(plan, {each for each, found in outcomes.items() if isinstance(fold(found), Deferred)})
        await self._take(divide(plan, arrival), content)
        return [fold(outcomes.get(each, ())) for each in plan.envelope.recipients]


def _leave_out(plan: Plan, again: set[Address]) -> None:
    """Take out of a plan whoever the client will send to again."""
    plan.owed = [one for one in plan.owed if one.original not in again]
    for parcel in plan.parcels:
        kept = {route: [one for one in them if one.original not in again] for route, them in parcel.legs.items()}
        parcel.legs = {route: them for route, them in kept.items() if them}


def fold(outcomes: Sequence[Outcome]) -> Outcome:
    """
    Return the one outcome for an address that may have led to several; none at all means that the queue has it.

    A deferral counts most, since trying again can only help; then what was delivered.
    """
    for kind in (Deferred, Delivered, Failed):
        for outcome in outcomes:
            if isinstance(outcome, kind):
                return outcome
    return DELIVERED


def _marked(marks: bytes, content: Content) -> Content:
    """Return a content behind fields of its own."""
    if not marks:
        return content
    if isinstance(content, Octets):
        return Octets(marks + content.read_now(0, content.size))
    return Prefixed(marks, content)


def _answer(verdict: Verdict | None, envelope: Envelope) -> Outcome | None:
    """Return the outcome for all recipients that a verdict asks for, None to go on."""
    if isinstance(verdict, Refuse):
        return Failed(Reply(verdict.code, verdict.status, verdict.reason))
    if isinstance(verdict, Defer):
        return Deferred(Reply(verdict.code, verdict.status, verdict.reason))
    if isinstance(verdict, Discard):
        log.info("Message {id} is discarded: {reason}", id=envelope.id, reason=verdict.reason)
        return DELIVERED
    return None
