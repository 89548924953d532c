"""Which messages wait for somebody, when it is known that he is there now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mailfw.mail.queued import Leg, Queued

#: Whether a leg is concerned.
Concern = Callable[[Leg], bool]


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


def due_now(queued: Queued, concerns: Concern) -> Queued:
    """Return the message with what is concerned due at once."""
    return replace(queued, legs=tuple(replace(leg, due=0.0) if concerns(leg) else leg for leg in queued.legs))
