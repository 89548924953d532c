"""The courier that hands mail to a server of mailboxes by LMTP (RFC 2033)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zope.interface import implementer

from mailfw.couriers.relay import DEFAULTS, RelayCourier
from mailfw.couriers.settings import DeliverySettings
from mailfw.interfaces import IContent, ICourier, IDraft, IHops
from mailfw.mail.envelope import Envelope
from mailfw.mail.outcome import Outcome
from mailfw.site import Site


@implementer(ICourier)
class LMTPCourier:
    """
    Hands mail over as `RelayCourier` does; that it is LMTP the hops of an ``lmtp://`` destination say.

    There every recipient has an answer of his own, and is delivered to rather than relayed to.  It has connections of
    its own, so that mailboxes do not wait for the network.
    """

    def __init__(
        self,
        *,
        site: Site,
        hops: IHops,
        open_draft: Callable[[int], Awaitable[IDraft]],
        delivery: DeliverySettings = DEFAULTS,
    ) -> None:
        self._hosts = RelayCourier(site=site, hops=hops, open_draft=open_draft, delivery=delivery)

    async def deliver(self, destination: str, envelope: Envelope, content: IContent, junk: bool) -> list[Outcome]:
        """Hand the message over."""
        return await self._hosts.deliver(destination, envelope, content, junk)

    async def close(self) -> None:
        """Finish what is under way, and say goodbye."""
        await self._hosts.close()
