"""The courier that hands mail to other servers by SMTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from zope.interface import implementer

from mailfw.couriers.errand import Errand, worst
from mailfw.couriers.pool import Pool
from mailfw.couriers.settings import DeliverySettings
from mailfw.interfaces import IContent, ICourier, IDraft, IHops
from mailfw.mail.envelope import Envelope
from mailfw.mail.hop import Hop
from mailfw.mail.outcome import Deferred, Failed, Outcome
from mailfw.mail.reply import Reply
from mailfw.site import Site
from mailfw.smtp.client.commands import a_labels
from mailfw.smtp.client.responses import deferred
from mailfw.smtp.client.session import Unusable

#: Where nothing else is configured.
DEFAULTS = DeliverySettings()

NO_HOSTS = Deferred(Reply(451, "4.4.4", "There is no host to hand the message to"), unreachable=True)


@implementer(ICourier)
class RelayCourier:
    """
    Hands a message to the first of a destination's hosts that takes it.

    Hosts are asked in the order of `hops`: the next one where one cannot be used, or defers.  Connections are kept for
    the next message for a while.  Whether a message counts as junk is for the next host to find out by itself.
    """

    def __init__(
        self,
        *,
        site: Site,
        hops: IHops,
        open_draft: Callable[[int], Awaitable[IDraft]],
        delivery: DeliverySettings = DEFAULTS,
    ) -> None:
        self._hops = hops
        self._settings = delivery
        self._pool = Pool(
            reactor=site.reactor,
            hostname=a_labels(site.hostname),
            settings=delivery,
            open_draft=open_draft,
            note_tls=hops.note_tls,
        )

    async def deliver(self, destination: str, envelope: Envelope, content: IContent, junk: bool) -> list[Outcome]:
        """Hand the message over; who is left when all hosts were asked is deferred, or failed where all said so."""
        hops = await self._hops.find(destination, envelope.require_tls, envelope.tls_optional)
        if isinstance(hops, Deferred | Failed):
            return [hops] * len(envelope.recipients)
        errand = Errand(destination, envelope, content)
        otherwise = await self._ask(hops[: self._settings.hosts], errand)
        return errand.results(otherwise)

    async def _ask(self, hops: Sequence[Hop], errand: Errand) -> Outcome:
        """Ask one host after the other; return the outcome of those who were asked of none."""
        reasons: list[tuple[Reply, str]] = []
        sessions = 0
        for hop in hops:
            try:
                await self._pool.send(hop, errand)
            except Unusable as unusable:
                reasons.append((unusable.reply, hop.host))
                continue
            sessions += 1
            if sessions >= self._settings.sessions or not errand.try_elsewhere():
                break
        if not reasons:
            return NO_HOSTS
        reply, host = worst(reasons)
        return Failed(_with_status(reply), host) if reply.code >= 500 else deferred(reply, host, unreachable=True)

    async def close(self) -> None:
        """Finish what is under way, and say goodbye."""
        await self._pool.close()


def _with_status(reply: Reply) -> Reply:
    return reply if reply.status else Reply(reply.code, "5.0.0", reply.text)
