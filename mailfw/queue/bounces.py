"""
Telling a sender that a message was not delivered, and what is done when that fails too.

A report has the null sender, so it is never reported on itself (RFC 5321 section 6.1).  What cannot be
given back goes to the postmaster, and if that fails into ``kept/`` of the spool: nothing vanishes.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from mailfw.mail.address import Address
from mailfw.mail.content import Content, Octets, Prefixed
from mailfw.mail.envelope import Envelope
from mailfw.mail.message import FieldRefused, field, printable, read_header
from mailfw.mail.outcome import Deferred, Delivered, Failed
from mailfw.mail.report import Report, Undeliverable, write_report
from mailfw.queue.delivery import Attempt, Delivery
from mailfw.queue.intake import undelivered
from mailfw.queue.queued import Queued, Undelivered
from mailfw.queue.schedule import Schedule
from mailfw.queue.spool import Spool
from mailfw.site import Site

log = Logger()


class Bounces:
    """Writes reports and gives them to whoever is responsible."""

    def __init__(self, *, site: Site, delivery: Delivery, spool: Spool, schedule: Schedule) -> None:
        self._site = site
        self._delivery = delivery
        self._spool = spool
        self._schedule = schedule

    async def report(self, queued: Queued, content: Content) -> None:
        """
        See to it that somebody hears of ``queued.failed``; when this returns that is on stable storage.

        Raises `NoSpace` or `OSError` when the disk fails: the report is still owed then.  Called again for the
        same state, it makes a report of the same id.
        """
        sender = queued.envelope.sender
        report = await self._write(queued, sender, content) if sender is not None else None
        if sender is None or report is None:
            await self._give_postmaster(queued.id, queued.failed, content)
            return
        envelope = Envelope(f"{queued.id}-r{queued.attempts}", None, (sender,), not sender.is_ascii, "8BITMIME")
        attempts = await self._delivery.deliver(envelope, report, junk=False)
        waiting = undelivered(attempts, Deferred)
        if waiting:
            await self._queue(envelope, waiting, report)
        elif not any(isinstance(attempt.outcome, Delivered) for attempt in attempts):
            await self._give_postmaster(envelope.id, undelivered(attempts, Failed), report)
        log.info(
            "Message {id}: {sender} is told of {count} failed recipients",
            id=queued.id,
            sender=str(sender),
            count=len(queued.failed),
        )

    async def _write(self, queued: Queued, sender: Address, content: Content) -> Octets | None:
        named = {one.original: Undeliverable(one.original, one.reply) for one in queued.failed}
        report = Report(
            id=f"{queued.id}-r{queued.attempts}",
            hostname=self._site.hostname,
            sender=sender,
            recipients=tuple(named.values()),
            arrived=queued.arrived,
            written=self._site.reactor.seconds(),
            header=(await read_header(content)).octets,
        )
        try:
            return Octets(write_report(report))
        except FieldRefused:
            log.failure("Message {id} has an address that no report can be written to", id=queued.id)
            return None

    async def _queue(self, envelope: Envelope, waiting: tuple[Undelivered, ...], content: Content) -> None:
        now = self._site.reactor.seconds()
        queued = Queued(envelope, arrived=now, due=now + self._schedule.pause(1, 0.5), waiting=waiting)
        await self._spool.put(queued, content)

    # ------------------------------------------------------------ when nobody can be told

    async def _give_postmaster(self, name: str, failed: Sequence[Undelivered], content: Content) -> None:
        """Deliver a message nobody else can be given to the postmaster, or keep it."""
        reasons = [printable(f"{one.original}: {one.reply.code} {one.reply.text}", 300) for one in failed]
        noted = Prefixed(b"".join(field("X-Undelivered", reason) for reason in reasons[:100]), content)
        attempts = await self._postmaster(name, noted)
        given = any(isinstance(attempt.outcome, Delivered) for attempt in attempts)
        if not given:
            await self._spool.keep(name, noted)
        log.warn(  # noqa: G010  # Twisted's has no longer name
            "Message {id} can neither be delivered nor given back, and is kept {where}: {reasons}",
            id=name,
            where="for the postmaster" if given else "in the spool",
            reasons=reasons,
        )

    async def _postmaster(self, name: str, content: Content) -> list[Attempt]:
        domains = sorted(self._site.domains, key=lambda domain: (domain != self._site.hostname, domain))
        if not domains:
            return []
        envelope = Envelope(f"{name}-k", None, (Address("postmaster", domains[0]),), body="8BITMIME")
        return await self._delivery.deliver(envelope, content, junk=False)
