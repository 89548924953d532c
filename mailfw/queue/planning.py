"""Who gets a message in the end, by which way: aliases, forwarding, routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from twisted.logger import Logger

from mailfw.interfaces import IDirectory, IRouter
from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope, Notify, RecipientOptions
from mailfw.mail.message import FieldRefused, Header, delivered_to
from mailfw.mail.outcome import Deferred, Failed, Outcome
from mailfw.mail.queued import Action, Concluded, Leg, Pending, Queued
from mailfw.mail.reply import Reply
from mailfw.mail.resolution import Expansion, LocalAccount, NoSuchRecipient, account_of
from mailfw.mail.route import Route, Unroutable
from mailfw.mail.srs import Forged
from mailfw.queue.rewriting import SenderRewriting
from mailfw.queue.schedule import Schedule
from mailfw.queue.settlement import is_wanted, settle
from mailfw.site import Site

log = Logger()

#: The way of what could not be routed yet.
NOWHERE = Route("")

LOOP = Reply(554, "5.4.6", "The message has been forwarded by this address before: it is going round in a loop")
NO_ROUTING = Reply(451, "4.3.5", "Mail cannot be routed at the moment; try again later")
UNWRITABLE = Reply(553, "5.1.3", "The address cannot be written into a message")
NOBODY = Reply(550, "5.1.1", "No such user here")
EXPANDED = Reply(250, "2.1.5", "The address stands for others, who will get the message")


@dataclass(slots=True)
class Parcel:
    """
    What becomes one message in the queue: recipients by their way.

    `marks` are header fields that its copy has before the others: a forwarded message says by whom (RFC 9228).
    """

    sender: Address | None
    marks: bytes = b""
    legs: dict[Route, list[Pending]] = field(default_factory=dict)


@dataclass(slots=True)
class Plan:
    """
    What is to be done with one envelope.

    `parcels` are messages, the first under the envelope's own sender; `failed` are recipients who will not get
    it, with the reply that says why; `owed` is what else has to be reported.
    """

    envelope: Envelope
    parcels: list[Parcel]
    failed: list[Pending] = field(default_factory=list)
    owed: list[Concluded] = field(default_factory=list)
    #: Addresses by the account they lead to: it gets the message once.
    accounts: dict[str, Address] = field(default_factory=dict)

    def outcome_of(self, recipient: Address) -> Failed | None:
        """Return why nothing will come of a recipient of the envelope, None where something may."""
        going = any(
            one.original == recipient
            for parcel in self.parcels
            for pendings in parcel.legs.values()
            for one in pendings
        )
        if going:
            return None
        return next((Failed(one.reply) for one in self.failed if one.original == recipient and one.reply), None)


class Planner:
    """Asks the directory and the router; what the router cannot say now is asked again at each attempt."""

    def __init__(self, *, site: Site, directory: IDirectory, router: IRouter, rewriting: SenderRewriting) -> None:
        self._site = site
        self._directory = directory
        self._router = router
        self._rewriting = rewriting

    # ------------------------------------------------------------ when it comes

    async def plan(self, envelope: Envelope, header: Header, now: float) -> Plan:
        """Return what is to be done.  Raises whatever the directory does: nothing is known of the message then."""
        plan = Plan(envelope, [Parcel(envelope.sender)])
        for address in envelope.recipients:
            resolution = await self._directory.resolve(address)
            if isinstance(resolution, LocalAccount):
                await self._add_account(plan, address, address, resolution)
            elif isinstance(resolution, Expansion):
                await self._expand(plan, address, resolution, header, now)
            else:
                await self._add(plan, plan.parcels[0], address, address, isinstance(resolution, NoSuchRecipient))
        return plan

    async def _expand(self, plan: Plan, address: Address, resolution: Expansion, header: Header, now: float) -> None:
        """Follow an alias: what stays here goes with the rest, what leaves is forwarded in our name."""
        elsewhere: list[Address] = []
        for target in resolution.targets:
            found = await self._directory.resolve(target) if target.domain in self._site.domains else None
            account = account_of(target, found) if found is not None else None
            if account is not None:
                await self._add_account(plan, address, target, account)
            else:
                elsewhere.append(target)
        if elsewhere:
            await self._forward(plan, address, elsewhere, header)
        if len(resolution.targets) > 1:
            _count_expanded(plan, address, now)

    async def _add_account(self, plan: Plan, original: Address, target: Address, account: LocalAccount) -> None:
        """Add an account's address; one that is there already stands for this one too."""
        known = plan.accounts.setdefault(account.account, target)
        await self._add(plan, plan.parcels[0], original, known)

    async def _add(
        self, plan: Plan, parcel: Parcel, original: Address, target: Address, is_nobody: bool = False
    ) -> None:
        """Add a recipient by his way; only a rule of the router gets mail to an address of ours that is nobody's."""
        try:
            way = await self._router.route(parcel.sender, target)
        except Exception:
            log.failure("The router failed for {address}", address=str(target))
            parcel.legs.setdefault(NOWHERE, []).append(Pending(original, target, NO_ROUTING))
            return
        if isinstance(way, Route) and is_nobody and is_local(way):
            plan.failed.append(Pending(original, target, NOBODY))
        elif isinstance(way, Route):
            pending = Pending(original, target)
            pendings = parcel.legs.get(way)
            if pendings is None:
                parcel.legs[way] = [pending]
            elif pending not in pendings:
                pendings.append(pending)
        elif way.reply.code < 500:
            parcel.legs.setdefault(NOWHERE, []).append(Pending(original, target, way.reply))
        else:
            plan.failed.append(Pending(original, target, way.reply))

    async def _forward(self, plan: Plan, forwarder: Address, targets: Sequence[Address], header: Header) -> None:
        """Add a message that leaves again, in the name of the address that forwards it."""
        refusal, marks = self._mark(forwarder, header)
        if refusal is not None:
            plan.failed += [Pending(forwarder, target, refusal) for target in targets]
            return
        sender = plan.envelope.sender
        parcel = Parcel(self._rewriting.rewrite(sender, forwarder) if sender is not None else None, marks)
        for target in targets:
            await self._add(plan, parcel, forwarder, target)
        if parcel.legs:
            plan.parcels.append(parcel)

    def _mark(self, forwarder: Address, header: Header) -> tuple[Reply | None, bytes]:
        """Return the field that a forwarder leaves, or why it must not forward: it has left one before."""
        written = str(forwarder).lower().encode("utf-8", "surrogateescape")
        if any(value.lower() == written for value in header.values(b"delivered-to")):
            return LOOP, b""
        try:
            return None, delivered_to(forwarder)
        except FieldRefused:
            return UNWRITABLE, b""

    def sender_of(self, envelope: Envelope) -> Address | None:
        """Return who sent a message first, whoever has forwarded it here."""
        if envelope.sender is None:
            return None
        try:
            return self._rewriting.original(envelope.sender) or envelope.sender
        except Forged:
            return envelope.sender

    # ------------------------------------------------------------ when it is tried again

    async def plan_again(self, queued: Queued, now: float, schedule: Schedule, chance: float) -> Queued:
        """Return the message with its due legs on the ways they have now; never raises."""
        ways: dict[Route, list[tuple[Pending, Leg]]] = {}
        outcomes: dict[Address, Outcome] = {}
        for leg in queued.legs:
            if leg.due <= now:
                for one in leg.recipients:
                    for current in await self._current(one, outcomes):
                        way = await self._way(queued, current, outcomes)
                        ways.setdefault(way, []).append((current, leg))
        if not ways:
            return queued
        later = (leg for leg in queued.legs if leg.due > now)
        joined = {way: _join(way, parts) for way, parts in ways.items()}
        queued = replace(queued, legs=(*later, *joined.values()))
        stuck = joined.get(NOWHERE)
        return settle(queued, stuck, outcomes, now, schedule, chance) if stuck is not None else queued

    async def _current(self, one: Pending, outcomes: dict[Address, Outcome]) -> list[Pending]:
        """Return who a recipient is now: an account may have become an alias since."""
        if one.address.domain not in self._site.domains:
            return [one]
        try:
            found = await self._directory.resolve(one.address)
        except Exception:
            log.failure("The directory failed for {address}", address=str(one.address))
            outcomes[one.address] = Deferred(NO_ROUTING)
            return [one]
        if not isinstance(found, Expansion) or one.address in found.targets:
            return [one]
        return [replace(one, address=target) for target in found.targets]

    async def _way(self, queued: Queued, one: Pending, outcomes: dict[Address, Outcome]) -> Route:
        """Return the way to a recipient, `NOWHERE` with an outcome where there is none."""
        if one.address in outcomes:
            return NOWHERE
        try:
            way = await self._router.route(queued.envelope.sender, one.address)
        except Exception:
            log.failure("The router failed for {address}", address=str(one.address))
            way = Unroutable(NO_ROUTING)
        if isinstance(way, Route):
            return way
        reply = way.reply
        outcomes[one.address] = Deferred(reply) if reply.code < 500 else Failed(reply)
        return NOWHERE


def _count_expanded(plan: Plan, address: Address, now: float) -> None:
    """
    Let nobody report the success of an alias for several addresses but us, now.

    RFC 3461 section 5.2.7.3 (c): NOTIFY goes on without SUCCESS, and an "expanded" report is made.
    """
    said = plan.envelope.of(address)
    if said.notify is None or not is_wanted(plan.envelope, address, Action.EXPANDED):
        return
    plan.owed.append(Concluded(address, address, Action.EXPANDED, EXPANDED, when=now))
    left = RecipientOptions(said.notify & ~Notify.SUCCESS, said.original)
    plan.envelope = replace(plan.envelope, options={**plan.envelope.options, address: left})


def _join(way: Route, parts: Sequence[tuple[Pending, Leg]]) -> Leg:
    """Return one leg for recipients that go the same way."""
    legs = [leg for _, leg in parts]
    return Leg(way, tuple(one for one, _ in parts), min(leg.due for leg in legs), max(leg.attempts for leg in legs))


# ---------------------------------------------------------------- from a plan to the queue


def is_local(route: Route) -> bool:
    """Whether a way ends in our own mailboxes."""
    return bool(route.courier) and not route.destination


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the messages of one plan have in common; `due` is when they may be tried, `retry` what has no way yet."""

    arrived: float
    due: float
    retry: float
    size: int = 0
    account: str = ""
    client: str = ""
    junk: bool = False
    held: str = ""


def divide(plan: Plan, arrival: Arrival) -> list[tuple[Queued, bytes]]:
    """
    Return the messages of a plan, each with the fields to put before its content.

    The first owes all that is to be reported, and has the envelope's id; the others have ids made from it.
    """
    messages: list[tuple[Queued, bytes]] = []
    for number, parcel in enumerate(plan.parcels):
        legs = tuple(
            Leg(route, tuple(pendings), arrival.due if route.courier else max(arrival.due, arrival.retry))
            for route, pendings in parcel.legs.items()
        )
        owed = _owed(plan, arrival.arrived) if not number and (plan.failed or plan.owed) else ()
        for suffix, part, held in _set_apart(legs, arrival):
            if part or (owed and not messages):
                envelope = plan.envelope
                name = f"{envelope.id}-f{number}{suffix}" if number else f"{envelope.id}{suffix}"
                if number or suffix:
                    recipients = tuple(dict.fromkeys(one.original for leg in part for one in leg.recipients))
                    envelope = replace(envelope, id=name, sender=parcel.sender, recipients=recipients)
                said = owed if not messages else ()
                size = arrival.size + len(parcel.marks)
                queued = Queued(
                    envelope, arrival.arrived, part, said, size, arrival.account, arrival.client, arrival.junk, held
                )
                messages.append((queued, parcel.marks))
    return messages


def _set_apart(legs: tuple[Leg, ...], arrival: Arrival) -> list[tuple[str, tuple[Leg, ...], str]]:
    """Junk for our own mailboxes is delivered, as junk; what would leave the site is held."""
    if not arrival.junk or arrival.held:
        return [("", legs, arrival.held)]
    local = tuple(leg for leg in legs if is_local(leg.route))
    others = tuple(leg for leg in legs if not is_local(leg.route))
    return [("", local, ""), ("-q", others, "quarantine: it was found to be junk, and would have left the site")]


def _owed(plan: Plan, now: float) -> tuple[Concluded, ...]:
    failed = [
        Concluded(one.original, one.address, Action.FAILED, cast("Reply", one.reply), when=now)
        for one in plan.failed
        if is_wanted(plan.envelope, one.original, Action.FAILED)
    ]
    return (*failed, *plan.owed)
