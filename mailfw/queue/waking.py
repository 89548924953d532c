"""Which messages wait for somebody, when it is known that he is there now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from dataclasses import replace
from typing import Any

from twisted.internet.task import deferLater

from mailfw.interfaces import ISpool
from mailfw.mail.queued import Leg, Queued
from mailfw.queue.active import Change

#: Whether a leg is concerned.
Concern = Callable[[Leg], bool]
#: `QueueRunner.alter`.
Alter = Callable[[str, Change], Awaitable[Queued | None]]

#: Messages that are looked at in one step.
_STEP = 500


def for_domain(domain: str) -> Concern:
    """Return what concerns a domain; ``@example.net`` is what is below it too (RFC 1985 section 5.3)."""
    below = domain.removeprefix("@")

    def concerns(leg: Leg) -> bool:
        domains = {one.address.domain for one in leg.recipients}
        return below in domains or (below != domain and any(each.endswith(f".{below}") for each in domains))

    return concerns


def for_destination(destination: str) -> Concern:
    """Return what concerns a destination of `mailfw.mail.route.Route`, or a route as text."""
    return lambda leg: destination in (leg.route.destination, str(leg.route))


def due_later(queued: Queued, when: float) -> Queued:
    """Return the message with nothing due before a time."""
    return replace(queued, legs=tuple(replace(leg, due=max(leg.due, when)) for leg in queued.legs))


def due_now(queued: Queued, concerns: Concern) -> Queued:
    """Return the message with what is concerned due at once."""
    return replace(queued, legs=tuple(replace(leg, due=0.0) if concerns(leg) else leg for leg in queued.legs))


async def wake(concerns: Concern, reactor: Any, spool: ISpool, active: Container[str], alter: Alter) -> int:
    """Make due what is concerned and not in memory, and return how many messages that are."""
    count, last = 0, ""
    while batch := await spool.scan(last, _STEP):
        last = batch[-1].id
        for queued in batch:
            if queued.id not in active and not queued.held and any(map(concerns, queued.legs)):
                count += await alter(queued.id, lambda one: due_now(one, concerns)) is not None
        await deferLater(reactor, 0)
    return count
