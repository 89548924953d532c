"""One attempt: a message's leg, given to the courier it is for, and an outcome for each recipient whatever happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from twisted.logger import Logger
from zope.interface import classImplements

from mailfw.interfaces import IContent, ICourier, ISpool
from mailfw.mail.address import Address
from mailfw.mail.content import Octets, Prefixed
from mailfw.mail.envelope import Envelope, RecipientOptions
from mailfw.mail.outcome import Deferred, Outcome
from mailfw.mail.queued import Leg, Pending
from mailfw.mail.reply import Reply
from mailfw.mail.route import Route
from mailfw.queue.active import Active

log = Logger()

classImplements(Octets, IContent)  # `mail` knows no interfaces, and mypy does not know of this line
classImplements(Prefixed, IContent)

BROKEN = Deferred(Reply(451, "4.3.0", "Delivery does not work at the moment; try again later"))
MISCONFIGURED = Deferred(Reply(451, "4.3.5", "Delivery is not set up correctly; try again later"))

#: Outcomes by final address.
Outcomes = dict[Address, Outcome]


class Couriers:
    """The couriers by name; whatever one of them raises, or returns instead of outcomes, is a deferral."""

    def __init__(self, couriers: Mapping[str, ICourier]) -> None:
        self._couriers = couriers

    async def deliver(
        self, route: Route, envelope: Envelope, pendings: tuple[Pending, ...], content: IContent, junk: bool
    ) -> Outcomes:
        """Try once, and return an outcome for each final address; never raises."""
        courier = self._couriers.get(route.courier)
        there = envelope_for(envelope, pendings, bool(route.destination))
        if courier is None:
            log.error("There is no courier {courier}, which message {id} needs", courier=route.courier, id=envelope.id)
            return dict.fromkeys(there.recipients, MISCONFIGURED)
        try:
            outcomes = await courier.deliver(route.destination, there, content, junk)
            if len(outcomes) != len(there.recipients) or not all(isinstance(each, Outcome) for each in outcomes):
                raise TypeError("A courier must return one outcome for each recipient")
        except Exception:
            log.failure("The courier {courier} failed with message {id}", courier=route.courier, id=envelope.id)
            return dict.fromkeys(there.recipients, BROKEN)
        return dict(zip(there.recipients, outcomes, strict=True))


async def attempt(couriers: Couriers, spool: ISpool, active: Active, leg: Leg) -> Outcomes:
    """Try one leg of a message of the queue, whose content is in memory or in the spool; never raises."""
    queued, content = active.queued, active.content
    opened: IContent | None = None
    try:
        if content is None:
            content = opened = await spool.content(queued.id)
        if content is None:
            raise LookupError("The spool has no content for it")
        return await couriers.deliver(leg.route, queued.envelope, leg.recipients, content, queued.junk)
    except Exception:
        log.failure("Message {id} cannot be read", id=queued.id)
        return dict.fromkeys((one.address for one in leg.recipients), BROKEN)
    finally:
        if opened is not None:
            await close(opened)


async def close(content: IContent) -> None:
    """Close a content, whatever that meets."""
    try:
        await content.close()
    except Exception:
        log.failure("A message could not be closed")


def envelope_for(envelope: Envelope, pendings: tuple[Pending, ...], leaves: bool) -> Envelope:
    """
    Return the envelope for some recipients, each named once and with what was said of the address that led there.

    To where a message leaves an alias is named in ORCPT, if nothing is there (RFC 3461 section 5.2.1 (c)).
    """
    recipients = tuple(one.address for one in pendings)
    if recipients == envelope.recipients and not envelope.options:
        return envelope
    options: dict[Address, RecipientOptions] = {}
    for one in pendings:
        said = envelope.of(one.original)
        if leaves and said.original is None and one.address != one.original and one.original.is_ascii:
            said = RecipientOptions(said.notify, ("rfc822", str(one.original)))
        if said.notify is not None or said.original is not None:
            options.setdefault(one.address, said)
    return replace(envelope, recipients=tuple(dict.fromkeys(recipients)), options=options)
